"""Runs on disk: found by name and read back, never written."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.experiment import NAME, Experiment, ExperimentError, from_table
from app.journal import RESULT, is_locked

EXPERIMENT = "experiment.json"
KEYS = {"name", "status", "reason", "metric", "seconds", "best", "trials", "model"}
"""What `result.json` has at least."""


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
    """Where runs are kept, as an absolute folder; raises StoreError for what is none."""
    if "://" in text:
        raise StoreError(f"--runs: {text} is no folder; runs are kept in a folder of this machine")
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
            f"--name: there is a run {name!r} in {runs};"
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
    return (folder / RESULT).is_file()


def find(runs: Path, name: str) -> Run:
    """The run of that name, or of the one name that it begins; raises StoreError."""
    names = _names(runs)
    matching = [name] if name in names else [each for each in names if each.startswith(name)]
    if len(matching) == 1 and name:
        return read(runs / matching[0])
    if len(matching) > 1:
        raise StoreError(f"{name!r} could be {', '.join(matching)}; type more of the name")
    raise StoreError(f"no run {name!r} in {runs}; there {_listed(names)}")


def all_runs(runs: Path) -> list[Run]:
    """Every run, the newest first."""
    found = [read(runs / name) for name in _names(runs)]
    return sorted(found, key=lambda run: _began(run.folder), reverse=True)


def read(folder: Path) -> Run:
    """The run in a folder; raises StoreError where its files cannot be read."""
    path = folder / RESULT
    # Asked first, as a run that ends meanwhile gives up its lock after its last result.
    locked = is_locked(folder)
    try:
        result = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise StoreError(f"{folder} has no {RESULT}: its run never began") from error
    except (OSError, ValueError) as error:
        raise StoreError(f"cannot read {path}: {error}") from error
    if not isinstance(result, dict) or not result.keys() >= KEYS:
        raise StoreError(f"cannot read {path}: it is no run's outcome")
    return Run(folder, result if locked else _left_alone(result))


def _left_alone(result: dict[str, Any]) -> dict[str, Any]:
    """A result without its process: what it says is running was interrupted."""
    trials = [_interrupted(trial) for trial in result["trials"]]
    return {**_interrupted(result), "trials": trials}


def _interrupted(outcome: dict[str, Any]) -> dict[str, Any]:
    return {**outcome, "status": "interrupted"} if outcome["status"] == "running" else outcome


def experiment(run: Run) -> Experiment:
    """The experiment of a run; raises StoreError where it cannot be read."""
    path = run.folder / EXPERIMENT
    try:
        table = json.loads(path.read_bytes())
        del table["threads"]  # recorded for whoever compares runs; it follows from the CPUs
        return from_table(table)
    except (OSError, ValueError, TypeError, KeyError, ExperimentError) as error:
        raise StoreError(f"cannot read {path}: {error}") from error


def _names(runs: Path) -> list[str]:
    if not runs.is_dir():
        return []
    return sorted(path.name for path in runs.iterdir() if (path / RESULT).is_file())


def _listed(names: list[str]) -> str:
    return "are " + ", ".join(names[:5]) + (", …" if len(names) > 5 else "") if names else "is none"


def _began(folder: Path) -> float:
    try:
        return (folder / EXPERIMENT).stat().st_mtime
    except OSError:
        return 0.0
