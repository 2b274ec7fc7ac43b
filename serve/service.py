"""From a request's bytes to a reply's: what every route that asks the model has in common."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
from numpy.typing import NDArray

from serve.codecs import CODECS, JSON
from serve.errors import BadRequestError, NotFoundError
from serve.pixels import Floats, Pixels, to_pixels

if TYPE_CHECKING:  # The engine loads ONNX Runtime, which a fake predictor does without.
    from serve.engine import Predictor

PNG = "image/png"
DRAWABLE = (-1, 1, 28, 28)
"""The input of models to which a drawn digit can be given."""


@dataclass(slots=True)
class Answer:
    """A reply's body, its content type, and what the reply says of the request."""

    body: bytes
    media_type: str
    inputs: int
    """How many inputs were answered."""
    scale: str | None
    """The scale in which the pixels came, where the model knows scales."""


class Service:
    """One model, asked in the formats of the routes."""

    def __init__(self, predictor: "Predictor") -> None:
        self._predictor = predictor
        self.manifest = predictor.manifest

    @property
    def drawable(self) -> bool:
        """Whether a drawn digit can be given to the model, and its answer be named."""
        return self.manifest.inputs[0].shape == DRAWABLE and self.manifest.labels is not None

    @property
    def predict_types(self) -> tuple[str, ...]:
        """The content types that `predict` reads."""
        return (JSON, PNG) if self.drawable else (JSON,)

    def invoke(self, body: bytes, content_type: str, accept: str) -> Answer:
        """The model's raw outputs for a body of one type, in another."""
        outputs, scale = self.run(CODECS[content_type].decode(_filled(body)))
        return Answer(CODECS[accept].encode(outputs), accept, len(outputs), scale)

    def predict(self, body: bytes, content_type: str, *, with_input: bool = False) -> Answer:
        """Labels and probabilities for instances in JSON, or for one image.

        With the input, each prediction has the numbers that the model was given, too.
        """
        labels = self.manifest.labels
        if labels is None:
            raise NotFoundError("this model has no labels; /invocations gives its outputs")
        decode = _read_png if content_type == PNG else CODECS[JSON].decode
        pixels = to_pixels(decode(_filled(body)), self.manifest.inputs[0])
        outputs = self._outputs(pixels)
        predictions = [_prediction(row, labels) for row in _softmax(outputs)]
        if with_input:
            for prediction, values in zip(predictions, pixels.values, strict=True):
                prediction["input"] = np.ascontiguousarray(values)
        model = {"name": self.manifest.name, "version": self.manifest.version}
        reply = {"predictions": predictions, "model": model}
        written = orjson.dumps(reply, option=orjson.OPT_SERIALIZE_NUMPY)
        return Answer(written, JSON, len(outputs), pixels.scale)

    def run(self, numbers: NDArray[Any]) -> tuple[Floats, str | None]:
        """The model's raw outputs for numbers in any shape and scale it takes, and that scale."""
        pixels = to_pixels(numbers, self.manifest.inputs[0])
        return self._outputs(pixels), pixels.scale

    def _outputs(self, pixels: Pixels) -> Floats:
        outputs = self._predictor.predict(pixels.values)
        if not np.isfinite(outputs).all():
            raise ArithmeticError("the model gave NaN or infinity for inputs that are finite")
        return outputs


def _filled(body: bytes) -> bytes:
    if not body:
        raise BadRequestError("the body is empty")
    return body


def _read_png(body: bytes) -> Floats:
    from serve.drawing import read_png  # Pillow is loaded by the first drawing, not at the start.

    return read_png(body)


def _softmax(outputs: Floats) -> NDArray[np.float64]:
    """Probabilities from log-probabilities or logits, over the last axis."""
    exponents = np.exp(outputs.astype(np.float64) - outputs.max(axis=-1, keepdims=True))
    return np.asarray(exponents / exponents.sum(axis=-1, keepdims=True))


def _prediction(probabilities: NDArray[np.float64], labels: tuple[str, ...]) -> dict[str, object]:
    best = int(probabilities.argmax())
    return {
        "label": labels[best],
        "probability": float(probabilities[best]),
        "probabilities": probabilities.tolist(),
    }
