"""The promises of a trainable, each tried: steps, checkpoints, resets, what export needs."""

import itertools
import math
import os
import random
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping
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
from trainables.check.outputs import EXPORTED
from trainables.contract import (
    DONE,
    Config,
    Metrics,
    TrainableError,
    advice,
    check_labels,
    checked,
    flat,
    is_number,
    labels_of,
    meaning_of,
)
from trainables.data_parallel import random_state
from trainables.data_parallel.handles import start_processes
from trainables.data_parallel.trainable import make_data_parallel
from trainables.function import FunctionTrainable, name_of

TOLERANCE = 1e-5
"""How far from the reported objective a model's may be that is evaluated again, as at export:
absolute, and relative to it."""
LOSS = "loss"
"""What the objective is called where nobody says, and several numbers are reported."""


class Late(BaseException):
    """Raised in whatever takes too long, which must not be able to pass it over."""


@dataclass(frozen=True)
class Promise:
    """A promise that was put to the test."""

    text: str
    """What holds; of one that is broken, how."""
    is_broken: bool = False


def promises(
    trainable: type[Trainable] | Callable[[Config], Any],
    config: Config,
    *,
    metric: str | None,
    data_dir: Path | None = None,
    workers: int = 1,
) -> Generator[Promise, None, None]:
    """Put a class or function to the test, a promise at a time; those that depend on none go on.

    Without a metric, the only number that is reported is the objective, or `loss` among several.
    The process, its folder and its environment are what they were once this is exhausted or closed.
    Raises TrainableError where it cannot be tuned at all.
    """
    name = name_of(trainable)
    checked_class = as_trainable(trainable, name)
    if workers > 1:
        check_parallel(checked_class, name)
    subject = _Subject(checked_class, {"seed": 0, **config}, metric or "", Path())
    data_dir = None if data_dir is None else data_dir.resolve()
    told: set[str] = set()
    with _left_as_it_was(), tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        os.chdir(folder)  # as a trial's, which is one of its own
        subject = replace(subject, folder=Path(folder))
        yield from _tried(_refusals(subject), told)
        try:
            subject = replace(subject, shared=_shared(checked_class, data_dir))
            subject = replace(subject, metric=metric or _objective(subject))
        except TrainableError as error:
            yield Promise(str(error), is_broken=True)
            return
        for group in (_training, _exporting, _resetting):
            yield from _tried(group(subject), told)
        if workers > 1:
            yield from _tried(_data_parallel(replace(subject, workers=workers)), told)


def _tried(group: Iterator[str], told: set[str]) -> Iterator[Promise]:
    """Those of a group up to the first that is broken, where that was not told before."""
    try:
        for text in group:
            yield Promise(text)
    except TrainableError as error:
        if str(error) not in told:
            told.add(str(error))
            yield Promise(str(error), is_broken=True)


@dataclass(frozen=True)
class _Subject:
    """The class that is checked, and what its trials are given."""

    trainable: type[Trainable]
    config: Config
    metric: str
    folder: Path
    """Where trials may write."""
    shared: Mapping[str, Any] = field(default_factory=dict)
    """What its trials share, by name."""
    workers: int = 1
    """How many train each trial together."""
    steady: Metrics = field(default_factory=dict)
    """What the first epoch of a fresh trial reports, but for what changes as a time does."""
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
        return (
            alone if self.workers == 1 else make_data_parallel(alone, self.workers, start_processes)
        )


def _observed(subject: _Subject) -> type[Trainable]:
    """The class with its data, which remembers what its last step reported."""
    base = subject.trainable

    class Observed(base):  # type: ignore[misc, valid-type]
        __is_over = False
        trial_folder = subject.folder / "trial"

        def _setup_logdir(self) -> None:
            # Ray's own makes a folder in the user's home for each trial.
            self._logdir = str(subject.folder)

        def setup(self, config: Config) -> None:
            base.setup(self, config, **subject.shared)

        def step(self) -> Metrics:
            if self.__is_over:  # Tune asks for no more
                self._observed = {}
                return {}
            reported = checked(
                base.step(self), subject.metric, epoch=self.iteration + 1, by=_reporter(base)
            )
            self.__is_over, self._observed = reported.is_last, reported.metrics
            return dict(self._observed)

        def reset(self, *arguments: Any) -> bool:
            self.__is_over = False
            return bool(base.reset(self, *arguments))

    Observed.__name__ = base.__name__
    return Observed


