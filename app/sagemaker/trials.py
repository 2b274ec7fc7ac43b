"""Trials by the names of SageMaker's training jobs: the run's name, a dash, the trial's number."""

import json
from pathlib import Path

from app.run import store
from app.run.layout import MODEL
from app.run.store import Run, StoreError
from app.sagemaker.session import Session
from serve.models.manifest import MANIFEST

MODELS = "models"
"""Folder of a run's with the models of trials other than the best, by trial number."""


def trial_of(session: Session, training_job_name: str) -> tuple[Run, str]:
    """Find the run and the trial's number; raises StoreError if there is none of that name."""
    runs = session.runs
    name, _, trial = training_job_name.rpartition("-")
    if store.exists(runs / training_job_name):
        # `PyTorch.fit` makes a run of one trial.
        run = store.read(runs / training_job_name)
        if len(run.result["trials"]) > 1:
            raise StoreError(f"{run.name}: is a search; name one of its trials, as {run.name}-001")
        return run, store.find_trial(run, "1")
    run = store.find(runs, name or training_job_name)
    return run, store.find_trial(run, trial)


def model_of(run: Run, trial_id: str) -> Path:
    """Find the folder of a trial's model, exporting it if needed.

    The run's own model stays: another trial's is exported to a folder of its own.

    Raises:
        StoreError: the trial has no model, with the reason.
    """
    other = run.folder / MODELS / trial_id
    for folder in (run.folder / MODEL, other):
        if run.result["model"] is not None and _exported(folder) == trial_id:
            return folder
    best = run.result["best"]
    if run.result["model"] is None and (best is None or best["trial_id"] == trial_id):
        raise StoreError(f"{run.name} has no model: {reason(run)}")
    # Slow to import, and not needed for the best trial, whose model is exported already.
    from app.engine.model_export import export_again
    from app.engine.outcome import RunError

    try:
        return export_again(run, trial_id, other)
    except RunError as error:
        raise StoreError(f"{run.name} has no model of trial {trial_id}: {error}") from error


def _exported(folder: Path) -> str | None:
    """Number of the trial whose model the folder holds; None if it holds none."""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return None
    return str(manifest.get("trial_id"))


def reason(run: Run) -> str:
    """Say why a run has no best trial or no model."""
    result = run.result
    errors = [trial["error"] for trial in result["trials"] if trial["error"]]
    first_line = errors[0].split("\n", 1)[0] if errors else None
    found = result["reason"] or result["model_error"] or first_line
    return f"it is {result['status']}" + (f": {found}" if found else "")
