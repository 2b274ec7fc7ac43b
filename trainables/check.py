"""Puts a trainable through its promises: `check_trainable(Mine, {"lr": 0.1}, metric="loss")`."""

import itertools
import os
import random
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from ray.tune import Trainable
from torch import Tensor, nn

from trainables import as_trainable, check_parallel
from trainables.contract import (
    Config,
    Metrics,
    TrainableError,
    advice,
    check_labels,
    checked,
    flat,
    labels_of,
    meaning_of,
)
from trainables.function import FunctionTrainable, name_of
from trainables.peers import processes
from trainables.teamed import teamed

TOLERANCE = 1e-5
"""How far from the reported objective a model's may be that is evaluated again, as at export:
absolute, and relative to it."""


def check_trainable(
    trainable: type[Trainable] | Callable[[Config], Any],
    config: Config,
    *,
    metric: str,
    data_dir: Path | None = None,
    workers: int = 1,
) -> None:
    """Put a class or function through what `trainables/contract.py` promises, without Ray.

    `config` is a trial's, its seed 0 unless given; all runs on the CPU. Six epochs are trained, so
    a slice of the data will do. Metrics in which two fresh trials differ, such as a time, are not
    compared any further; in the objective they must not differ. With several workers, each but the
    first in a process of its own, four more epochs are trained, or five.

    Raises TrainableError for the first promise that is broken, and says how.
    """
    name = name_of(trainable)
    checked_class = as_trainable(trainable, name)
    whole = {"seed": 0, **config}
    if workers > 1:
        check_parallel(checked_class, name)
    _check_refusals(checked_class, whole)
    with _left_as_it_was(), tempfile.TemporaryDirectory() as folder:
        shared = _shared(checked_class, data_dir)
        subject = _Subject(checked_class, whole, metric, shared, Path(folder))
        _check_training(subject)
        if workers > 1:
            _check_team(replace(subject, workers=workers))


@dataclass(frozen=True)
class _Subject:
    """The class that is checked, and what its trials are given."""

    trainable: type[Trainable]
    config: Config
    metric: str
    shared: Mapping[str, Any]
    folder: Path
    """Where trials may write."""
    workers: int = 1
    """How many train each trial together."""
    seeds: Iterator[int] = field(default_factory=lambda: itertools.count(2**31))
    """What global random state is at the start of trials, none like another."""

    @contextmanager
    def trial(self) -> Iterator[Any]:
        """A fresh trial, in a process that was used before."""
        seed = next(self.seeds)
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        with _promised("setup()"):
            trial = self._class()(config=dict(self.config))
        try:
            yield trial
        finally:
            trial.stop()

    def _class(self) -> type[Trainable]:
        alone = _observed(self)
        return alone if self.workers == 1 else teamed(alone, self.workers, processes)


def _observed(subject: _Subject) -> type[Trainable]:
    """The class with its data, which remembers what its last step reported."""
    base = subject.trainable

    class Observed(base):  # type: ignore[misc, valid-type]
        __is_over = False

        def _setup_logdir(self) -> None:
            # Ray's own makes a folder in the user's home for each trial.
            self._logdir = str(subject.folder)

        def setup(self, config: Config) -> None:
            base.setup(self, config, **subject.shared)

        def step(self) -> Metrics:
            if self.__is_over:  # Tune asks for no more
                self._observed = {}
                return {}
            by = getattr(base, "reports_by", "step()")
            reported = checked(base.step(self), subject.metric, epoch=self.iteration + 1, by=by)
            self.__is_over, self._observed = reported.is_last, reported.metrics
            return dict(self._observed)

        def reset(self, *arguments: Any) -> bool:
            self.__is_over = False
            return bool(base.reset(self, *arguments))

    Observed.__name__ = base.__name__
    return Observed


def _check_refusals(trainable: type[Trainable], config: Config) -> None:
    """Let `check_config` see the configuration, and numbers that it may have to refuse."""
    if not hasattr(trainable, "check_config"):
        return
    with _promised("check_config()"):
        trainable.check_config(dict(config))
    for name, value in config.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or name == "seed":
            continue
        for other in (type(value)(0), -abs(value)):
            _check_refusal(trainable, config, name, other)


