"""Trials by the names of SageMaker's training jobs: the run's name, a dash, the trial's number."""

from app.api import Run, StoreError, Trial, open_run
from app.run import store
from app.sagemaker.session import Session


def trial_of(session: Session, training_job_name: str) -> tuple[Run, Trial]:
    """Find the run and the trial; raises StoreError if there is none of that name."""
    folder = session.runs / training_job_name
    if store.exists(folder):
        # `PyTorch.fit` makes a run of one trial.
        run, number = Run(folder), "1"
        if len(run.trials) > 1:
            raise StoreError(f"{run.name}: is a search; name one of its trials, as {run.name}-001")
    else:
        name, _, number = training_job_name.rpartition("-")
        run = open_run(name or training_job_name, runs=session.place)
    return run, run.trial(number)
