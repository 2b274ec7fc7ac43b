"""Trials of the class under check, and their methods, whose errors name the method."""

import itertools
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ray.tune import Trainable

from trainables.contract import Config, Metrics, TrainableError
from trainables.errors.advice import advise
from trainables.function.trainable import FunctionTrainable
from trainables.report import check_report


class TimedOut(BaseException):
    """Raised in code that takes too long; no `except Exception` of that code's can catch it."""


@dataclass(frozen=True)
class Subject:
    """The class under check, and what its trials get."""

    trainable: type[Trainable]
    config: Config
    metric: str
    folder: Path
    """A folder in which trials may write."""
    shared: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of `setup`."""
    repeatable: Metrics = field(default_factory=dict)
    """The first epoch's metrics of a fresh trial, but for those that differ from trial to trial."""
    seeds: Iterator[int] = field(default_factory=lambda: itertools.count(2**31))
    """Seeds of the global random state at the start of trials, each used once."""

    @contextmanager
    def trial(self) -> Iterator[Any]:
        """Make a fresh trial, in a process whose random state is as other code left it."""
        seed = next(self.seeds)
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        with named_errors("setup()"):
            trial = _bind(self)(config=dict(self.config))
        try:
            yield trial
        finally:
            trial.stop()


def _bind(subject: Subject) -> type[Trainable]:
    """Derive a class that has its data, and whose trials keep the metrics of their last step."""
    base = subject.trainable

    class Bound(base):  # type: ignore[misc, valid-type]
        __is_complete = False
        trial_folder = subject.folder / "trial"

        def _setup_logdir(self) -> None:
            # Ray's own makes a folder in the user's home for each trial.
            self._logdir = str(subject.folder)

        def setup(self, config: Config) -> None:
            base.setup(self, config, **subject.shared)

        def step(self) -> Metrics:
            if self.__is_complete:  # Tune calls for no more
                self._reported = {}
                return {}
            reported = check_report(
                base.step(self), subject.metric, epoch=self.iteration + 1, by=reporter(base)
            )
            self.__is_complete, self._reported = reported.is_last, reported.metrics
            return dict(self._reported)

        def reset(self, *arguments: Any) -> bool:
            self.__is_complete = False
            return bool(base.reset(self, *arguments))

    Bound.__name__ = base.__name__
    return Bound


def reporter(trainable: type[Trainable]) -> str:
    """Name the call that reports metrics, such as `step()`."""
    return str(getattr(trainable, "reports_by", "step()"))


def model_call(trainable: Any) -> str:
    """Name the call that gives the network of a class or trial, such as `model()`."""
    return str(getattr(trainable, "model_by", "model()"))


def stepper(trial: Any) -> str:
    """Name the call that trains for an epoch: `step()`, or the function."""
    return f"{type(trial).__name__}()" if isinstance(trial, FunctionTrainable) else "step()"


def train_epoch(trial: Any) -> Metrics:
    """Train for an epoch; return what was reported."""
    with named_errors(stepper(trial)):
        trial.train()
    return dict(trial._reported)


def save(trial: Any, folder: Path) -> Any:
    """Save a checkpoint into an empty folder; raise TrainableError where it stays empty."""
    with named_errors("save_checkpoint()"):
        saved = trial.save(str(folder))
    if not any(folder.iterdir()):
        raise TrainableError("save_checkpoint(): wrote nothing into the folder that it was given")
    return saved


def compare(sentence: str, expected: Metrics, found: Metrics, names: list[str]) -> None:
    """Raise TrainableError with that sentence for the first of these metrics that differs."""
    for name in names:
        here, there = found.get(name), expected.get(name)
        if here != there:
            raise TrainableError(f"{sentence}: {name} {here!r} for {there!r}")


@contextmanager
def named_errors(method: str) -> Iterator[None]:
    """Turn exceptions of a method into TrainableErrors that name it."""
    try:
        yield
    except TrainableError:
        raise
    except TimedOut as error:
        raise TrainableError(f"{method}: hung; {error}") from error
    except SystemExit as error:
        raise TrainableError(f"{method}: called sys.exit({error.code!r})") from error
    except Exception as error:
        raise TrainableError(f"{method}: raised {describe_error(error)}") from error


def describe_error(error: BaseException) -> str:
    """Describe an exception by its type, its message and advice."""
    return f"{type(error).__name__}: {error}{advise(error)}"