def _check_refusal(trainable: Any, config: Config, name: str, value: float) -> None:
    try:
        trainable.check_config({**config, name: value})
    except ValueError:
        return
    except Exception as error:
        raise TrainableError(
            f"check_config(): must refuse by ValueError; {name} = {value!r} raised {_said(error)}"
        ) from error


def _shared(trainable: type[Trainable], data_dir: Path | None) -> Mapping[str, Any]:
    """What the trials share; raises TrainableError where it is not given by name."""
    if not hasattr(trainable, "shared"):
        return {}
    with _promised("shared()"):
        shared = trainable.shared(data_dir, False)
    if not isinstance(shared, Mapping):
        raise TrainableError(f"shared(): must give values by name, gave {type(shared).__name__}")
    return shared


def _check_training(subject: _Subject) -> None:
    """Steps, checkpoints and resets: each trial is compared with the one that did without."""
    with subject.trial() as straight:
        first = _epoch(straight)
        saved = _saved(straight, subject.folder / "checkpoint")
        second = _epoch(straight)
    with subject.trial() as again:
        repeated = _epoch(again)
    steady = [name for name in first if repeated.get(name) == first[name]]
    told = "step(): two fresh trials of one configuration and seed differ"
    _compare(told, first, repeated, [subject.metric])
    with subject.trial() as resumed:
        with _promised("load_checkpoint()"):
            resumed.restore(saved)
        goes_on = _epoch(resumed)
        loads = "load_checkpoint()"
        if issubclass(subject.trainable, FunctionTrainable):
            loads = "tune.report(checkpoint=…) and tune.get_checkpoint()"
        told = f"{loads}: the trial that loaded goes on differently from the one that saved"
        if second:  # else the first epoch said that no other comes
            _compare(told, second, goes_on, steady)
        _check_model(resumed, subject.metric)
    if subject.trainable.reset_config is not Trainable.reset_config:
        told = "reset_config(): a trial that was reset differs from a fresh one"
        _compare(told, first, _after_reset(subject), steady)


def _check_team(subject: _Subject) -> None:
    """The same of several workers, and that they stay together."""
    with subject.trial() as straight:
        first = _epoch(straight)
        _check_weights(straight)
        saved = _saved(straight, subject.folder / "team")
        second = _epoch(straight)
    with subject.trial() as other:
        repeated = _epoch(other)
        steady = [name for name in first if repeated.get(name) == first[name]]
        of_several = f"of {subject.workers} workers"
        told = f"step(): two fresh trials {of_several} of one configuration and seed differ"
        _compare(told, first, repeated, [subject.metric])
        with _promised(f"load_checkpoint() {of_several}"):
            other.restore(saved)
        told = f"load_checkpoint(): the trial {of_several} that loaded goes on differently"
        _compare(told, second, _epoch(other), steady)
        if subject.trainable.reset_config is not Trainable.reset_config:
            with _promised(f"reset_config() {of_several}"):
                other.reset(dict(subject.config))
            told = f"reset_config(): a trial {of_several} that was reset differs from a fresh one"
            _compare(told, first, _epoch(other), steady)


def _check_weights(trial: Any) -> None:
    mine, *others = trial._weights_of_all()
    for number, theirs in enumerate(others, 2):
        if theirs != mine:
            raise TrainableError(
                f"step(): worker {number} has other weights than the first; each step has to add"
                " all workers' gradients up, as sum_gradients() of trainables.team does"
            )


def _epoch(trial: Any) -> Metrics:
    with _promised("step()"):
        trial.train()
    return dict(trial._observed)


def _saved(trial: Any, folder: Path) -> Any:
    """The trial's checkpoint in an empty folder; raises TrainableError where it stays empty."""
    with _promised("save_checkpoint()"):
        saved = trial.save(str(folder))
    if not any(folder.iterdir()):
        raise TrainableError("save_checkpoint(): wrote nothing into the folder that it was given")
    return saved


