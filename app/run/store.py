"""Runs on disk: found by name and read back; all that is ever written is a request to stop."""

import json
import os
import shlex
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.experiment.errors import ExperimentError
from app.experiment.run_folder import JOURNAL, NAME
from app.run import journal
from app.run import record as records
from app.run.journal import Damaged, JournalError
from app.run.record import Record
from app.run.result_file import RESULT
from app.run.status import RunStatus
from app.storage.run_storage import run_storage
from app.storage.working_copy import location, open_working_copy

if TYPE_CHECKING:
    from app.experiment.schema import Experiment

EXPERIMENT = "experiment.json"
LOGS = "logs"
"""The folder within a run's that has a file for what each trial printed."""
TRIALS = "trials"
"""The folder within a run's that has a folder for each trial that needs one of its own."""
TUNE = "tune"
"""Ray Tune's own folder within a run's; checkpoints are in it."""
STUDY = "study.log"
"""The Optuna study within a run's folder, for `optuna-dashboard`."""
TOLD_BY = (RESULT, JOURNAL)
"""The files that tell of a run: the second where the first is gone."""
POLL_S = 0.2
"""The time between looks at a run that another process has in hand."""
STOP = "stop"
"""The file within a run's folder that asks whoever has the run in hand to end it."""


class StoreError(Exception):
    """A run that is not there, or cannot be read, in one sentence."""


@dataclass(frozen=True)
class Run:
    """A run's folder, and its outcome so far."""

    folder: Path
    result: dict[str, Any]

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name


def place(text: str) -> Path:
    """Where runs are kept, as an absolute folder: one to work in where that is behind a URI.

    Raises StoreError or StorageError for what is none.
    """
    if "://" in text:
        return open_working_copy(text)
    path = Path(text).resolve()
    if path.exists() and not path.is_dir():
        raise StoreError(f"--runs: {path} is a file; choose a folder")
    return path


def new_folder(runs: Path, name: str) -> Path:
    """The folder of a run that does not exist yet; raises StoreError where it cannot be made."""
    if not NAME.fullmatch(name):
        raise StoreError(
            f"--name: {name!r} must be letters, digits, dots, dashes and underscores,"
            " a letter or digit first, at most 100 of them"
        )
    folder = runs / name
    if folder.exists():
        raise StoreError(
            f"--name: there is a run {name!r} in {location(runs)};"
            f" choose another name, or go on with it by --resume {name}"
        )
    try:
        runs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"--runs: cannot make {runs}: {error.strerror}") from error
    if not os.access(runs, os.W_OK | os.X_OK):
        raise StoreError(f"--runs: cannot write to {runs}; choose another folder")
    return folder


def exists(folder: Path) -> bool:
    """Whether a run began in this folder."""
    return any((folder / name).is_file() for name in TOLD_BY)


def names(runs: Path) -> list[str]:
    """Return the names of all runs in a folder, sorted; raises StoreError."""
    try:
        with os.scandir(runs) as entries:
            found = sorted(entry.name for entry in entries if _is_run(entry))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(f"--runs: cannot read {runs}: {error.strerror}") from error
    return found


def _is_run(entry: "os.DirEntry[str]") -> bool:
    """Whether a run began in this folder; unprintable names and hidden folders are skipped.

    A hidden folder is a run that is still being created.
    """
    if not entry.name.isprintable() or entry.name.startswith("."):
        return False
    for file in TOLD_BY:
        with suppress(OSError):
            found = os.stat(f"{entry.path}/{file}")  # noqa: PTH116 - a third of the time of a path
            if stat.S_ISREG(found.st_mode) and (found.st_size or file == RESULT):
                return True
    return False


def find(runs: Path, name: str) -> Run:
    """The run of that name, or of the one name that it begins; raises StoreError."""
    return read(folder_of(runs, name))


def folder_of(runs: Path, name: str) -> Path:
    """The folder of that run, whatever is in it; raises StoreError."""
    known = names(runs)
    matching = [name] if name in known else [other for other in known if other.startswith(name)]
    if len(matching) == 1 and name:
        return runs / matching[0]
    if len(matching) > 1 and name:
        raise StoreError(f"{name!r} could be {_some(matching)}; type more of the name")
    there = f"are {_some(known)}" if known else "is none"
    raise StoreError(f"no run {name!r} in {location(runs)}; there {there}")


def read(folder: Path) -> Run:
    """The run in a folder; raises StoreError where its files cannot be read."""
    result = _outcome(folder)
    if result["status"] != RunStatus.RUNNING:
        return Run(folder, result)
    # Read again once that is asked, as a run that ends gives up its lock after its last result.
    running = run_storage(folder).is_running()
    result = _outcome(folder)
    return Run(folder, result if running else _left_alone(result))


def _outcome(folder: Path) -> dict[str, Any]:
    """What `result.json` says, and what it would say if it were not older than this."""
    path = folder / RESULT
    try:
        result = json.loads(path.read_bytes(), parse_constant=lambda _: None)
        return records.from_json(folder.name, result)
    except (OSError, ValueError, RecursionError) as error:
        if not (folder / JOURNAL).is_file():
            if isinstance(error, FileNotFoundError):
                raise StoreError(f"{folder} has no {RESULT}: its run never began") from error
            raise StoreError(f"cannot read {path}: {error}") from error
        try:
            return _retold(folder)
        except StoreError as untold:
            why = "it is gone" if isinstance(error, FileNotFoundError) else error
            raise StoreError(
                f"cannot read {path}: {why}; nor does its journal say it: {untold}"
            ) from error


