"""Trials by the names of SageMaker's training jobs: the run's, a dash and the trial's number."""

import json
from pathlib import Path

from app.export.run_model import MODEL
from app.run import store
from app.run.store import Run, StoreError
from app.sagemaker.session import Session
from serve.models.manifest import MANIFEST

MODELS = "models"
"""The folder within a run's that has models of trials that are not its best, by their numbers."""


def trial_of(session: Session, training_job_name: str) -> tuple[Run, str]:
    """The run and the trial; raises StoreError where there is none of that name."""
    runs = session.runs
    name, _, trial = training_job_name.rpartition("-")
    if store.exists(runs / training_job_name):
        # A training alone is its run's only trial.
        run = store.read(runs / training_job_name)
        if len(run.result["trials"]) > 1:
            raise StoreError(f"{run.name}: is a search; name one of its trials, as {run.name}-001")
        return run, store.trial_id(run, "1")
    run = store.find(runs, name or training_job_name)
    return run, store.trial_id(run, trial)


def model_of(run: Run, trial_id: str) -> Path:
    """The folder of a trial's model; raises StoreError where it gives none.

    The run's own model stays: another trial's is exported to a folder of its own.
    """
    other = run.folder / MODELS / trial_id
    for folder in (run.folder / MODEL, other):
        if run.result["model"] is not None and _exported(folder) == trial_id:
            return folder
    best = run.result["best"]
    if run.result["model"] is None and (best is None or best["trial_id"] == trial_id):
        raise StoreError(f"{run.name} has no model: {why(run)}")
    # What exports is slow to import, and the best trial's model is there already.
    from app.engine.runner import RunError, export_again

    try:
        return export_again(run, trial_id, other)
    except RunError as error:
        raise StoreError(f"{run.name} has no model of trial {trial_id}: {error}") from error


def _exported(folder: Path) -> str | None:
    """Whose model a folder has."""
    try:
        told = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return None
    return str(told.get("trial_id"))


def why(run: Run) -> str:
    """Why a run has no best trial or no model."""
    result = run.result
    failed = [trial["error"] for trial in result["trials"] if trial["error"]]
    reason = (
        result["reason"]
        or result["model_error"]
        or (failed[0].split("\n", 1)[0] if failed else None)
    )
    return f"it is {result['status']}" + (f": {reason}" if reason else "")
