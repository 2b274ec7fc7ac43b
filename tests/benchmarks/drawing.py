"""Accuracy on drawings: MNIST's test digits enlarged on a sheet, and strokes on the page.

Run as `python -m tests.benchmarks.drawing MODEL [--images 10000] [--drawn 100] [--painted 1000]`.
Beside it is the accuracy on the test images themselves. It needs `chromium` on the path, and is
faster with OPENBLAS_NUM_THREADS=1, which the server sets.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import Page

from serve.formats.drawing import read_picture
from serve.runtime.onnx_predictor import Predictor, load
from tests.benchmarks.meter import conditions, table
from tests.support import enlarged, strokes
from tests.support.browser import CHROMIUM, chromium, new_page
from tests.support.sheet import BRUSH, drawn, open_page, read, served
from trainables import data
from trainables.data import Digits

BATCH = 100
Labels = NDArray[np.int64]


def main() -> None:
    """Read all of them, and print how many were right."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--drawn", type=int, default=100)
    parser.add_argument("--painted", type=int, default=1000)
    arguments = parser.parse_args()
    if CHROMIUM is None:
        parser.error("needs `chromium` on the path")
    _, test = data.load()
    digits = Digits(test.images[: arguments.images], test.labels[: arguments.images])
    rows = of_mnist(load(arguments.model), digits)
    with served(arguments.model) as address, chromium() as browser, new_page(browser) as page:
        open_page(page, address)
        rows += by_hand(page, arguments.drawn, arguments.painted)
    print(conditions("onnxruntime", "pillow"))
    print(table(rows))


def of_mnist(predictor: Predictor, digits: Digits) -> list[dict[str, str]]:
    """MNIST's images as they are, and enlarged, shifted and scaled on a sheet."""
    plain = labels(predictor, digits.images)
    rows = [row("MNIST as it is", plain == digits.labels)]
    for smooth, name in ((False, "as squares"), (True, "smoothed")):
        pngs = enlarged.drawings(digits.images, seed=0, smooth=smooth)
        found = labels(predictor, np.stack([read_picture(png) for png in pngs]))
        rows.append(row(f"enlarged, {name}", found == digits.labels))
        rows.append(row(f"enlarged, {name}: as without", found == plain))
    return rows


def labels(predictor: Predictor, pixels: NDArray[np.generic]) -> Labels:
    """Give the model's labels for pixels (N, 28, 28)."""
    batches = range(0, len(pixels), BATCH)
    given = pixels.astype(np.float32)[:, None]
    outputs = [predictor.predict(given[start : start + BATCH]) for start in batches]
    return np.asarray(np.concatenate(outputs).argmax(axis=1))


def by_hand(page: Page, count: int, painted: int) -> list[dict[str, str]]:
    """Strokes made by pointer events, and more of them that the page only paints."""
    made = strokes.drawings(count, seed=1, brush=BRUSH)
    said = [drawn(page, each) for each in made]
    more = strokes.drawings(painted, seed=2, brush=BRUSH)
    return [
        row("drawn with a pointer", right(said, made)),
        row("painted by the page", right(read(page, more), more)),
    ]


def right(said: list[str], made: list[strokes.Drawing]) -> NDArray[np.bool_]:
    """Which of the drawings were read as what they are."""
    return np.array([label == each.label for label, each in zip(said, made, strict=True)])


def row(name: str, hits: NDArray[np.bool_]) -> dict[str, str]:
    """How many of how many."""
    return {
        "drawings": name,
        "right": f"{hits.sum()} of {len(hits)}",
        "share": f"{hits.mean():.2%}",
    }


if __name__ == "__main__":
    main()
