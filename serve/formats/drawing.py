"""Preparation of a drawn digit as MNIST's are: trimmed, scaled to 20 by 20, centred by its weight.

These are the steps by which MNIST was made, as reconstructed for QMNIST (Yadav and Bottou, "Cold
Case: The Lost MNIST Digits", 2019).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from serve.errors import UnprocessableError
from serve.formats.pictures import decode_picture

Floats = NDArray[np.floating[Any]]

SIDE = 28
"""Rows and columns of an MNIST image."""
BOX = 20
"""Rows and columns of the digit itself."""
CENTRE = 15
"""Row and column of the barycentre: the far edge of the middle pixels."""
LEAST_WINDOW = 10
BLANK = 0.1
"""Smallest contrast of a drawing, as a share of black to white."""
FAINT = 0.2
"""Ink below this share of the darkest is dirt or blur, which is trimmed."""
_PIXEL_MODES = ("1", "L", "I;16")


def read_picture(body: bytes) -> NDArray[np.float32]:
    """Read a PNG, JPEG or WebP: a drawing of any size, or an MNIST image.

    Returns:
        28 by 28 pixels, 0 to 255, white on black.

    Raises:
        BadRequestError: The body is no such picture, or a damaged one.
        UnprocessableError: The picture is too large, or blank.
    """
    image = decode_picture(body)
    if image.size == (SIDE, SIDE) and image.mode in _PIXEL_MODES:
        return np.rint(_grey(image) * 255).astype(np.float32)
    return prepare(_grey(image))


def prepare(grey: Floats) -> NDArray[np.float32]:
    """Convert a drawing of any size, 0 black to 1 white, to 28 by 28 pixels from 0 to 255."""
    ink = _ink(grey)
    small = _area_resample(_enlarge(_square(_trim(ink))))
    # The darkest ink becomes 255, as MNIST's strokes have it nearly everywhere.
    scaled = np.rint(small / small.max() * 255)
    return _centre(scaled).astype(np.float32)


def _grey(image: Image.Image) -> Floats:
    """Convert a picture to 0 black to 1 white: on white paper, or black where white shows none."""
    if image.mode == "I;16":
        return np.asarray(image, np.float32) / 65535
    if not image.has_transparency_data:
        return np.asarray(image.convert("L"), np.float32) / 255
    coloured = image.convert("RGBA")
    on_white = _on_paper(coloured, "white")
    return on_white if np.ptp(on_white) >= BLANK else _on_paper(coloured, "black")


def _on_paper(coloured: Image.Image, paper: str) -> Floats:
    sheet = Image.new("RGBA", coloured.size, paper)
    return np.asarray(Image.alpha_composite(sheet, coloured).convert("L"), np.float32) / 255


def _ink(grey: Floats) -> Floats:
    """Convert a drawing to ink, 0 to 1: the difference from its border, which is paper."""
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    paper = float(np.median(border))
    ink = np.clip(paper - grey if paper >= 0.5 else grey - paper, 0, None)
    darkest = float(ink.max())
    if darkest < BLANK:
        raise UnprocessableError("nothing drawn: the image is blank")
    return np.asarray(ink / darkest)


def _trim(ink: Floats) -> Floats:
    marked = ink >= FAINT
    rows, columns = np.flatnonzero(marked.any(axis=1)), np.flatnonzero(marked.any(axis=0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _square(ink: Floats) -> Floats:
    """Place the drawing in the middle of a square, which keeps its proportions."""
    height, width = ink.shape
    side = max(height, width, LEAST_WINDOW)
    window = np.zeros((side, side))
    top, left = (side - height) // 2, (side - width) // 2
    window[top : top + height, left : left + width] = ink
    return window


def _enlarge(window: Floats) -> Floats:
    while len(window) < BOX:
        window = window.repeat(2, axis=0).repeat(2, axis=1)
    return window


def _area_resample(window: Floats) -> Floats:
    """Resample a square to 20 by 20; each pixel is divided among the cells that it covers."""
    side = len(window)
    cells = np.linspace(0, side, BOX + 1)
    ends = np.minimum(cells[1:, None], np.arange(1, side + 1))
    starts = np.maximum(cells[:-1, None], np.arange(side))
    shares = np.clip(ends - starts, 0, None) * BOX / side
    return np.asarray(shares @ window @ shares.T)


def _centre(small: Floats) -> Floats:
    """Place the digit in a 28 by 28 image, its barycentre at index 14 of rows and columns."""
    middles = np.arange(BOX) + 0.5
    row = float(middles @ small.sum(axis=1) / small.sum())
    column = float(middles @ small.sum(axis=0) / small.sum())
    # An unbalanced digit may cross the edge: paste it with a margin, then cut.
    margin = 10
    field = np.zeros((SIDE + 2 * margin, SIDE + 2 * margin))
    top, left = int(CENTRE - row) + margin, int(CENTRE - column) + margin
    field[top : top + BOX, left : left + BOX] = small
    return field[margin:-margin, margin:-margin]
