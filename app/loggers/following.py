"""Open a run's loggers, hand them the journal's events, and close them at the run's end."""

import importlib
import importlib.util
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from app.experiment.errors import ExperimentError
from app.experiment.logger_names import PACKAGES
from app.experiment.schema import Experiment
from app.loggers.logger_thread import Logger, LoggerThread
from app.run.journal import Journal

Say = Callable[[str], None]

RAY = "ray"
"""Ray's own metrics, which every run has."""
BUILDERS: Mapping[str, str] = {
    RAY: "app.loggers.ray_metrics:RayMetrics",
    "tensorboard": "app.loggers.tensorboard:TensorBoardLogger",
    "mlflow": "app.loggers.mlflow:MLflowLogger",
    "wandb": "app.loggers.wandb:WandbLogger",
}
"""Classes of loggers by the names that `log_to` takes; each is called with journal and
experiment. Their modules import what each needs."""
END_S = 60.0
"""Seconds for which loggers are waited for at the end of a run: they may send its model."""
BROKEN_END_S = 3.0
"""The same where a signal or an error ended the run."""


def check_installed(names: Sequence[str]) -> None:
    """Raise ExperimentError for a logger whose package is not installed."""
    for name in names:
        if importlib.util.find_spec(PACKAGES[name]) is None:
            raise ExperimentError(
                f"log_to: {name} is not installed; install it by pip install -e '.[{name}]'"
            )


@contextmanager
def following(journal: Journal, experiment: Experiment, say: Say) -> Iterator[None]:
    """Log the run until the end of the block, to Ray's metrics and what `log_to` names.

    A logger that raises or hangs is left out with a warning, and the search goes on.
    """
    loggers = [_start(name, journal, experiment, say) for name in (RAY, *experiment.log_to)]
    observers = [logger.on_event for logger in loggers]
    journal.observers.extend(observers)
    wait_s = BROKEN_END_S
    try:
        yield
        wait_s = END_S
    finally:
        for observer in observers:
            journal.observers.remove(observer)
        deadline = time.monotonic() + wait_s
        for logger in loggers:
            logger.end()
        for logger in loggers:
            logger.wait(deadline)


def _start(name: str, journal: Journal, experiment: Experiment, say: Say) -> LoggerThread:
    """Start a logger by its name; `say` is told why it is left out, if it is."""
    what = "Ray's metrics" if name == RAY else f"log_to: {name}"

    def build() -> Logger:
        module, _, kind = BUILDERS[name].partition(":")
        logger: Logger = getattr(importlib.import_module(module), kind)(journal, experiment)
        return logger

    def leave_out(reason: str) -> None:
        say(f"warning: {what} {reason}; the search goes on without it")

    return LoggerThread(build, leave_out)


def scalars(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return the finite numbers among an epoch's metrics, which are all that curves can show."""
    return {
        name: float(value)
        for name, value in metrics.items()
        if isinstance(value, (int, float)) and math.isfinite(value)
    }
