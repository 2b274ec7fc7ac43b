"""Digits as a hand draws them: shapes of our own, with wobble, of any size anywhere on the pad."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Points = NDArray[np.float64]
"""A stroke's points, shape (N, 2): x to the right and y down."""
Pair = tuple[float, float]
Style = tuple[Points, ...]
"""The strokes of a digit, in a box of height 1 and width 0.6 or so."""

BETWEEN = 0.03
"""How far apart a stroke's points are, as a share of the digit's height."""
SIZES = (1 / 3, 1.0)
"""The longer side of a digit, as a share of the pad's, from the least to the largest."""


def line(*corners: Pair) -> Points:
    """A path through corners."""
    return np.array(corners, np.float64)


def arc(centre: Pair, radii: Pair, start: float, end: float) -> Points:
    """Part of an ellipse, from one angle to another: 0 is right, 90 is down."""
    angles = np.radians(np.linspace(start, end, 40))
    circle = np.column_stack([np.cos(angles), np.sin(angles)])
    return np.asarray(np.array(centre) + np.array(radii) * circle)


def stroke(*parts: Points) -> Points:
    """Parts drawn in one go."""
    return np.concatenate(parts)


def _loops() -> Points:
    """Both loops of an eight in one go."""
    turn = np.linspace(0.5, 2 * math.pi + 0.5, 60)
    return np.column_stack([0.3 - 0.27 * np.sin(2 * turn), 0.5 - 0.5 * np.cos(turn)])


STYLES: tuple[tuple[Style, ...], ...] = (
    (
        (arc((0.3, 0.5), (0.3, 0.5), -90, -450),),
        (arc((0.36, 0.5), (0.36, 0.5), -70, 295),),
    ),
    (
        (line((0.3, 0), (0.3, 1)),),
        (line((0.14, 0.2), (0.3, 0), (0.3, 1)),),
    ),
    (
        (stroke(arc((0.3, 0.28), (0.27, 0.28), 190, 395), line((0, 1), (0.6, 1))),),
        (stroke(arc((0.3, 0.26), (0.28, 0.26), 215, 400), line((0.02, 0.97), (0.66, 0.95))),),
    ),
    (
        (
            stroke(
                arc((0.26, 0.26), (0.25, 0.26), 205, 450),
                arc((0.26, 0.75), (0.3, 0.25), -90, 155),
            ),
        ),
        (
            stroke(
                line((0.02, 0.02), (0.52, 0), (0.22, 0.4)), arc((0.24, 0.7), (0.3, 0.3), -95, 150)
            ),
        ),
    ),
    (
        (line((0.4, 0), (0, 0.64), (0.62, 0.64)), line((0.44, 0.35), (0.42, 1))),
        (line((0.06, 0), (0.02, 0.5), (0.52, 0.5)), line((0.52, 0.04), (0.5, 1))),
    ),
    (
        (
            stroke(line((0.1, 0), (0.07, 0.42)), arc((0.26, 0.68), (0.3, 0.32), -125, 150)),
            line((0.1, 0), (0.55, 0)),
        ),
        (
            stroke(
                line((0.56, 0), (0.1, 0.02), (0.06, 0.45)),
                arc((0.24, 0.69), (0.32, 0.31), -120, 145),
            ),
        ),
    ),
    (
        (stroke(arc((0.55, 0.7), (0.52, 0.7), 270, 180), arc((0.3, 0.7), (0.27, 0.3), 180, -180)),),
        (stroke(line((0.34, 0), (0.08, 0.55)), arc((0.3, 0.72), (0.26, 0.28), 200, -160)),),
    ),
    (
        (line((0, 0.04), (0.55, 0), (0.2, 1)),),
        (line((0, 0), (0.6, 0.02), (0.22, 1)), line((0.14, 0.5), (0.56, 0.48))),
    ),
    (
        (_loops(),),
        (
            arc((0.3, 0.25), (0.22, 0.25), 90, 450),
            arc((0.3, 0.75), (0.28, 0.25), -90, 270),
        ),
    ),
    (
        (stroke(arc((0.3, 0.28), (0.26, 0.28), 0, -360), line((0.54, 1))),),
        (stroke(arc((0.3, 0.27), (0.27, 0.27), -20, -380), arc((0.12, 0.4), (0.45, 0.6), 0, 80)),),
    ),
)
"""The ways in which each digit is written, by digit."""


@dataclass(frozen=True)
class Drawing:
    """One digit on the pad."""

    label: str
    strokes: tuple[Points, ...]
    """Their points, 0 to 1 across the pad."""


def drawings(count: int, *, seed: int, brush: float) -> list[Drawing]:
    """As many of each digit, each in another hand, whole on the pad with such a brush."""
    random = np.random.default_rng(seed)
    return [_drawing(number % 10, random, brush) for number in range(count)]


def _drawing(digit: int, random: Generator, brush: float) -> Drawing:
    style = STYLES[digit][random.integers(len(STYLES[digit]))]
    hand = _hand(random)
    strokes = [_wobbled(_even(points) @ hand, random) for points in style]
    low = np.min([points.min(axis=0) for points in strokes], axis=0)
    high = np.max([points.max(axis=0) for points in strokes], axis=0)
    size = random.uniform(*SIZES) - brush
    scale = size / (high - low).max()
    room = 1 - brush - scale * (high - low)
    corner = brush / 2 + random.uniform(0, 1, 2) * room
    return Drawing(str(digit), tuple((points - low) * scale + corner for points in strokes))


def _hand(random: Generator) -> Points:
    """How someone writes: turned, slanted, narrow or wide."""
    turn = math.radians(random.normal(0, 5))
    slant, width = random.normal(0.1, 0.1), random.uniform(0.8, 1.25)
    turned = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    return np.asarray(np.array([[width, 0], [-slant, 1]]) @ turned)


def _even(points: Points) -> Points:
    """The same path with its points at even distances, as a hand's come."""
    lengths = np.hypot(*np.diff(points, axis=0).T)
    along = np.concatenate([[0], np.cumsum(lengths)])
    wanted = np.linspace(0, along[-1], max(2, round(along[-1] / BETWEEN)))
    return np.column_stack([np.interp(wanted, along, values) for values in points.T])


def _wobbled(points: Points, random: Generator) -> Points:
    """The path as an unsteady hand follows it: off by slow waves, and a little by chance."""
    along = np.linspace(0, 1, len(points))[:, None]
    waves = sum(
        random.normal(0, 0.02, 2) * np.sin(2 * math.pi * (turns * along + random.uniform(0, 1, 2)))
        for turns in (0.5, 1, 2)
    )
    tremor = random.normal(0, 0.003, points.shape)
    return np.asarray(points + random.normal(0, 0.03, 2) + waves + tremor)