def _after_reset(subject: _Subject) -> Metrics:
    """The first step of a trial that was another's before, with another seed."""
    other = {**subject.config, "seed": subject.config["seed"] + 1}
    with replace(subject, config=other).trial() as trial:
        _epoch(trial)
        with _promised("reset_config()"):
            done = trial.reset(dict(subject.config))
        if not done:
            raise TrainableError("reset_config(): must give True once the trial is reset")
        return _epoch(trial)


def _compare(told: str, expected: Metrics, found: Metrics, names: list[str]) -> None:
    for name in names:
        here, there = found.get(name), expected.get(name)
        if here != there:
            raise TrainableError(f"{told}: {name} {here!r} for {there!r}")


def _check_model(trial: Any, metric: str) -> None:
    """What export needs, where the class has any of it, tried on the CPU."""
    needed = ("model", "example_input")
    missing = [name for name in needed if not hasattr(type(trial), name)]
    if len(missing) == len(needed):
        return
    if missing:
        raise TrainableError(
            f"{missing[0]}(): is missing; export needs both {' and '.join(needed)}"
        )
    network, example = _network(trial), _example(trial)
    for size in (1, len(example) + 1):
        _check_batch(trial, network, torch.cat([example, example])[:size])
    if hasattr(type(trial), "evaluate"):
        _check_evaluation(trial, network, metric)


def _network(trial: Any) -> nn.Module:
    with _promised("model()"):
        network = trial.model()
    if not isinstance(network, nn.Module):
        raise TrainableError(f"model(): must give an nn.Module, gave {type(network).__name__}")
    return network.cpu().eval()  # The trial is used up: not all networks can be copied.


def _example(trial: Any) -> Tensor:
    with _promised("example_input()"):
        example = trial.example_input()
    if not isinstance(example, Tensor) or not example.ndim or not len(example):
        what = f"shape {tuple(example.shape)}" if isinstance(example, Tensor) else f"{example!r}"
        raise TrainableError(f"example_input(): must give a tensor of examples, gave {what}")
    return example.detach().cpu().float()


@torch.inference_mode()
def _check_batch(trial: Any, network: nn.Module, batch: Tensor) -> None:
    """One output for each example, and a label for each number of it."""
    with _promised(f"model() with an input of shape {tuple(batch.shape)}"):
        outputs = network(batch)
    shape = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
    if not isinstance(outputs, Tensor) or outputs.shape[:1] != batch.shape[:1]:
        raise TrainableError(
            f"model(): must give one output per example, batch axis first;"
            f" gave {shape} for an input of shape {tuple(batch.shape)}"
        )
    labels = labels_of(trial)
    if labels is not None:
        check_labels(labels, outputs.shape)
    meaning_of(trial)


def _check_evaluation(trial: Any, network: nn.Module, metric: str) -> None:
    """The network's objective, evaluated as its exported form will be, is what was reported."""
    scale = getattr(trial, "input_range", None)

    @torch.inference_mode()
    def predict(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        inputs = torch.from_numpy(pixels)
        if scale is not None:
            inputs = (inputs / scale.high - scale.mean) / scale.std
        outputs: NDArray[np.float32] = network(inputs).numpy()
        return outputs

    with _promised("evaluate()"):
        found = flat(trial.evaluate(predict))[metric]
    reported = trial._observed[metric]
    if not np.isclose(found, reported, rtol=TOLERANCE, atol=TOLERANCE):
        raise TrainableError(f"evaluate(): gives {metric} {found!r}, step() reported {reported!r}")


@contextmanager
def _promised(method: str) -> Iterator[None]:
    """Say which method it was that raised."""
    try:
        yield
    except TrainableError:
        raise
    except Exception as error:
        raise TrainableError(f"{method}: raised {_said(error)}") from error


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}{advice(error)}"


@contextmanager
def _left_as_it_was() -> Iterator[None]:
    """Put back what trials change in their process: random state, threads, folder, environment."""
    environment = dict(os.environ)
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    threads, folder = torch.get_num_threads(), Path.cwd()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        torch.set_num_threads(threads)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
