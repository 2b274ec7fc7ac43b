"""The contract of a trainable: Ray's `tune.Trainable`, and what export and serving need beside it.

A trainable is a subclass of `ray.tune.Trainable` with `setup`, `step`, `save_checkpoint`,
`load_checkpoint` and `reset_config`. To be exported it has `model()` and `example_input()` too. The
rest of `Exportable` is optional; `trainables/mnist.py` has all of it and is meant to be copied.
`python -m trainables.check my_file.py:Mine --set lr=0.1` says which promises a class or function
keeps.

**Functions.** `train(config)` can be tuned too, as in Ray: each `ray.tune.report(metrics)` is an
epoch, and `ray.tune.get_checkpoint()` gives the last checkpoint that it reported. A function gives
no model.

**Configurations** hold the trial's values, the experiment's fixed ones and `seed`. Before `setup`,
`trial_folder` is set to a path below the run's folder. The trial may make that folder, and finds it
again whenever it goes on; of workers on other nodes nothing is kept there unless nodes share it.

**Reports** are read as Ray Tune reads them: `done` completes the trial, a nested dictionary gives
metrics such as `val/acc`, a bool is 0 or 1, and what is no number is left out of the curves.

**Several workers.** A class with `data_parallel = True` can be trained by several workers. Each
has an instance of it; `torch.distributed` connects them before `setup`, and all are set up, reset,
loaded and stepped at once. `process_group()` of `trainables.data_parallel.process_group` tells a
worker its rank, shares batches out and sums gradients. Metrics and checkpoint are those of rank 0.
After `setup` and `reset_config` each other rank draws random numbers of its own, whose state is
saved beside that checkpoint.
"""

import math
import numbers
import os
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

Config = dict[str, Any]
"""A trial's values by name: the searched ones, the fixed ones and `seed`."""

Metrics = dict[str, Any]
"""What a step reports: numbers by name, the objective among them; see `checked`."""

Predict = Callable[["NDArray[np.float32]"], "NDArray[np.float32]"]
"""A network as a function: pixels (N, …) to outputs (N, …)."""

DONE = "done"
"""The name under which a report says that the trial is complete with it."""
SHOULD_SAVE = "should_checkpoint"
"""The name under which one asks Ray Tune for a checkpoint, which is saved at each report."""
OVER: Metrics = {DONE: True}
"""What a step returns that found nothing left to report: with it, the trial is complete."""

EXIT_STATUS = "exit status"
"""The objective of a script that is only to be run: it is 0, or the trial has failed."""


OUTPUT_MEANINGS = ("logits", "log_probabilities", "probabilities", "sigmoids", "values")
"""What the outputs of a network can be; values are no probabilities, as those of a regression."""

SHOWN = 80
"""Characters of a value that a sentence shows."""


class TrainableError(Exception):
    """What a user's trainable, its data or its values got wrong, in one sentence."""


class Refused(TrainableError):
    """What a trainable says of itself and does not hold, found before anything was trained."""


class ProgramFailed(TrainableError):
    """A trial's program that failed: it is started again where the experiment asks for retries."""


class ProgramKilled(ProgramFailed):
    """A trial's program that something killed: it is started again, as a lost process is."""


@dataclass(frozen=True)
class Reported:
    """What a step reported, as a trial's curve can hold it."""

    metrics: Metrics
    """Numbers by name, None where one is not finite; nested ones are `val/acc`. Empty where the
    step only said that the trial is complete."""
    left_out: Mapping[str, str]
    """What no curve can hold, by name, and what it is: `a text`."""
    is_last: bool
    """Whether the trial is complete."""


