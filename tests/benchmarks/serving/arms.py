"""The servers that are compared: how each is started, and asked."""

import io
import json
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tests.benchmarks.serving.client import REQUEST_ID

HERE = "tests.benchmarks.serving"
PORT = "{port}"
MODEL = "{model}"
MODEL_VARIABLE = "TUNEPORT_BENCHMARK_MODEL"
"""Variable with the model's folder, for servers that have no argument for it."""


def image() -> NDArray[np.uint8]:
    """One image: a fifth of its pixels are ink, as of a digit."""
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (1, 28, 28)).astype(np.uint8)
    pixels[generator.random(pixels.shape) > 0.2] = 0
    return pixels


def npy(array: NDArray[np.generic]) -> bytes:
    """The array as an NPY file."""
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@dataclass(frozen=True)
class Arm:
    """One server, and the request that it gets."""

    name: str
    command: tuple[str, ...]
    """Behind the interpreter, with places for port and model."""
    path: str
    body: bytes
    kind: str = "application/json"
    package: str | None = None
    """Package to install, if it is no dependency of ours."""

    @property
    def request(self) -> bytes:
        """The request, as it goes over the wire."""
        head = (
            f"POST {self.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {self.kind}\r\n"
            f"X-Request-Id: {REQUEST_ID.decode()}\r\nUser-Agent: benchmark\r\nAccept: */*\r\n"
            f"Content-Length: {len(self.body)}\r\n\r\n"
        )
        return head.encode() + self.body


NPY = "application/x-npy"
OURS = ("-m", "serve", MODEL, "--port", PORT)
FASTAPI = ("-m", f"{HERE}.by_fastapi", PORT)
BENTOML = ("-m", "bentoml", "serve", f"{HERE}.by_bentoml:Digits", "--port", PORT)
PIXELS = npy(image())
INTEGERS = json.dumps({"instances": image().tolist()}).encode()
FLOATS = json.dumps({"instances": (image() / 255).tolist()}).encode()
ARMS = (
    Arm("bare", ("-m", f"{HERE}.bare", PORT), "/", PIXELS, NPY),
    Arm("ours", OURS, "/invocations", PIXELS, NPY),
    Arm("ours, JSON integers", OURS, "/invocations", INTEGERS),
    Arm("ours, JSON floats", OURS, "/invocations", FLOATS),
    Arm("FastAPI, def, JSON", FASTAPI, "/json", INTEGERS),
    Arm("FastAPI, async, NPY", FASTAPI, "/npy", PIXELS, NPY),
    Arm("FastAPI, ONNX Runtime", FASTAPI, "/onnx", PIXELS, NPY),
    Arm("LitServe", ("-m", f"{HERE}.by_litserve", PORT), "/predict", INTEGERS, package="litserve"),
    Arm("BentoML", BENTOML, "/predict", INTEGERS, package="bentoml"),
    Arm("Ray Serve", ("-m", f"{HERE}.by_ray", PORT), "/", PIXELS, NPY, package="ray"),
)
