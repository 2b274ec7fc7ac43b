"""MNIST's own images as drawings: enlarged tenfold, scaled and shifted on a sheet of paper."""

import io
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Images = NDArray[np.uint8]
TENFOLD = 280
PAPER = 400
SCALES = (0.4, 1.4)


def drawings(images: Images, *, seed: int, smooth: bool) -> Iterator[bytes]:
    """Each image (28 by 28, 0 paper to 255 ink) as a PNG, dark on white; pixels are squares or,
    where it is to be smooth, run into each other.
    """
    random = np.random.default_rng(seed)
    for image in images:
        side = round(TENFOLD * random.uniform(*SCALES))
        left, top = random.integers(0, PAPER - side + 1, 2)
        paper = Image.new("L", (PAPER, PAPER), 255)
        paper.paste(Image.fromarray(255 - _enlarged(image, side, smooth=smooth)), (left, top))
        file = io.BytesIO()
        paper.save(file, "PNG", compress_level=1)
        yield file.getvalue()


def _enlarged(image: Images, side: int, *, smooth: bool) -> Images:
    tenfold = Image.fromarray(image).resize(
        (TENFOLD, TENFOLD), Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST
    )
    return np.asarray(tenfold.resize((side, side), Image.Resampling.BOX))
