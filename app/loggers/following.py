"""Open a run's loggers, hand them the journal's events, and leave out one that fails."""

import importlib
import importlib.util
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

from app.experiment.errors import ExperimentError
from app.experiment.logger_names import PACKAGES
from app.experiment.schema import Experiment
from app.run.events import Event
from app.run.journal import Journal

Say = Callable[[str], None]


class Logger(Protocol):
    """Writes a run to a tool; whatever its methods raise ends the logging, not the search."""

    def on_event(self, event: Event) -> None:
        """Take an event of the journal, once the run's record contains it."""
        ...

    def close(self) -> None:
        """Write what is left, the model among it."""
        ...


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

    A logger that cannot go on is left out with a warning, and the search goes on.
    """
    opened: dict[str, Logger] = {}
    observers: list[Callable[[Event], None]] = []

    def attempt(name: str, act: Callable[[], Any]) -> None:
        try:
            act()
        except Exception as error:  # each tool raises its own
            opened.pop(name, None)
            reason = " ".join(str(error).split()) or type(error).__name__
            what = "Ray's metrics" if name == RAY else f"log_to: {name}"
            say(f"warning: {what} failed, and the search goes on without it: {reason}")

    def open_logger(name: str) -> None:
        module, _, kind = BUILDERS[name].partition(":")
        opened[name] = getattr(importlib.import_module(module), kind)(journal, experiment)

    def observe(name: str, event: Event) -> None:
        if name in opened:
            attempt(name, lambda: opened[name].on_event(event))

    for name in (RAY, *experiment.log_to):
        attempt(name, partial(open_logger, name))
        observers.append(partial(observe, name))
    journal.observers.extend(observers)
    try:
        yield
    finally:
        for observer in observers:
            journal.observers.remove(observer)
        for name in list(opened):
            attempt(name, opened[name].close)


def scalars(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return the finite numbers among an epoch's metrics, which are all that curves can show."""
    return {
        name: float(value)
        for name, value in metrics.items()
        if isinstance(value, (int, float)) and math.isfinite(value)
    }