def checked(metrics: Any, metric: str, *, epoch: int, by: str = "step()") -> Reported:
    """Read a report as Ray Tune takes it.

    `done` completes the trial, `should_checkpoint` asks for what is done anyway, and a bool is 0
    or 1. `by` names what reports.

    Raises TrainableError where the objective is missing, no number or not finite.
    """
    if not isinstance(metrics, Mapping):
        raise TrainableError(f"{by} must return a dictionary of metrics, got {_shown(metrics)}")
    is_last = bool(_bare(metrics.get(DONE, False)))
    values = flat({name: metrics[name] for name in metrics if name not in (DONE, SHOULD_SAVE)})
    if is_last and not values:
        return Reported({}, {}, is_last)
    if metric not in values:
        known = ", ".join(values) or "nothing"
        raise TrainableError(f"metric: {by} reported no {metric!r}; it reported {known}")
    left_out = {name: _kind(value) for name, value in values.items() if not is_number(value)}
    if metric in left_out:
        raise TrainableError(
            f"{by} reported {metric!r} as {_shown(values[metric])}; the objective must be a number"
        )
    plain = {name: _plain(value) for name, value in values.items() if name not in left_out}
    if plain[metric] is None:
        raise TrainableError(f"{metric} became {_shown(values[metric])} in epoch {epoch}")
    return Reported(plain, left_out, is_last)


def flat(metrics: Mapping[Any, Any], above: str = "") -> Metrics:
    """Metrics by one name each, those of a nested dictionary as Ray names them: `val/acc`.

    Numbers of other libraries become Python's own.
    """
    found: Metrics = {}
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            found.update(flat(value, f"{above}{name}/"))
        else:
            found[f"{above}{name}"] = _bare(value)
    return found


def _bare(value: Any) -> Any:
    """Convert a tensor or array of one number to Python's own; leave anything else as it is."""
    try:
        return value.item()
    except (AttributeError, TypeError, ValueError, RuntimeError):  # it is none, or holds several
        return value


def is_number(value: Any) -> bool:
    """Whether a value can be a metric."""
    return isinstance(value, (numbers.Real, Decimal))


def _plain(value: Any) -> float | int | None:
    """A number as JSON can hold it."""
    try:
        number = int(value) if isinstance(value, numbers.Integral) else float(value)
        return number if math.isfinite(number) else None
    except OverflowError:  # an integer beyond all floats
        return None


def _kind(value: Any) -> str:
    """What a value that is no number is, in words."""
    if value is None:
        return "None"
    named = {str: "a text", bytes: "bytes", list: "a list", tuple: "a list"}
    for kind, words in named.items():
        if isinstance(value, kind):
            return words
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple):
        return f"an array of shape {tuple(shape)}"
    return f"a {type(value).__name__}"


def advice(error: BaseException) -> str:
    """Advice for a trial that did not find a file by a relative path; empty for other errors."""
    name = getattr(error, "filename", None)
    if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return ""
    if not isinstance(name, (str, bytes, os.PathLike)) or "://" in os.fsdecode(name):
        return ""
    frames = traceback.extract_tb(error.__traceback__)
    is_program = bool(frames) and Path(frames[-1].filename).name == "subprocess.py"
    if is_program or Path(os.fsdecode(name)).is_absolute():
        return ""
    return "; trials run in a folder of their own; use Path(__file__).parent"


def labels_of(trainable: Any) -> tuple[str, ...] | None:
    """The labels of a class, or of one of its trials, as texts: the number 3 is the label "3".

    Raises TrainableError where they have no order or are not names.
    """
    labels = getattr(trainable, "labels", None)
    if labels is None:
        return None
    is_ordered = isinstance(labels, Sequence) or (hasattr(labels, "tolist") and labels.ndim == 1)
    if isinstance(labels, (str, bytes)) or not is_ordered:
        raise TrainableError(
            "labels: must be a tuple with a name for each output, in their order;"
            f" got {_shown(labels)}"
        )
    return tuple(str(_bare(label)) for label in labels)


