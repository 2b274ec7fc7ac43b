"""A run as a notebook's job: a command in a process of its own, which is shown and waited for."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from app.run import store
from app.run.journal import RESULT
from app.run.store import Run
from app.sagemaker.description import Definition, definitions
from app.sagemaker.session import Session
from app.storage import remote_folder

POLL_S = 0.2
Process = subprocess.Popen[bytes]


class TuningError(Exception):
    """A search or a training that gave nothing, in one sentence."""


class Job:
    """One run of `app.tune`, by its name."""

    def __init__(
        self,
        session: Session,
        name: str,
        process: Process | None = None,
        told: IO[bytes] | None = None,
        source: Path | None = None,
    ) -> None:
        """The run of that name; where it was started here, in that process, which writes there.

        `source` is the file that it was told its experiment by, which no person knows of.
        """
        self.name = name
        self._runs = session.runs
        self._process = process
        self._told = told
        self._source = source
        self._shown = 0
        self._said = ""

    @classmethod
    def start(
        cls,
        session: Session,
        name: str,
        experiment: Mapping[str, Any],
        *,
        parents: Sequence[str] = (),
    ) -> "Job":
        """Start the experiment, and come back once its run has begun.

        Raises TuningError with its sentence where it does not begin.
        """
        runs = session.runs
        if store.exists(runs / name):
            raise TuningError(f"job_name: there is a run {name!r} in {session.place}; take another")
        command = [sys.executable, "-m", "app.tune", "--runs", session.place, "--name", name]
        for parent in parents:
            command += ["--warm-start", parent]
        if session.address is not None:
            command += ["--address", session.address]
        path = os.pathsep.join(filter(None, sys.path))
        # A file and no pipe: nobody may read until `wait` is called.
        told = tempfile.NamedTemporaryFile(prefix="tuneport-")  # noqa: SIM115
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "experiment.json")
            file.write_text(json.dumps(experiment), encoding="utf-8")
            process = subprocess.Popen(
                [*command, str(file)],
                env={**os.environ, "PYTHONPATH": path},
                stdout=subprocess.DEVNULL,
                stderr=told,
            )
            job = cls(session, name, process, told, file)
            while process.poll() is None and not store.exists(runs / name):
                time.sleep(POLL_S)
        if not store.exists(runs / name):
            with told:
                wait({"": job})
        return job

    @property
    def job_name(self) -> str:
        """The name, as SageMaker's own jobs have it."""
        return self.name

    @property
    def run(self) -> Run:
        """The run as it is now; raises StoreError where it never began."""
        remote_folder.refresh(self._runs / self.name, RESULT)
        return store.read(self._runs / self.name)

    def wait(self) -> None:
        """Show how it goes until its end; raises TuningError with its sentence where it fails."""
        wait({"": self})

    def stop(self) -> None:
        """End it; its best model so far is exported."""
        store.request_stop(self.run)

    def show(self, prefix: str = "") -> bool:
        """Write what it has said since it was last asked; whether it has ended."""
        process = self._process
        if process is None:
            return bool(self.run.result["status"] != "running")
        # Asked before reading, so that the last words are read after the end.
        ended = process.poll() is not None
        for line in self._lines(whole=not ended):
            sys.stdout.write(f"{prefix}{line}\n")
            self._said = line.strip() or self._said
        return ended

    def _lines(self, *, whole: bool) -> list[str]:
        """What was written since, one that may yet be written on left for later."""
        assert self._told is not None  # whoever has a process has it
        with Path(self._told.name).open("rb") as file:
            file.seek(self._shown)
            new = file.read()
        if whole:
            new = new[: new.rfind(b"\n") + 1]
        self._shown += len(new)
        lines = new.decode(errors="replace").splitlines()
        return [line.replace(f"{self._source}: ", "") for line in lines]

    def interrupt(self) -> None:
        """Have the run saved, as Ctrl-C does; it can be resumed."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait()

    @property
    def failure(self) -> str | None:
        """The sentence with which it failed."""
        if self._process is None or self._process.wait() == 0:
            return None
        return self._said.removeprefix("error: ")


def wait(jobs: Mapping[str, Job]) -> None:
    """Show how jobs go until all have ended; raises TuningError where none succeeds."""
    prefixes = {name: f"{name}: " if name else "" for name in jobs}
    try:
        going = True
        while going:
            going = False in [job.show(prefixes[name]) for name, job in jobs.items()]
            time.sleep(POLL_S if going else 0)
    except KeyboardInterrupt:
        # In a notebook the interrupt is for this process alone.
        for job in jobs.values():
            job.interrupt()
        raise
    failures = [f"{prefixes[name]}{job.failure}" for name, job in jobs.items() if job.failure]
    if len(failures) == len(jobs):
        raise TuningError("; ".join(failures))


class TuningJob:
    """A search: a run for each estimator, by the estimator's name, or one that needs no name."""

    def __init__(self, session: Session, name: str, jobs: Mapping[str, Job] | None = None) -> None:
        """The job of that name, found again where its runs are not given."""
        self.name = name
        self._session = session
        self.jobs = jobs or {each.name: Job(session, each.run.name) for each in self.definitions()}

    @property
    def job_name(self) -> str:
        """The name, as SageMaker's own jobs have it."""
        return self.name

    def definitions(self) -> list[Definition]:
        """Its runs as they are now; raises StoreError where there is none of its name."""
        return definitions(self._session.runs, self.name)

    def wait(self) -> None:
        """Show how it goes until its end; raises TuningError where it fails."""
        wait(self.jobs)

    def stop(self) -> None:
        """End what of it is going on; raises StoreError where nothing is."""
        going = [job for job in self.jobs.values() if job.run.result["status"] == "running"]
        for each in going or list(self.jobs.values())[:1]:
            each.stop()


def named(base: str) -> str:
    """A name for a job of now."""
    return f"{base}-{time.strftime('%Y%m%d-%H%M%S')}"
