"""What a trainable promises: Ray's `tune.Trainable`, and what export and serving need beside it.

A trainable is a subclass of `ray.tune.Trainable` with `setup`, `step`, `save_checkpoint`,
`load_checkpoint` and `reset_config`. To be exported it also has `model()` and `example_input()`.
The rest is optional; `trainables/mnist.py` has all of it and is meant to be copied.
`trainables/check.py` puts a class, or a function, through all that it promises.

A function `train(config)` can be searched too, as Ray has it: each `ray.tune.report(metrics)` is an
epoch, and one with a checkpoint is where `ray.tune.get_checkpoint()` goes on. It gives no model.

A class that says `data_parallel = True` is one that trains with several workers where it is asked
to: each holds the class, `torch.distributed` connects them from before `setup` on, and all are set
up, reset, loaded and stepped at once. `trainables.team.team()` tells a worker which it is, so that
it takes its part of each batch and adds the gradients up. The metrics and the checkpoint are the
first one's; after `setup` and `reset_config` each other one draws random numbers of its own, which
are kept beside that checkpoint.

A configuration holds the trial's values, the experiment's fixed ones and `seed`. Before `setup`,
`trial_folder` is set to a path below the run's folder where it may make one of its own, which is
there however often it goes on; where nodes share no folder, what further workers on other nodes
than the first one's write there is not kept.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

Config = dict[str, Any]
"""A trial's values by name: the searched ones, the fixed ones and `seed`."""

Metrics = dict[str, Any]
"""What a step reports: finite numbers by name, the objective among them."""

Predict = Callable[["NDArray[np.float32]"], "NDArray[np.float32]"]
"""A network as a function: pixels (N, …) to outputs (N, …)."""

OVER: Metrics = {"done": True}
"""What a step returns that found nothing left to report: with it, the trial is complete."""

EXIT_STATUS = "exit status"
"""The objective of a script that is only to be run: it is 0, or the trial has failed."""


OUTPUT_MEANINGS = ("logits", "log_probabilities", "probabilities", "sigmoids", "values")
"""What the outputs of a network can be; values are no probabilities, as those of a regression."""

SHOWN = 80
"""Characters of a value that a sentence shows."""


class TrainableError(Exception):
    """What a user's trainable, its data or its values got wrong, in one sentence."""


class ProgramFailed(TrainableError):
    """A trial's program that failed: it is started again where the experiment asks for retries."""


class ProgramKilled(ProgramFailed):
    """A trial's program that something killed: it is started again, as a lost process is."""


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
    if not isinstance(number, (int, float)) or isinstance(number, bool):
        raise TrainableError(f"step() reported {name!r} as {value!r}; metrics must be numbers")
    return number if math.isfinite(number) else None


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


def _bare(value: Any) -> Any:
    """A number of another library as Python's own."""
    return value.item() if getattr(value, "ndim", None) == 0 else value


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
