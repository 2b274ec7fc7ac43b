"""The contract of a trainable: a function, or Ray's `tune.Trainable`, and what exports need beside.

**Functions.** `train(config)` is run by Ray's own `wrap_function`: each `ray.tune.report(metrics)`
is an epoch, `ray.tune.report(metrics, checkpoint=ray.tune.Checkpoint.from_directory(folder))` keeps
what the folder holds, and `ray.tune.get_checkpoint()` gives the last one that was reported, from
which a trial goes on. One without checkpoints begins again. A partial, `tune.with_parameters` and
an object with `__call__` are functions, too.

A function is exported where its module, that is the file in which it was found, has

    def load_model(checkpoint_dir: Path, config: dict[str, Any]) -> torch.nn.Module: ...
    def example_input() -> torch.Tensor: ...

`load_model` returns the network, on the CPU, from the folder of the checkpoint that was reported
with the trial's best epoch, or of the last one before it. `labels`, `output_meaning`,
`input_range`, `input_name`, `output_name` and `evaluate(predict)` in the same module are what
`Exportable` says of a class.

`trainables/mnist_function.py` has most of them and is meant to be copied.

**Classes.** A subclass of `ray.tune.Trainable` has `setup`, `step`, `save_checkpoint`,
`load_checkpoint` and `reset_config`. To be exported it has `model()` and `example_input()` too. The
rest of `Exportable` is optional; `trainables/mnist.py` has all of it and is meant to be copied.

`python -m trainables.check my_file.py:Mine --set lr=0.1` says which promises a class or function
keeps.

**Configurations** hold the trial's values, the experiment's fixed ones and `seed`. Before `setup`,
`trial_folder` is set to a path below the run's folder. The trial may make that folder, and finds it
again whenever it goes on.

**Reports** are read as Ray Tune reads them, by `trainables/report.py`: `done` completes the trial,
a nested dictionary gives metrics such as `val/acc`, a bool is 0 or 1, and what is no number is left
out of the curves.

**Several workers.** A function that uses `ray.train` is run by Ray Train, in as many workers as
`workers_per_trial` says: each `ray.train.report(metrics)` is an epoch, with the metrics of rank 0,
and `ray.train.get_checkpoint()` gives the trial's last checkpoint. `trainables/mnist_train.py` is
one, and is meant to be copied. A class has one worker.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

Config = dict[str, Any]
"""A trial's configuration: values by name, the searched ones, the fixed ones and `seed`."""

Metrics = dict[str, Any]
"""Metrics of a step: numbers by name, the objective among them."""

Predict = Callable[["NDArray[np.float32]"], "NDArray[np.float32]"]
"""A network as a function: pixels (N, …) to outputs (N, …)."""

DONE = "done"
"""Key of a report that says that the trial is complete with it."""
OVER: Metrics = {DONE: True}
"""Report of a step that found nothing left to report: the trial is complete."""

EXIT_STATUS = "exit status"
"""Objective of a script that is only to be run: 0, or the trial has failed."""

OUTPUT_MEANINGS = ("logits", "log_probabilities", "probabilities", "sigmoids", "values")
"""Meanings of a network's outputs; `values` are no probabilities, as those of a regression."""

SHOWN = 80
"""Characters of a value that a message shows."""


class TrainableError(Exception):
    """A mistake in a user's trainable, its data or its values, in one sentence."""


class PromiseError(TrainableError):
    """A promise of a trainable that does not hold, found before anything was trained."""


class ProgramFailed(TrainableError):
    """A failure of a trial's program, which is started again if the experiment has retries."""


class ProgramKilled(ProgramFailed):
    """The end of a trial's program by another's hand: it is started again and spends no retry."""

    def __init__(self, message: str, actor_id: str | None = None) -> None:
        """Take the sentence, and Ray's ID of the lost worker where the program was one."""
        super().__init__(message)
        self.actor_id = actor_id


@dataclass(frozen=True)
class InputRange:
    """Normalization of pixels for a network: `(pixel / high - mean) / std`."""

    low: float
    """Least pixel value, the background."""
    high: float
    """Greatest pixel value, ink."""
    mean: float
    """Mean of the training pixels, divided by `high`."""
    std: float
    """Standard deviation of the training pixels, divided by `high`."""