def _retold(folder: Path) -> dict[str, Any]:
    """The outcome by its journal, where `result.json` is gone, or was lost with the power."""
    record = record_of(folder)
    path = folder / JOURNAL
    try:
        with way_on(folder):
            journal.replay(record, path.read_bytes(), path)
    except (JournalError, OSError) as error:
        raise StoreError(str(error)) from error
    return record.as_json()


def record_of(folder: Path) -> Record:
    """What is known of a run before its first event; raises StoreError."""
    return new_record(folder, experiment(Run(folder, {})))


def new_record(folder: Path, asked: "Experiment") -> Record:
    """The record of a run in that folder, before its first event."""
    return Record(folder.name, asked.metric, asked.mode, asked.seed, asked.value)


@contextmanager
def way_on(folder: Path) -> Iterator[None]:
    """Add the command that repairs it to the error of a damaged journal."""
    try:
        yield
    except Damaged as error:
        repair = f"python -m app.runs repair {named(folder, folder.parent)}"
        raise JournalError(f"{error}; keep what can be read by: {repair}") from error


def _left_alone(result: dict[str, Any]) -> dict[str, Any]:
    """A result without its process: what it says is running was interrupted."""
    trials = [_interrupted(trial) for trial in result["trials"]]
    return {**_interrupted(result), "trials": trials}


def _interrupted(outcome: dict[str, Any]) -> dict[str, Any]:
    if outcome["status"] != RunStatus.RUNNING:
        return outcome
    return {**outcome, "status": RunStatus.INTERRUPTED}


def experiment(run: Run) -> "Experiment":
    """The experiment of a run, without what only other versions know; raises StoreError."""
    from app.experiment.loading import split_known  # pydantic, which listing runs does not need
    from app.experiment.schema import from_table

    known, _ = split_known(written(run))
    try:
        return from_table(known)
    except ExperimentError as error:
        raise StoreError(f"cannot read {run.folder / EXPERIMENT}: {error}") from error


def passed_over(run: Run) -> list[str]:
    """The keys of a run's `experiment.json` that only other versions know; raises StoreError."""
    from app.experiment.loading import split_known

    return split_known(written(run))[1]


def written(run: Run) -> dict[str, Any]:
    """All of a run's `experiment.json`; raises StoreError where it cannot be read."""
    path = run.folder / EXPERIMENT
    try:
        table = json.loads(path.read_bytes())
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise StoreError(f"cannot read {path}: {error}") from error
    if not isinstance(table, dict):
        raise StoreError(f"cannot read {path}: it needs a table, got {table!r:.60}")
    return table


def trial_id(run: Run, text: str) -> str:
    """The trial of that number, with zeros before it or without; raises StoreError."""
    known = [str(trial["trial_id"]) for trial in run.result["trials"]]
    for each in known:
        if each.lstrip("0") == text.lstrip("0"):
            return each
    there = _some(known, 20) or "none"
    raise StoreError(f"{run.name}: there is no trial {text!r}; its trials: {there}")


def named(folder: Path, runs: Path) -> str:
    """A run as a command is told of it, typed in this folder: quoted for the shell."""
    place = () if runs == Path("runs").resolve() else ("--runs", location(runs))
    return shlex.join((folder.name, *place))


def resume_command(folder: Path) -> str:
    """What goes on with the run in that folder, typed in this one."""
    return f"python -m app.tune --resume {named(folder, folder.parent)}"


def show_command(folder: Path) -> str:
    """The command that shows the run in that folder, to be typed in this one."""
    return f"python -m app.runs show {named(folder, folder.parent)}"


def log_path(folder: Path, trial: str) -> Path:
    """The file with what a trial of the run in this folder printed."""
    return folder / LOGS / f"{trial}.log"


def log(folder: Path, trial: str) -> Path:
    """That file, with what is known of it by now where it is kept behind a URI."""
    path = log_path(folder, trial)
    run_storage(folder).download(path.relative_to(folder).as_posix())
    return path


def trial_folder(folder: Path, trial: str) -> Path:
    """The folder of its own that a trial of the run in this folder may make."""
    return folder / TRIALS / trial


def request_stop(run: Run) -> None:
    """Ask the process that has the run in hand to end it; raises StoreError where none has."""
    storage = run_storage(run.folder)
    if not storage.is_running():
        status = read(run.folder).result["status"]
        raise StoreError(f"{run.name} is not running: it is {status}")
    try:
        storage.create(STOP)
    except OSError as error:
        raise StoreError(f"cannot write {run.folder / STOP}: {error.strerror}") from error


def wait_for_end(run: Run) -> Run:
    """Wait until no process has the run in hand, and read how it ended."""
    storage = run_storage(run.folder)
    while storage.is_running():
        time.sleep(POLL_S)
    storage.refresh(RESULT)
    # A process that ended by itself has not read it, and the next one is to go on.
    with suppress(OSError):
        (run.folder / STOP).unlink(missing_ok=True)
    return read(run.folder)


def _some(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")
