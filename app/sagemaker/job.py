"""A run that a notebook started: `python -m app.tune` in a process of its own."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from app.run import store
from app.run.result_file import RESULT
from app.run.status import RunStatus
from app.run.store import Run
from app.sagemaker.session import Session
from app.storage.run_storage import run_storage

POLL_S = 0.2
Process = subprocess.Popen[bytes]


class TuningError(Exception):
    """A search or a training that failed, or settings that cannot be used, in one sentence."""


class Job:
    """One run of `app.tune`, by its name."""

    def __init__(
        self,
        session: Session,
        name: str,
        process: Process | None = None,
        output: IO[bytes] | None = None,
        source: Path | None = None,
    ) -> None:
        """Take the run of that name; `process` runs it if it was started here.

        `output` is the file that the process writes to, `source` the temporary experiment file,
        which is cut from messages because no user knows it.
        """
        self.name = name
        self._runs = session.runs
        self._process = process
        self._output = output
        self._source = source
        self._shown_bytes = 0
        self._last_line = ""

    @classmethod
    def start(
        cls,
        session: Session,
        name: str,
        experiment: Mapping[str, object],
        *,
        parents: Sequence[str] = (),
    ) -> "Job":
        """Start the experiment, and return once its run exists.

        Raises:
            TuningError: the command failed before that; its message is the command's.
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
        output = tempfile.NamedTemporaryFile(prefix="tuneport-")  # noqa: SIM115
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "experiment.json")
            file.write_text(json.dumps(experiment), encoding="utf-8")
            process = subprocess.Popen(
                [*command, str(file)],
                env={**os.environ, "PYTHONPATH": path},
                stdout=subprocess.DEVNULL,
                stderr=output,
            )
            job = cls(session, name, process, output, file)
            while process.poll() is None and not store.exists(runs / name):
                time.sleep(POLL_S)
        if not store.exists(runs / name):
            with output:
                job.wait()
        return job

    @property
    def job_name(self) -> str:
        """Name, as SageMaker's own jobs call it."""
        return self.name

    @property
    def run(self) -> Run:
        """The run as it is now; raises StoreError if it never started."""
        run_storage(self._runs / self.name).refresh(RESULT)
        return store.read(self._runs / self.name)

    def wait(self) -> None:
        """Show the run's output until it ends; raises TuningError with its message if it fails."""
        try:
            while not self._show():
                time.sleep(POLL_S)
        except KeyboardInterrupt:
            # In a notebook the interrupt reaches this process alone.
            self._interrupt()
            raise
        if self._process is not None and self._process.wait() != 0:
            raise TuningError(self._last_line.removeprefix("error: "))

    def stop(self) -> None:
        """Stop the run and export its best model so far; raises StoreError if it has ended."""
        store.request_stop(self.run)

    def _show(self) -> bool:
        """Print the output since the last call; return whether the run has ended."""
        process = self._process
        if process is None:
            return bool(self.run.result["status"] != RunStatus.RUNNING)
        # Asked before reading, so that the last lines are read after the end.
        ended = process.poll() is not None
        for line in self._new_lines(complete=not ended):
            sys.stdout.write(f"{line}\n")
            self._last_line = line.strip() or self._last_line
        return ended

    def _new_lines(self, *, complete: bool) -> list[str]:
        """Read the lines since the last call; with `complete`, leave a half-written one."""
        assert self._output is not None  # a process always has one
        with Path(self._output.name).open("rb") as file:
            file.seek(self._shown_bytes)
            new = file.read()
        if complete:
            new = new[: new.rfind(b"\n") + 1]
        self._shown_bytes += len(new)
        lines = new.decode(errors="replace").splitlines()
        return [line.replace(f"{self._source}: ", "") for line in lines]

    def _interrupt(self) -> None:
        """Save the run as Ctrl-C does, so that it can be resumed."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait()


def timestamp_name(base: str) -> str:
    """Make a job name of the base and the current time."""
    return f"{base}-{time.strftime('%Y%m%d-%H%M%S')}"
