"""A model of five lines, and images for it."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from serve.models.artifact import Golden, Manifest, TensorSpec

Floats = NDArray[np.float32]


JSON, CSV, NPY, PNG = "application/json", "text/csv", "application/x-npy", "image/png"


DIGITS = Manifest(
    name="digits",
    version="0123456789ab",
    inputs=(TensorSpec("image", "float32", (-1, 1, 28, 28), (0.0, 255.0), 0.1307, 0.3081),),
    outputs=(TensorSpec("log_probabilities", "float32", (-1, 10)),),
    golden=Golden([], []),
    labels=tuple("0123456789"),
)


class Fake:
    """Answers every image with the digit that its first pixel is, and fails on 99."""

    def __init__(self, manifest: Manifest = DIGITS) -> None:
        self.manifest = manifest

    def predict(self, pixels: Floats) -> Floats:
        firsts = pixels.reshape(len(pixels), -1)[:, 0].astype(int)
        if (firsts == 99).any():
            raise RuntimeError("a secret of the inside")
        return np.where(firsts[:, None] == np.arange(10), 0.0, -20.0).astype(np.float32)


def image(digit: float, *, other: float = 200) -> NDArray[np.float64]:
    pixels = np.full((28, 28), other, dtype=np.float64)
    pixels[0, 0] = digit
    return pixels


def npy(array: NDArray[np.generic]) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def png(array: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()
