"""What runs in a trial's process: the trainable, so that it resumes and its failures are told."""

import math
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune import Trainable

from app.search import CONTROL, FAILURE
from trainables.contract import Config, Metrics, TrainableError

REPORT = "report"
"""The key of a result under which the metrics are, as the trainable reported them."""


def supervised(trainable: type[Trainable], metric: str, run_folder: Path) -> type[Trainable]:
    """The trainable with our control of it.

    A trial starts from the checkpoint that its configuration names. What it raises, a missing
    objective or one that is not finite ends the trial with a sentence, and its process trains
    the next one: an exception is the trial's, the loss of a process the machine's.
    """

    class Supervised(trainable):  # type: ignore[misc, valid-type]
        _failure: str | None = None

        def setup(self, config: Config, **shared: Any) -> None:
            control = config.pop(CONTROL, None)
            if control is None:  # the trainable's own reset_config calls its setup
                trainable.setup(self, config, **shared)
                return
            self.config = config
            self._attempt(lambda: trainable.setup(self, config, **shared))
            self._go_on_from(control)

        def reset(self, new_config: Config, storage: Any = None) -> bool:
            self._failure = None
            control = new_config.pop(CONTROL)
            done = self._attempt(lambda: trainable.reset(self, new_config, storage))
            self._go_on_from(control)
            return self._failure is not None or bool(done)

        def step(self) -> Metrics:
            metrics = None if self._failure else self._attempt(self._reported)
            if metrics is None:
                return {"done": True, metric: math.nan, FAILURE: self._failure}
            return {metric: metrics[metric], REPORT: metrics}

        def _reported(self) -> Metrics:
            metrics = trainable.step(self)
            return checked(metrics, metric, epoch=self._iteration + 1)

        def _go_on_from(self, control: dict[str, Any]) -> None:
            if control["checkpoint"] is None or self._failure:
                return
            folder = str(run_folder / control["checkpoint"])
            checkpoint = tune.Checkpoint.from_directory(folder)
            self._attempt(lambda: self.restore(checkpoint))
            self._iteration = control["epochs"]

        def _attempt(self, act: Callable[[], Any]) -> Any:
            try:
                return act()
            except Exception as error:
                self._failure = _told(error)
                return None

    Supervised.__name__ = trainable.__name__
    return Supervised


def checked(metrics: Any, metric: str, *, epoch: int) -> Metrics:
    """The metrics as plain numbers, what is not finite but the objective as None.

    Raises TrainableError where the objective is missing or not finite.
    """
    if not isinstance(metrics, dict):
        raise TrainableError(f"step() must return a dictionary of metrics, got {metrics!r}")
    if metric not in metrics:
        known = ", ".join(map(str, metrics)) or "nothing"
        raise TrainableError(f"metric: step() reported no {metric!r}; it reported {known}")
    plain = {str(name): _plain(name, value) for name, value in metrics.items()}
    if plain[metric] is None:
        raise TrainableError(f"{metric} became {metrics[metric]} in epoch {epoch}")
    return plain


def _plain(name: str, value: Any) -> float | int | None:
    """A number as JSON can hold it."""
    number = value.item() if hasattr(value, "item") else value
    if not isinstance(number, (int, float)):
        raise TrainableError(f"step() reported {name!r} as {value!r}; metrics must be numbers")
    return number if math.isfinite(number) else None


def _told(error: Exception) -> str:
    """A failure's sentence; what was not foreseen keeps its traceback below."""
    if isinstance(error, TrainableError):
        return str(error)
    sentence = traceback.format_exception_only(error)[-1].strip()
    return f"{sentence}\n{traceback.format_exc()}"