def _reporter(trainable: type[Trainable]) -> str:
    """What reports, as a sentence names it."""
    return str(getattr(trainable, "reports_by", "step()"))


def _refusals(subject: _Subject) -> Iterator[str]:
    """Let `check_config` see the configuration, and numbers that it may have to refuse."""
    trainable: Any = subject.trainable
    config = subject.config
    if not hasattr(trainable, "check_config"):
        return
    with _promised("check_config()"):
        trainable.check_config(dict(config))
    for name, value in config.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or name == "seed":
            continue
        for other in (type(value)(0), -abs(value)):
            _check_refusal(trainable, config, name, other)
    yield "check_config() takes the configuration, and refuses others by ValueError alone"


def _check_refusal(trainable: Any, config: Config, name: str, value: float) -> None:
    try:
        trainable.check_config({**config, name: value})
    except ValueError:
        return
    except (Exception, SystemExit) as error:
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


def _objective(subject: _Subject) -> str:
    """The objective of one that was not told: the only number, or `loss` among several."""
    with subject.trial() as trial:
        with _promised(_stepper(trial)):
            reported = subject.trainable.step(trial)
        if not isinstance(reported, Mapping):
            raise TrainableError(f"step() must return a dictionary of metrics, got {reported!r}")
    found = [name for name, value in flat(reported).items() if is_number(value) and name != DONE]
    if len(found) == 1 or LOSS in found:
        return LOSS if LOSS in found else found[0]
    raise TrainableError(
        f"metric: which of the numbers is the objective: {', '.join(found) or 'there are none'}?"
        " say it by --metric NAME"
    )


def _training(subject: _Subject) -> Iterator[str]:
    """Steps and checkpoints: each trial is compared with the one that did without."""
    by, metric = _reporter(subject.trainable), subject.metric
    with subject.trial() as again:
        repeated = _epoch(again)
    yield f"{by} reports {metric}, a finite number"
    with subject.trial() as straight:
        first = _epoch(straight)
        told = "step(): two fresh trials of one configuration and seed differ"
        _compare(told, first, repeated, [metric])
        steady = [name for name in first if repeated.get(name) == first[name]]
        subject.steady.update({name: first[name] for name in steady})
        yield "two fresh trials of one configuration and seed agree"
        saved = _saved(straight, subject.folder / "checkpoint")
        second = _epoch(straight)
    is_function = issubclass(subject.trainable, FunctionTrainable)
    if not is_function:  # what ours writes for one says nothing of it
        yield "save_checkpoint() writes a checkpoint"
    with subject.trial() as resumed:
        with _promised("load_checkpoint()"):
            resumed.restore(saved)
        goes_on = _epoch(resumed)
    loads = "load_checkpoint()"
    if is_function:
        loads = "tune.report(checkpoint=…) and tune.get_checkpoint()"
    told = f"{loads}: the trial that loaded goes on differently from the one that saved"
    if second:  # else the first epoch said that no other comes
        _compare(told, second, goes_on, steady)
    yield f"{loads}: the trial that loaded goes on as the one that saved"


def _resetting(subject: _Subject) -> Iterator[str]:
    """A trial that was another's before, with another seed, is as a fresh one."""
    if subject.trainable.reset_config is Trainable.reset_config or not subject.steady:
        return
    told = "reset_config(): a trial that was reset differs from a fresh one"
    _compare(told, subject.steady, _after_reset(subject), list(subject.steady))
    yield "reset_config(): a trial that was reset is as a fresh one"


