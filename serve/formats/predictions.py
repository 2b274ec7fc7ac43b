"""What `/predict` says of a network's outputs: labels with probabilities, or the outputs by name.

What the outputs mean decides which numbers are probabilities. Labels name the classes of outputs of
shape `(N, classes)`; two of them name both answers of one output, `(N, 1)` or `(N,)`, the second
one's probability being the output's own.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from serve.formats.codecs import check_finite
from serve.formats.scaling import Floats
from serve.models.manifest import (
    LOG_PROBABILITIES,
    LOGITS,
    PROBABILITIES,
    SIGMOIDS,
    VALUES,
    Manifest,
)

Numbers = NDArray[np.float64]
Prediction = dict[str, object]


def gives_labels(manifest: Manifest) -> bool:
    """Whether each input is answered with a label and probabilities."""
    labels, output = manifest.labels, manifest.outputs[0]
    if labels is None or output.meaning == VALUES or len(output.shape) > 2:
        return False
    outputs = output.shape[1] if len(output.shape) == 2 else 1
    return outputs == len(labels) or (outputs == 1 and len(labels) == 2)


def why_no_predictions(manifest: Manifest) -> str | None:
    """Say why inputs get no answer: labels name what each has many of, as the places of a map."""
    output = manifest.outputs[0]
    if manifest.labels is None or output.meaning == VALUES or len(output.shape) <= 2:
        return None
    sizes = ", ".join("N" if size == -1 else str(size) for size in output.shape)
    return (
        f"this model has no one label for an input: its output has shape ({sizes}); "
        "/invocations gives it"
    )


def predictions(manifest: Manifest, outputs: Floats) -> list[Prediction]:
    """Answer for each input, in order.

    Raises NotAcceptableError where values are infinite, which JSON cannot hold, and ArithmeticError
    where outputs are none of what the model says they are.
    """
    if not gives_labels(manifest):
        return _named(manifest, outputs)
    labels = manifest.labels or ()
    rows = probabilities(outputs, manifest.outputs[0].meaning or LOGITS, len(labels))
    return [_labelled(row, labels) for row in rows]


def probabilities(outputs: Floats, meaning: str, classes: int) -> Numbers:
    """The classes' probabilities, shape `(N, classes)`, of outputs that mean anything but values.

    Outputs have shape `(N, classes)`, or `(N, 1)` or `(N,)` where there are two classes.
    """
    numbers = outputs.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):  # What comes of it is refused below.
        if numbers.ndim == 2 and numbers.shape[1] == classes:
            found = _OF_EACH[meaning](numbers)
        else:
            second = _OF_ONE[meaning](numbers.reshape(-1, 1))
            found = np.concatenate([1 - second, second], axis=1)
    if not np.isfinite(found).all():
        raise ArithmeticError(f"the model gave outputs that are no {meaning}")
    return found


def _labelled(row: Numbers, labels: tuple[str, ...]) -> Prediction:
    best = int(row.argmax())
    return {
        "label": labels[best],
        "probability": float(row[best]),
        "probabilities": row.tolist(),
    }


def _named(manifest: Manifest, outputs: Floats) -> list[Prediction]:
    """The outputs by name, with the names of their values where labels give some."""
    check_finite(outputs)
    output, labels = manifest.outputs[0], manifest.labels
    fits = labels is not None and outputs.ndim == 2 and outputs.shape[1] == len(labels)
    names = {"labels": labels} if fits else {}
    return [
        {"outputs": [{"name": output.name, **names, "values": values}]}
        for values in outputs.tolist()
    ]


def _softmax(numbers: Numbers) -> Numbers:
    exponents = np.exp(numbers - numbers.max(axis=-1, keepdims=True))
    return np.asarray(exponents / exponents.sum(axis=-1, keepdims=True))


def _sigmoid(numbers: Numbers) -> Numbers:
    return np.asarray((1 + np.tanh(numbers / 2)) / 2)


def _exponential(numbers: Numbers) -> Numbers:
    return np.asarray(np.exp(numbers))


def _itself(numbers: Numbers) -> Numbers:
    return numbers


_Reading = Callable[[Numbers], Numbers]
_OF_EACH: Mapping[str, _Reading] = {
    LOGITS: _softmax,
    LOG_PROBABILITIES: _exponential,
    PROBABILITIES: _itself,
    SIGMOIDS: _itself,
}
_OF_ONE: Mapping[str, _Reading] = {**_OF_EACH, LOGITS: _sigmoid}
"""The same where the one output is that of the second of two classes."""
