"""Predictions of `/predict`: labels with probabilities, or the outputs by name.

Labels name the classes of outputs of shape `(N, classes)`. Two labels may also name the classes of
a single output, `(N, 1)` or `(N,)`, which is then the second class's. The output's meaning decides
how its numbers become probabilities.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from serve.formats.arrays import Floats
from serve.formats.json_codec import check_finite
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
    """Whether a prediction has a label and probabilities."""
    labels, output = manifest.labels, manifest.outputs[0]
    if labels is None or output.meaning == VALUES or len(output.shape) > 2:
        return False
    outputs = output.shape[1] if len(output.shape) == 2 else 1
    return outputs == len(labels) or (outputs == 1 and len(labels) == 2)


def why_no_predictions(manifest: Manifest) -> str | None:
    """Return why the model has no predictions, or None: labels name each place of a map."""
    output = manifest.outputs[0]
    if manifest.labels is None or output.meaning == VALUES or len(output.shape) <= 2:
        return None
    sizes = ", ".join("N" if size == -1 else str(size) for size in output.shape)
    return (
        f"this model has no one label for an input: its output has shape ({sizes}); "
        "/invocations gives it"
    )


def predictions(manifest: Manifest, outputs: Floats) -> list[Prediction]:
    """Create the predictions of outputs, one for each input, as JSON has them.

    Raises:
        NotAcceptableError: Values are infinite, which JSON cannot hold.
        ArithmeticError: Outputs contradict the meaning that the manifest declares.
    """
    if not gives_labels(manifest):
        return _name_outputs(manifest, outputs)
    labels = manifest.labels or ()
    rows = probabilities(outputs, manifest.outputs[0].meaning or LOGITS, len(labels))
    return [_label_row(row, labels) for row in rows]


def probabilities(outputs: Floats, meaning: str, classes: int) -> Numbers:
    """Convert outputs to probabilities of shape `(N, classes)`.

    Outputs for two classes may also have shape `(N, 1)` or `(N,)`; the meaning is not `values`.
    """
    numbers = outputs.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):  # Infinite results are refused below.
        if numbers.ndim == 2 and numbers.shape[1] == classes:
            result = _PER_CLASS[meaning](numbers)
        else:
            second = _SECOND_CLASS[meaning](numbers.reshape(-1, 1))
            result = np.concatenate([1 - second, second], axis=1)
    if not np.isfinite(result).all():
        raise ArithmeticError(f"the model's outputs are not {meaning}")
    return result


def _label_row(row: Numbers, labels: tuple[str, ...]) -> Prediction:
    best = int(row.argmax())
    return {
        "label": labels[best],
        "probability": float(row[best]),
        "probabilities": row.tolist(),
    }


def _name_outputs(manifest: Manifest, outputs: Floats) -> list[Prediction]:
    """Name the outputs, and their values where labels do."""
    check_finite(outputs)
    output, labels = manifest.outputs[0], manifest.labels
    are_named = labels is not None and outputs.ndim == 2 and outputs.shape[1] == len(labels)
    names = {"labels": labels} if are_named else {}
    return [
        {"outputs": [{"name": output.name, **names, "values": values}]}
        for values in outputs.tolist()
    ]


def _softmax(numbers: Numbers) -> Numbers:
    exponents = np.exp(numbers - numbers.max(axis=-1, keepdims=True))
    return np.asarray(exponents / exponents.sum(axis=-1, keepdims=True))


def _sigmoid(numbers: Numbers) -> Numbers:
    return np.asarray((1 + np.tanh(numbers / 2)) / 2)


_Conversion = Callable[[Numbers], Numbers]
_PER_CLASS: Mapping[str, _Conversion] = {
    LOGITS: _softmax,
    LOG_PROBABILITIES: np.exp,
    PROBABILITIES: np.asarray,
    SIGMOIDS: np.asarray,
}
_SECOND_CLASS: Mapping[str, _Conversion] = {**_PER_CLASS, LOGITS: _sigmoid}
"""Conversions of a single output to the probability of the second of two classes."""