def _data_parallel(subject: _Subject) -> Iterator[str]:
    """The same of several workers, and that they stay together."""
    of_several = f"of {subject.workers} workers"
    with subject.trial() as straight:
        first = _epoch(straight)
        _check_weights(straight)
        yield f"the weights {of_several} stay equal"
        saved = _saved(straight, subject.folder / "data_parallel")
        second = _epoch(straight)
    with subject.trial() as other:
        repeated = _epoch(other)
        steady = [name for name in first if repeated.get(name) == first[name]]
        told = f"step(): two fresh trials {of_several} of one configuration and seed differ"
        _compare(told, first, repeated, [subject.metric])
        yield f"two fresh trials {of_several} agree"
        with _promised(f"load_checkpoint() {of_several}"):
            other.restore(saved)
        told = f"load_checkpoint(): the trial {of_several} that loaded goes on differently"
        _compare(told, second, _epoch(other), steady)
        yield f"load_checkpoint(): the trial {of_several} that loaded goes on as the one that saved"
        if subject.trainable.reset_config is not Trainable.reset_config:
            with _promised(f"reset_config() {of_several}"):
                other.reset(dict(subject.config))
            told = f"reset_config(): a trial {of_several} that was reset differs from a fresh one"
            _compare(told, first, _epoch(other), steady)
            yield f"reset_config(): a trial {of_several} that was reset is as a fresh one"


def _check_weights(trial: Any) -> None:
    mine, *others = trial._hash_all_weights()
    for number, theirs in enumerate(others, 2):
        if theirs != mine:
            raise TrainableError(
                f"step(): worker {number} has other weights than the first; each step has to add"
                " all workers' gradients up, as all_reduce_gradients() does"
            )


def _stepper(trial: Any) -> str:
    """What does an epoch, as a sentence names it."""
    return f"{type(trial).__name__}()" if isinstance(trial, FunctionTrainable) else "step()"


def _epoch(trial: Any) -> Metrics:
    with _promised(_stepper(trial)):
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


def _exporting(subject: _Subject) -> Iterator[str]:
    """What export needs, where the class has any of it, tried on the CPU after an epoch."""
    missing = [name for name in EXPORTED if not hasattr(subject.trainable, name)]
    if len(missing) == len(EXPORTED):
        return
    if missing:
        raise TrainableError(
            f"{missing[0]}(): is missing; export needs both {' and '.join(EXPORTED)}"
        )
    with subject.trial() as trial:
        _epoch(trial)
        network, example = _network(trial), _example(trial)
        sizes = sorted({1, 2, len(example) + 1})
        many = torch.cat([example] * (2 if len(example) > 1 else 3))
        shapes = [_check_batch(network, many[:size]) for size in sizes]
        batches = f"{', '.join(map(str, sizes[:-1]))} and {sizes[-1]}"
        yield f"model() takes {batches} examples, and gives an output for each"
        labels = labels_of(trial)
        if labels is not None:
            check_labels(labels, shapes[0])
            yield f"{len(labels)} labels fit the outputs"
        meaning = meaning_of(trial)
        if meaning is not None:
            yield f"output_meaning is known: {meaning}"
        if hasattr(subject.trainable, "evaluate"):
            _check_evaluation(trial, network, subject.metric)
            yield f"evaluate() gives the {subject.metric} that was reported"


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
def _check_batch(network: nn.Module, batch: Tensor) -> torch.Size:
    """The shape of the outputs, of which there must be one for each example."""
    with _promised(f"model() with an input of shape {tuple(batch.shape)}"):
        outputs = network(batch)
    shape = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
    if not isinstance(outputs, Tensor) or outputs.shape[:1] != batch.shape[:1]:
        raise TrainableError(
            f"model(): must give one output per example, batch axis first;"
            f" gave {shape} for an input of shape {tuple(batch.shape)}"
        )
    return outputs.shape


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
    if not math.isclose(found, reported, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
        raise TrainableError(f"evaluate(): gives {metric} {found!r}, step() reported {reported!r}")


@contextmanager
def _promised(method: str) -> Iterator[None]:
    """Say which method it was that raised."""
    try:
        yield
    except TrainableError:
        raise
    except Late as late:
        raise TrainableError(f"{method}: hung; {late}") from late
    except SystemExit as error:
        raise TrainableError(f"{method}: called sys.exit({error.code!r})") from error
    except Exception as error:
        raise TrainableError(f"{method}: raised {_said(error)}") from error


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}{advice(error)}"


@contextmanager
def _left_as_it_was() -> Iterator[None]:
    """Put back what trials change in their process: random state, threads, folder, environment."""
    environment = dict(os.environ)
    numbers = random_state.capture()
    threads, folder = torch.get_num_threads(), Path.cwd()
    try:
        yield
    finally:
        random_state.restore(numbers)
        torch.set_num_threads(threads)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
