"""Promises of a class that can be exported, tried on the CPU after an epoch of training."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainables.check.outputs import EXPORTED
from trainables.check.subject import Subject, model_call, named_errors, reporter, train_epoch
from trainables.contract import TrainableError, check_labels, read_labels, read_output_meaning
from trainables.report import flatten_metrics

TOLERANCE = 1e-5
"""Largest difference of the evaluated model's objective from the reported one, as at export:
absolute, or relative to it."""


def try_export(subject: Subject) -> Iterator[str]:
    """Try model, example input, labels, meaning and evaluation, where the class has any of them."""
    missing = [name for name in EXPORTED if not hasattr(subject.trainable, name)]
    if len(missing) == len(EXPORTED):
        return
    if missing:
        calls = {"model": model_call(subject.trainable), "example_input": "example_input()"}
        both = " and ".join(calls.values())
        raise TrainableError(f"{calls[missing[0]]}: is missing; export needs both {both}")
    with subject.trial() as trial:
        train_epoch(trial)
        network, example = _network(trial), _example(trial)
        sizes = sorted({1, 2, len(example) + 1})
        examples = torch.cat([example] * (2 if len(example) > 1 else 3))
        call = model_call(trial)
        shapes = [_check_batch(network, examples[:size], call) for size in sizes]
        batches = f"{', '.join(map(str, sizes[:-1]))} and {sizes[-1]}"
        yield f"the network of {call} takes {batches} examples, and gives an output for each"
        labels = read_labels(trial)
        if labels is not None:
            check_labels(labels, shapes[0])
            yield f"{len(labels)} labels fit the outputs"
        meaning = read_output_meaning(trial)
        if meaning is not None:
            yield f"output_meaning is known: {meaning}"
        if hasattr(subject.trainable, "evaluate"):
            _check_evaluation(trial, network, subject.metric)
            yield f"evaluate() gives the {subject.metric} that was reported"


def _network(trial: Any) -> nn.Module:
    call = model_call(trial)
    with named_errors(call):
        network = trial.model()
    if not isinstance(network, nn.Module):
        raise TrainableError(f"{call}: must give an nn.Module, gave {type(network).__name__}")
    return network.cpu().eval()  # The trial is used up: not all networks can be copied.


def _example(trial: Any) -> Tensor:
    with named_errors("example_input()"):
        example = trial.example_input()
    if not isinstance(example, Tensor) or not example.ndim or not len(example):
        found = f"shape {tuple(example.shape)}" if isinstance(example, Tensor) else f"{example!r}"
        raise TrainableError(f"example_input(): must give a tensor of examples, gave {found}")
    return example.detach().cpu().float()


@torch.inference_mode()
def _check_batch(network: nn.Module, batch: Tensor, call: str) -> torch.Size:
    """Return the shape of the outputs; raise TrainableError unless there is one per example."""
    with named_errors(f"{call} with an input of shape {tuple(batch.shape)}"):
        outputs = network(batch)
    shape = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
    if not isinstance(outputs, Tensor) or outputs.shape[:1] != batch.shape[:1]:
        raise TrainableError(
            f"{call}: must give one output per example, batch axis first;"
            f" gave {shape} for an input of shape {tuple(batch.shape)}"
        )
    return outputs.shape


def _check_evaluation(trial: Any, network: nn.Module, metric: str) -> None:
    """Evaluate the network as its exported form will be, and compare with what was reported."""
    scale = getattr(trial, "input_range", None)

    @torch.inference_mode()
    def predict(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        inputs = torch.from_numpy(pixels)
        if scale is not None:
            inputs = (inputs / scale.high - scale.mean) / scale.std
        outputs: NDArray[np.float32] = network(inputs).numpy()
        return outputs

    with named_errors("evaluate()"):
        evaluated = flatten_metrics(trial.evaluate(predict))[metric]
    reported = trial._reported[metric]
    if not math.isclose(evaluated, reported, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
        call = reporter(type(trial))
        raise TrainableError(
            f"evaluate(): gives {metric} {evaluated!r}, {call} reported {reported!r}"
        )
