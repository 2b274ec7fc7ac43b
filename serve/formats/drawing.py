"""Preparation of a drawn digit as MNIST's are: trimmed, scaled to 20 by 20, centred by its weight.

These are the steps by which MNIST was made, as reconstructed for QMNIST (Yadav and Bottou, "Cold
Case: The Lost MNIST Digits", 2019).
"""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from serve.errors import BadRequestError, UnprocessableError

Floats = NDArray[np.floating[Any]]

SIDE = 28
"""Rows and columns of an MNIST image."""
BOX = 20
"""Rows and columns of the digit itself."""
CENTRE = 15
"""Row and column of the barycentre: the far edge of the middle pixels."""
LARGEST_SIDE = 1024
LEAST_WINDOW = 10
BLANK = 0.1
"""Smallest contrast of a drawing, as a share of black to white."""
FAINT = 0.2
"""Ink below this share of the darkest is dirt or blur, which is trimmed."""
_PNG_START = b"\x89PNG\r\n\x1a\n"
_PIXEL_MODES = ("1", "L", "I;16")


def read_png(body: bytes) -> NDArray[np.float32]:
    """Read a PNG: a drawing of any size, or an MNIST image.

    Returns:
        28 by 28 pixels, 0 to 255, white on black.

    Raises:
        BadRequestError: The body is not a PNG, or a damaged one.
        UnprocessableError: The image is too large, or blank.
    """
    image = _decode(body)
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


def _decode(body: bytes) -> Image.Image:
    if not body:
        raise BadRequestError("the body is empty")
    if not body.startswith(_PNG_START) or body[12:16] != b"IHDR" or len(body) < 24:
        raise BadRequestError("the body is not a PNG image")
    # The size is read before anything is decoded: a small file can claim a huge image.
    width, height = (int.from_bytes(body[at : at + 4], "big") for at in (16, 20))
    if not (0 < width <= LARGEST_SIDE and 0 < height <= LARGEST_SIDE):
        raise UnprocessableError(
            f"the image is {width} by {height}; send one of 1 to {LARGEST_SIDE} pixels a side"
        )
    try:
        if b"IEND" not in body:
            raise ValueError("the last chunk is missing")
        image = PngImagePlugin.PngImageFile(io.BytesIO(body))
        image.load()
    except Exception as error:  # A damaged PNG raises any of a dozen exceptions.
        raise BadRequestError("the body is a PNG image that is damaged or cut off") from error
    return image


def _grey(image: Image.Image) -> Floats:
    """Convert an image to 0 black to 1 white, on white paper."""
    if image.mode == "I;16":
        return np.asarray(image, np.float32) / 65535
    if image.mode in ("1", "L") and "transparency" not in image.info:
        return np.asarray(image.convert("L"), np.float32) / 255
    coloured = image.convert("RGBA")
    paper = Image.new("RGBA", coloured.size, "white")
    return np.asarray(Image.alpha_composite(paper, coloured).convert("L"), np.float32) / 255


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