def check_labels(labels: Sequence[str], shape: Sequence[int]) -> None:
    """Raise TrainableError where outputs of that shape, batch axis first, have other classes.

    Classes are on the last axis, or on the second one where there are more, as in a map of
    classes (N, C, H, W). Two labels name the two answers of a single output, too.
    """
    sizes = {shape[1], shape[-1]} if len(shape) > 1 else {1}
    if len(labels) in sizes or (len(labels) == 2 and 1 in sizes):
        return
    many = "1 label" if len(labels) == 1 else f"{len(labels)} labels"
    outputs = "1 output" if sizes == {1} else f"{shape[-1]} outputs"
    if len(shape) > 2:
        outputs = f"outputs of shape (N, {', '.join(map(str, shape[1:]))})"
    raise TrainableError(f"labels: {many} for {outputs}; name each output once")


def meaning_of(trainable: Any) -> str | None:
    """What a class, or one of its trials, says that its outputs are; None where it says nothing.

    Raises TrainableError where it is none of `OUTPUT_MEANINGS`.
    """
    meaning = getattr(trainable, "output_meaning", None)
    if meaning is None or meaning in OUTPUT_MEANINGS:
        return meaning
    known = ", ".join(OUTPUT_MEANINGS)
    raise TrainableError(f"output_meaning: must be one of {known}; got {_shown(meaning)}")


def _shown(value: Any) -> str:
    """A value as a sentence can hold it."""
    text = " ".join(repr(value).split())
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


@dataclass(frozen=True)
class InputRange:
    """How pixels become what a network is trained on: `(pixel / high - mean) / std`."""

    low: float
    """The least pixel value, background."""
    high: float
    """The greatest pixel value, ink."""
    mean: float
    """Mean of the scaled training pixels."""
    std: float
    """Standard deviation of the scaled training pixels."""


class Exportable(Protocol):
    """The part of a trainable that export uses; all but the first two may be missing."""

    labels: ClassVar[Sequence[str | int]]
    """A name for each output, in order, as texts or numbers; see `check_labels`."""
    output_meaning: ClassVar[str]
    """What the outputs are, one of `OUTPUT_MEANINGS`; where it is missing, export finds it."""
    input_range: ClassVar[InputRange]
    """Set where `model()` takes normalised pixels: export puts the normalisation inside."""
    input_name: ClassVar[str]
    """What the exported model calls its input."""
    output_name: ClassVar[str]
    """What the exported model calls its output."""

    def model(self) -> "torch.nn.Module":
        """The network as trained so far."""
        ...

    def example_input(self) -> "torch.Tensor":
        """A batch as `model()` takes it, batch axis first."""
        ...

    @staticmethod
    def check_config(config: Config) -> None:
        """Raise ValueError for a value that `setup` cannot train with."""
        ...

    @staticmethod
    def shared(data_dir: Path | None, download: bool) -> Mapping[str, Any]:
        """What all trials read, handed to `setup` by name; held once a machine."""
        ...

    def evaluate(self, predict: Predict) -> Metrics:
        """The metrics of `predict`, a network that takes pixels, on the trainable's test data."""
        ...


@dataclass(frozen=True)
class Share:
    """What a trial may use of its machine, as Ray assigned it."""

    device: str
    """`cuda` where Ray assigned a GPU or a part of one, else `cpu`."""
    threads: int
    """Threads for computing: whole CPUs of the trial, at least one."""
    gpus: float = 0.0
    """GPUs, or what part of one."""


def share() -> Share:
    """What Ray assigned to this process; one thread on the CPU outside of Ray."""
    if not is_rays():
        return Share("cpu", 1)
    import ray

    assigned = ray.get_runtime_context().get_assigned_resources()
    gpus = assigned.get("GPU", 0.0)
    return Share("cuda" if gpus > 0 else "cpu", max(1, int(assigned.get("CPU", 1))), gpus)


def is_rays() -> bool:
    """Whether this process is one of Ray's workers."""
    import ray

    if not ray.is_initialized():
        return False
    return bool(ray.get_runtime_context().worker.mode == ray.WORKER_MODE)
