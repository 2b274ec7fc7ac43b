"""From a request's bytes to a reply's: what every route that asks the model has in common."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
from numpy.typing import NDArray

from serve.errors import BadRequestError, NotFoundError
from serve.formats.codecs import CODECS, JSON
from serve.formats.predictions import gives_labels, predictions, why_no_predictions
from serve.formats.scaling import Floats, Pixels, to_pixels
from serve.models.manifest import Manifest
from serve.runtime.batcher import Together

if TYPE_CHECKING:  # The engine loads ONNX Runtime, which a fake predictor does without.
    from serve.runtime.onnx_backend import Predictor

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


@dataclass(slots=True)
class Question:
    """What a request asks the model, and how its outputs become the answer."""

    inputs: Floats
    answer: Callable[[Floats], Answer]


class Service:
    """One model, asked in the formats of the routes."""

    def __init__(self, predictor: "Predictor") -> None:
        self.manifest = predictor.manifest
        self.together = Together(predictor)

    @property
    def drawable(self) -> bool:
        """Whether a drawn digit can be given to the model, and its answer be named."""
        return self.takes_images and gives_labels(self.manifest)

    @property
    def takes_images(self) -> bool:
        """Whether an image can be given to the model."""
        return self.manifest.inputs[0].shape == DRAWABLE

    @property
    def predict_types(self) -> tuple[str, ...]:
        """The content types that `predict` reads."""
        return (JSON, PNG) if self.takes_images else (JSON,)

    def invoke(self, body: bytes, content_type: str, accept: str) -> Question:
        """A body of one type, to be answered with the model's raw outputs in another."""
        pixels = self.pixels(CODECS[content_type].decode(_filled(body)))
        return Question(pixels.values, partial(_encoded, accept, pixels.scale))

    def predict(self, body: bytes, content_type: str, *, with_input: bool = False) -> Question:
        """Instances in JSON, or one image, to be answered with labels or outputs by name.

        With the input, each prediction has the numbers that the model was given, too.
        """
        if (why_not := why_no_predictions(self.manifest)) is not None:
            raise NotFoundError(why_not)
        decode = _read_png if content_type == PNG else CODECS[JSON].decode
        pixels = self.pixels(decode(_filled(body)))
        return Question(pixels.values, partial(_predicted, self.manifest, pixels, with_input))

    def pixels(self, numbers: NDArray[Any]) -> Pixels:
        """The model's input for numbers in any shape and scale it takes."""
        return to_pixels(numbers, self.manifest.inputs[0])

    def answer(self, question: Question) -> Answer:
        """The answer to one question, by the thread that asks."""
        return question.answer(self.together.run(question.inputs))


def _encoded(accept: str, scale: str | None, outputs: Floats) -> Answer:
    return Answer(CODECS[accept].encode(outputs), accept, len(outputs), scale)


def _predicted(manifest: Manifest, pixels: Pixels, with_input: bool, outputs: Floats) -> Answer:
    answers = predictions(manifest, outputs)
    if with_input:
        for prediction, values in zip(answers, pixels.values, strict=True):
            prediction["input"] = np.ascontiguousarray(values)
    model = {"name": manifest.name, "version": manifest.version}
    reply = {"predictions": answers, "model": model}
    written = orjson.dumps(reply, option=orjson.OPT_SERIALIZE_NUMPY)
    return Answer(written, JSON, len(outputs), pixels.scale)


def _filled(body: bytes) -> bytes:
    if not body:
        raise BadRequestError("the body is empty")
    return body


def _read_png(body: bytes) -> Floats:
    from serve.formats.drawing import (
        read_png,  # Pillow is loaded by the first drawing, not at the start.
    )

    return read_png(body)