class Exportable(Protocol):
    """The part of a trainable that export uses; all but the first two methods are optional."""

    labels: ClassVar[Sequence[str | int]]
    """A name for each output, in order; see `check_labels`."""
    output_meaning: ClassVar[str]
    """One of `OUTPUT_MEANINGS`; without it, export finds the meaning."""
    input_range: ClassVar[InputRange]
    """Set it where `model()` takes normalized pixels: export puts the normalization inside."""
    input_name: ClassVar[str]
    """Name of the exported model's input."""
    output_name: ClassVar[str]
    """Name of the exported model's output."""

    def model(self) -> "torch.nn.Module":
        """Return the network as trained so far."""
        ...

    def example_input(self) -> "torch.Tensor":
        """Return a batch for `model()`, batch axis first."""
        ...

    @staticmethod
    def check_config(config: Config) -> None:
        """Raise ValueError for a value that `setup` cannot train with."""
        ...

    @staticmethod
    def shared(data_dir: Path | None, download: bool) -> Mapping[str, Any]:
        """Load what all trials read; it is kept once a machine.

        Args:
            data_dir: The folder of `--data-dir`; None for the packaged data.
            download: Whether to fetch what is missing there.

        Returns:
            Keyword arguments of `setup`.
        """
        ...

    def evaluate(self, predict: Predict) -> Metrics:
        """Return the metrics of an exported network on the trainable's test data.

        Args:
            predict: Maps pixels (N, …) to outputs (N, …), with the normalization inside.
        """
        ...

    def labelled_examples(self) -> "tuple[NDArray[Any], NDArray[Any]]":
        """Return test examples of a class with `labels`, for the confusions of a run's report.

        Returns:
            Pixels (N, …), as the exported model takes them, and the index of each one's label (N,).
        """
        ...


@dataclass(frozen=True)
class Share:
    """A trial's share of its machine, as Ray assigned it."""

    device: str
    """`cuda` where Ray assigned a GPU or a part of one, else `cpu`."""
    threads: int
    """Threads for computing: whole CPUs of the trial, at least one."""
    gpus: float = 0.0
    """GPUs, or the part of one."""


def share() -> Share:
    """Return the share that Ray assigned to this process; outside of Ray, one thread on the CPU."""
    if not is_ray_worker():
        return Share("cpu", 1)
    import ray

    assigned = ray.get_runtime_context().get_assigned_resources()
    gpus = assigned.get("GPU", 0.0)
    return Share("cuda" if gpus > 0 else "cpu", max(1, int(assigned.get("CPU", 1))), gpus)


def is_ray_worker() -> bool:
    """Whether this process is one of Ray's workers."""
    import ray

    if not ray.is_initialized():
        return False
    return bool(ray.get_runtime_context().worker.mode == ray.WORKER_MODE)


def read_labels(trainable: Any) -> tuple[str, ...] | None:
    """Return the labels of a class, or of one of its trials, as texts; None where it has none.

    Raises TrainableError where they have no order or are not names.
    """
    labels = getattr(trainable, "labels", None)
    if labels is None:
        return None
    is_ordered = isinstance(labels, Sequence) or (hasattr(labels, "tolist") and labels.ndim == 1)
    if isinstance(labels, (str, bytes)) or not is_ordered:
        raise TrainableError(
            "labels: must be a tuple with a name for each output, in their order;"
            f" got {shorten(labels)}"
        )
    return tuple(str(to_python(label)) for label in labels)


def check_labels(labels: Sequence[str], shape: Sequence[int]) -> None:
    """Raise TrainableError where labels do not fit outputs of that shape, batch axis first.

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


def read_output_meaning(trainable: Any) -> str | None:
    """Return the `output_meaning` of a class or trial; None where it has none.

    Raises TrainableError where it is none of `OUTPUT_MEANINGS`.
    """
    meaning = getattr(trainable, "output_meaning", None)
    if meaning is None or meaning in OUTPUT_MEANINGS:
        return meaning
    known = ", ".join(OUTPUT_MEANINGS)
    raise TrainableError(f"output_meaning: must be one of {known}; got {shorten(meaning)}")


def to_python(value: Any) -> Any:
    """Convert a tensor or array of one number to Python's own; return anything else as it is."""
    try:
        return value.item()
    except (AttributeError, TypeError, ValueError, RuntimeError):  # no array, or of several numbers
        return value


def shorten(value: Any) -> str:
    """Show a value in a message, on one line and cut off where it is long."""
    text = " ".join(repr(value).split())
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
