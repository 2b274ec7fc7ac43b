"""The runs of a folder: found by name and read, or asked to stop."""

import json
import os
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.experiment.errors import ExperimentError
from app.experiment.run_folder import JOURNAL, NAME
from app.run import journal_reader
from app.run import record as records
from app.run.commands import run_arguments
from app.run.errors import DamagedError, JournalError
from app.run.layout import EXPERIMENT, STOP
from app.run.record import Record
from app.run.result_file import RESULT
from app.run.status import RunStatus
from app.storage.run_storage import run_storage
from app.storage.trial_files import log_path
from app.storage.working_copy import location, open_working_copy

if TYPE_CHECKING:
    from app.experiment.schema import Experiment

OUTCOME_FILES = (RESULT, JOURNAL)
"""The files that an outcome is read from: the second where the first is gone."""
POLL_S = 0.2
"""The time between looks at a run that another process has in hand."""


class StoreError(Exception):
    """A run does not exist or cannot be read, in one sentence."""


@dataclass(frozen=True)
class Run:
    """A run's folder, and its outcome so far."""

    folder: Path
    result: dict[str, Any]

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name


def open_runs(place: str) -> Path:
    """Open the place that `--runs` names and return its absolute folder.

    Args:
        place: A folder, which need not exist, or a URI, for which this is a working copy.

    Raises:
        StoreError: The place is a file.
        StorageError: The URI cannot be read.
    """
    if "://" in place:
        return open_working_copy(place)
    path = Path(place).resolve()
    if path.exists() and not path.is_dir():
        raise StoreError(f"--runs: {path} is a file; choose a folder")
    return path


def new_folder(runs: Path, name: str) -> Path:
    """Return the folder for a new run, not yet made; raises StoreError where it cannot be made."""
    if not NAME.fullmatch(name):
        raise StoreError(
            f"--name: {name!r} must be letters, digits, dots, dashes and underscores,"
            " a letter or digit first, at most 100 of them"
        )
    folder = runs / name
    if folder.exists():
        raise name_taken(folder)
    try:
        runs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"--runs: cannot make {runs}: {error.strerror}") from error
    if not os.access(runs, os.W_OK | os.X_OK):
        raise StoreError(f"--runs: cannot write to {runs}; choose another folder")
    return folder


def name_taken(folder: Path) -> StoreError:
    """Return the error of a new run that would have an earlier one's folder."""
    return StoreError(
        f"--name: there is a run {folder.name!r} in {location(folder.parent)};"
        f" choose another name, or go on with it by --resume {folder.name}"
    )


def exists(folder: Path) -> bool:
    """Whether a run began in this folder."""
    return any((folder / name).is_file() for name in OUTCOME_FILES)


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
    for file in OUTCOME_FILES:
        with suppress(OSError):
            found = os.stat(f"{entry.path}/{file}")  # noqa: PTH116 - a third of the time of a path
            if stat.S_ISREG(found.st_mode) and (found.st_size or file == RESULT):
                return True
    return False


def find(runs: Path, name: str) -> Run:
    """Read the run of that name, or of the one name that begins so; raises StoreError."""
    return read(find_folder(runs, name))


def find_folder(runs: Path, name: str) -> Path:
    """Return the folder of the run that `find` reads; raises StoreError."""
    known = names(runs)
    matching = [name] if name in known else [other for other in known if other.startswith(name)]
    if len(matching) == 1 and name:
        return runs / matching[0]
    if len(matching) > 1 and name:
        raise StoreError(f"{name!r} could be {some(matching)}; type more of the name")
    if NAME.fullmatch(name) and (runs / name).is_dir():
        raise StoreError(f"{location(runs / name)} is no run: it has no {RESULT} and no {JOURNAL}")
    there = f"are {some(known)}" if known else "is none"
    raise StoreError(f"no run {name!r} in {location(runs)}; there {there}")


