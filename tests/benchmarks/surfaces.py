"""Functions from a configuration to its losses, in milliseconds, for `replay`.

`mnist` interpolates the recorded learning curves of the built-in experiment. `kernel` (three
parameters) and `features` (five) are two other spaces, each configuration of which is trained on a
few hundred digits, in a few milliseconds.
"""

import functools
import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.experiment.loading import load
from app.experiment.space import Space, parse
from tests.benchmarks.curves import CURVES
from trainables import data

Array = NDArray[np.float64]

NOISE = 0.02
"""Standard deviation of a trial's loss around the interpolated curve, as a part of it."""


@dataclass(frozen=True)
class Trained:
    """Value that training a configuration would give."""

    losses: Array
    """By epoch, as a trial would report them."""
    seconds: Array
    """By epoch, of one core's time."""
    true_losses: Array
    """The losses without their noise."""


@dataclass(frozen=True)
class Surface:
    """A space, and what each of its configurations comes to."""

    space: Space
    train: Callable[[Mapping[str, Any], int], Trained]
    """By configuration and seed."""
    best: float
    """The least true loss that is known."""


def _mnist() -> Surface:
    space = load(None, {}).parameters
    return Surface(space, _interpolated, min(min(c[LOSS]) for c in _curves()))


LOSS = "average_test_loss"


@functools.cache
def _curves() -> list[dict[str, Any]]:
    curves: list[dict[str, Any]] = json.loads(CURVES.read_text())["curves"]
    return curves


@functools.cache
def _by_batch_size() -> dict[int, tuple[Array, Array, Array]]:
    """Logarithms of the learning rates, and by these the logarithms of losses and the seconds."""
    grouped: dict[int, list[dict[str, Any]]] = {}
    for curve in _curves():
        grouped.setdefault(int(curve["batch_size"]), []).append(curve)
    return {
        batch_size: (
            np.log([curve["lr"] for curve in curves]),
            np.log([curve[LOSS] for curve in curves]),
            np.array([curve["seconds"] for curve in curves]),
        )
        for batch_size, curves in grouped.items()
    }


def _interpolated(config: Mapping[str, Any], seed: int) -> Trained:
    lr, batch_size = float(config["lr"]), int(config["batch_size"])
    rates, losses, seconds = _by_batch_size()[batch_size]
    true = np.exp(_along(np.log(lr), rates, losses))
    # A trial is a function of its configuration and seed: so is its noise.
    rng = np.random.default_rng([seed, zlib.crc32(f"{lr!r} {batch_size}".encode())])
    noisy = true * (1 + NOISE * rng.standard_normal())
    return Trained(noisy, _along(np.log(lr), rates, seconds), true)


def _along(x: float, xs: Array, rows: Array) -> Array:
    return np.array([np.interp(x, xs, column) for column in rows.T])


@functools.cache
def _digits(count: int) -> tuple[Array, Array, Array, Array]:
    """Images (N, 196) of 14 by 14 pixels, -1 to 1, and one-hot labels (N, 10), twice."""
    test = data.load(None, download=False)[1]
    images = test.images[: 2 * count].reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4)) / 127.5 - 1
    flat, labels = images.reshape(-1, 196), np.eye(10)[test.labels[: 2 * count]]
    return flat[:count], labels[:count], flat[count:], labels[count:]


def _once(loss: float) -> Trained:
    return Trained(np.array([loss]), np.array([1.0]), np.array([loss]))


KERNELS: Mapping[str, Callable[[Array], Array]] = {
    "laplace": lambda squared: np.exp(-np.sqrt(squared)),
    "gaussian": lambda squared: np.exp(-squared),
    "cauchy": lambda squared: 1 / (1 + squared),
}


@functools.cache
def _squared_distances() -> tuple[Array, Array]:
    seen, _, unseen, _ = _digits(250)
    return _between(seen, seen), _between(unseen, seen)


def _between(a: Array, b: Array) -> Array:
    squared = (a**2).sum(1)[:, None] - 2 * a @ b.T + (b**2).sum(1)
    distances: Array = np.maximum(squared, 0)
    return distances


def _kernel(config: Mapping[str, Any], seed: int) -> Trained:
    """Kernel ridge regression of the ten labels; mean squared error on unseen digits."""
    _, labels, _, wanted = _digits(250)
    shape = KERNELS[str(config["kernel"])]
    seen, unseen = (shape(float(config["gamma"]) * each) for each in _squared_distances())
    ridge = float(config["ridge"]) * np.eye(len(seen))
    predicted = unseen @ np.linalg.solve(seen + ridge, labels)
    return _once(float(((predicted - wanted) ** 2).sum(1).mean()))


ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = {
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
    "cosine": np.cos,
}


@functools.cache
def _directions() -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((196, 256)), rng.uniform(-1, 1, 256)


def _features(config: Mapping[str, Any], seed: int) -> Trained:
    """A hidden layer at random and a ridge regression above it; error as in `_kernel`."""
    seen, labels, unseen, wanted = _digits(250)
    weights, shifts = _directions()
    width = int(config["width"])
    scale, shift = float(config["scale"]) / 14, float(config["shift"])
    activation = ACTIVATIONS[str(config["activation"])]
    hidden, above = (
        activation(each @ weights[:, :width] * scale + shift * shifts[:width]) / np.sqrt(width)
        for each in (seen, unseen)
    )
    ridge = float(config["ridge"]) * np.eye(width)
    predicted = above @ np.linalg.solve(hidden.T @ hidden + ridge, hidden.T @ labels)
    return _once(float(((predicted - wanted) ** 2).sum(1).mean()))


def _continuous(low: float, high: float, scale: str = "log") -> dict[str, object]:
    return {"type": "continuous", "low": low, "high": high, "scale": scale}


SURFACES: Mapping[str, Callable[[], Surface]] = {
    "mnist": _mnist,
    "kernel": lambda: Surface(
        parse(
            {
                "gamma": _continuous(1e-4, 100),
                "ridge": _continuous(1e-6, 10),
                "kernel": {"type": "categorical", "values": list(KERNELS)},
            }
        ),
        _kernel,
        best=0.29171,
    ),
    "features": lambda: Surface(
        parse(
            {
                "width": {"type": "integer", "low": 8, "high": 256, "scale": "log"},
                "scale": _continuous(0.01, 10),
                "shift": _continuous(0, 3, "linear"),
                "ridge": _continuous(1e-6, 10),
                "activation": {"type": "categorical", "values": list(ACTIVATIONS)},
            }
        ),
        _features,
        best=0.41477,
    ),
}
"""By name. The two best losses are of 5,000 configurations at random and 1,500 around the best."""
