"""Digits by hand and MNIST's own, drawn at any size anywhere, are read by a trained model."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page

from serve.formats.drawing import read_picture
from serve.runtime.onnx_predictor import Predictor, load
from tests.support import enlarged, strokes
from tests.support.browser import chromium, needs_chromium, new_page, wait
from tests.support.sheet import ANSWERED, BRUSH, drawn, open_page, read, served, text
from tests.support.trained import trained
from trainables import data

pytestmark = pytest.mark.timeout(300)  # a network is trained first


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("trained"), images=20_000)


@pytest.fixture(scope="module")
def page(model: Path) -> Iterator[Page]:
    with served(model) as address, chromium() as browser, new_page(browser) as page:
        open_page(page, address)
        yield page


def digits(predictor: Predictor, pixels: np.ndarray) -> np.ndarray:
    return np.asarray(predictor.predict(pixels.astype(np.float32)[:, None]).argmax(axis=1))


@pytest.mark.nightly
@pytest.mark.parametrize("smooth", [False, True], ids=["as squares", "smooth"])
def test_enlarged_mnist_images_are_restored(model: Path, smooth: bool) -> None:
    predictor = load(model)
    _, test = data.load()
    images = test.images[:200]
    back = np.stack([read_picture(png) for png in enlarged.drawings(images, seed=0, smooth=smooth)])
    same = digits(predictor, back) == digits(predictor, images)
    assert same.mean() >= 0.97


@needs_chromium
@pytest.mark.browser
@pytest.mark.parametrize("count", [4, pytest.param(10, marks=pytest.mark.nightly)])
def test_digits_drawn_by_hand_are_read(page: Page, count: int) -> None:
    drawings = strokes.drawings(count, seed=4, brush=BRUSH)
    assert [drawn(page, drawing) for drawing in drawings] == [drawing.label for drawing in drawings]


@needs_chromium
@pytest.mark.browser
def test_the_samples_are_read_as_what_they_are(page: Page) -> None:
    for digit in "0123456789":
        page.keyboard.press("c")
        page.keyboard.press(digit)
        wait(page, ANSWERED)
        assert text(page, "label") == digit


@needs_chromium
@pytest.mark.browser
@pytest.mark.nightly
def test_a_hundred_drawings_are_read_but_for_a_few(page: Page) -> None:
    drawings = strokes.drawings(100, seed=1, brush=BRUSH)
    right = [
        label == drawing.label
        for label, drawing in zip(read(page, drawings), drawings, strict=True)
    ]
    assert sum(right) >= 95