def read(folder: Path) -> Run:
    """Read the run in a folder; raises StoreError where its files cannot be read."""
    result = _outcome(folder)
    if result["status"] != RunStatus.RUNNING:
        return Run(folder, result)
    # Read again, as a run that ends gives up its lock after it wrote its last result.
    running = run_storage(folder).is_running()
    result = _outcome(folder)
    return Run(folder, result if running else _interrupt(result))


def _outcome(folder: Path) -> dict[str, Any]:
    """The outcome by `result.json`, with what older versions left out, or by the journal."""
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
            return _replay(folder)
        except StoreError as second:
            why = "it is gone" if isinstance(error, FileNotFoundError) else error
            raise StoreError(
                f"cannot read {path}: {why}; nor does its journal say it: {second}"
            ) from error


def _replay(folder: Path) -> dict[str, Any]:
    """The outcome by the journal, as `result.json` is gone or was lost with the power."""
    record = empty_record(folder)
    path = folder / JOURNAL
    try:
        with suggest_repair(folder):
            journal_reader.replay(record, path.read_bytes(), path)
    except (JournalError, OSError) as error:
        raise StoreError(str(error)) from error
    return record.as_json()


def empty_record(folder: Path) -> Record:
    """Return the record of the run in a folder before its first event; raises StoreError."""
    return new_record(folder, read_experiment(Run(folder, {})))


def new_record(folder: Path, experiment: "Experiment") -> Record:
    """Return the record of a run of an experiment before its first event."""
    return Record(
        folder.name, experiment.metric, experiment.mode, experiment.seed, experiment.kind.value
    )


@contextmanager
def suggest_repair(folder: Path) -> Iterator[None]:
    """Add to the error of a damaged journal the command that repairs it."""
    try:
        yield
    except DamagedError as error:
        repair = f"python -m app.runs repair {run_arguments(folder)}"
        raise JournalError(f"{error}; keep what can be read by: {repair}") from error


def _interrupt(result: dict[str, Any]) -> dict[str, Any]:
    """Return a result whose process is gone: what was running is interrupted."""
    trials = [_interrupt_one(trial) for trial in result["trials"]]
    return {**_interrupt_one(result), "trials": trials}


def _interrupt_one(outcome: dict[str, Any]) -> dict[str, Any]:
    if outcome["status"] != RunStatus.RUNNING:
        return outcome
    return {**outcome, "status": RunStatus.INTERRUPTED}


def read_experiment(run: Run) -> "Experiment":
    """Read the experiment of a run, without keys that this version does not know.

    Raises StoreError where it cannot be read.
    """
    from app.experiment.loading import split_known  # pydantic, which listing runs does not need
    from app.experiment.schema import from_table

    known, _ = split_known(read_table(run))
    try:
        return from_table(known)
    except ExperimentError as error:
        raise StoreError(f"cannot read {run.folder / EXPERIMENT}: {error}") from error


def unknown_keys(run: Run) -> list[str]:
    """Return the keys of a run's `experiment.json` that this version does not know.

    Raises StoreError where it cannot be read.
    """
    from app.experiment.loading import split_known

    return split_known(read_table(run))[1]


def read_table(run: Run) -> dict[str, Any]:
    """Read all of a run's `experiment.json`; raises StoreError where it cannot be read."""
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


def find_trial(run: Run, text: str) -> str:
    """Return the ID of a trial by its number, with leading zeros or without; raises StoreError."""
    known = [str(trial["trial_id"]) for trial in run.result["trials"]]
    for trial_id in known:
        if trial_id.lstrip("0") == text.lstrip("0"):
            return trial_id
    there = some(known, 20) or "none"
    raise StoreError(f"{run.name}: there is no trial {text!r}; its trials: {there}")


def download_log(folder: Path, trial_id: str) -> Path:
    """Return the path of a trial's log, brought up to date where it is behind a URI."""
    path = log_path(folder, trial_id)
    run_storage(folder).download(path.relative_to(folder).as_posix())
    return path


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


def some(names: Sequence[str], most: int = 5) -> str:
    """Join the first names of a list."""
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")
