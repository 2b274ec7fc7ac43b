"""A run by SageMaker's name for it: a job, which `app.api` starts and waits for."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

from app.api import CommandError, Experiment, ExperimentError, Run
from app.api import run as start_run
from app.run import store
from app.sagemaker.session import Session


class TuningError(Exception):
    """A search or a training that failed, or settings that cannot be used, in one sentence."""


@dataclass(frozen=True)
class Job:
    """One run, which is a search or a training."""

    run: Run

    @classmethod
    def start(
        cls,
        session: Session,
        name: str,
        experiment: Mapping[str, Any],
        *,
        parents: Sequence[str] = (),
    ) -> Self:
        """Start the experiment, and return once its run exists.

        Raises:
            TuningError: It is wrong, or the command failed; its message is the command's.
        """
        if store.exists(session.runs / name):
            raise TuningError(f"job_name: there is a run {name!r} in {session.place}; take another")
        with _as_tuning_error():
            run = start_run(
                Experiment(**experiment),
                name=name,
                runs=session.place,
                address=session.address,
                warm_start=parents,
                wait=False,
            )
        return cls(run)

    @property
    def name(self) -> str:
        """Name of the run."""
        return self.run.name

    job_name = name

    def wait(self) -> None:
        """Show the run's output until it ends; raises TuningError with its message if it fails."""
        with _as_tuning_error():
            self.run.wait()


@contextmanager
def _as_tuning_error() -> Iterator[None]:
    try:
        yield
    except (CommandError, ExperimentError) as error:
        raise TuningError(str(error)) from error


def timestamp_name(base: str) -> str:
    """Make a job name of the base and the current time."""
    return f"{base}-{time.strftime('%Y%m%d-%H%M%S')}"
