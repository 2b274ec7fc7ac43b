"""The drawing page in a browser: a server for it, drawing on it, reading what it says."""

import base64
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Page

from tests.support import ROOT
from tests.support.browser import SIZE, chromium, new_page, resize, stroke, wait
from tests.support.strokes import Drawing
from tests.support.tiny_model import TinyModel

SIDE = "document.getElementById('canvas').getBoundingClientRect()"
ANSWERED = "document.getElementById('bars').ariaBusy === 'false'"
NOTHING = "Nothing drawn yet; a digit is read as you draw it."
ONE = ((0.5, 0.2), (0.5, 0.4), (0.5, 0.6), (0.5, 0.8))
"""A stroke that `upright` says is a 1."""
REMEMBER = """(() => {
  const real = window.fetch;
  [window.sent, window.now, window.most] = [[], 0, 0];
  window.fetch = async (path, options) => {
    sent.push(new Uint8Array(await options.body.arrayBuffer()));
    most = Math.max(most, ++now);
    try { return await real(path, options) } finally { now-- }
  };
})()"""
"""Keeps the bodies of requests in `sent`, and in `most` how many there were at once."""
BRUSH = 0.08
"""How wide the page draws, as a share of its paper."""
READ = """(async drawings => {
  const { picture } = await import('/page/paper.js');
  const labels = [];
  for (const strokes of drawings) {
    const headers = { 'content-type': 'image/png' };
    const body = await picture(strokes);
    const answer = await (await fetch('/predict', { method: 'POST', headers, body })).json();
    labels.push(answer.predictions[0].label);
  }
  return labels;
})"""


@contextmanager
def served(model: Path) -> Iterator[str]:
    """The address of a server of the model, for as long as the block lasts."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "serve", str(model), "--port", "0"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            words = process.stderr.readline().split()
            yield next(word for word in words if word.startswith("http"))
        finally:
            process.terminate()


def open_page(page: Page, address: str) -> None:
    """Load the page, and wait until it knows the model."""
    page.goto(address)
    wait(page, "document.querySelectorAll('#bars li').length === 10")


def upright() -> TinyModel:
    """A model that says 1 to a column in the middle, 0 to both sides, 4 or 9 to a bar across."""
    weights = np.zeros((28, 28, 10), np.float32)
    weights[4:24, 13:16, 1] = 0.2
    weights[:, :8, 0] = weights[:, 20:, 0] = 0.2
    for sides in (slice(4, 11), slice(17, 24)):
        weights[12:17, sides, 4] = weights[12:17, sides, 9] = 0.4
    return TinyModel(weights.reshape(784, 10))


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server of the model `upright`."""
    with served(upright().write(tmp_path_factory.mktemp("page") / "model")) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def sheet(browser: Browser) -> Iterator[Page]:
    with new_page(browser) as page:
        yield page


@pytest.fixture
def page(sheet: Page, address: str) -> Page:
    """The page as it is when it was just loaded; a new document in the same window."""
    resize(sheet, *SIZE)
    sheet.emulate_media(color_scheme="light", reduced_motion="no-preference")
    sheet.unroute_all()
    open_page(sheet, address)
    return sheet


def place(page: Page, x: float, y: float) -> tuple[float, float]:
    """A point of the canvas, 0 to 1 across it, in CSS pixels of the window."""
    left, top, side = page.evaluate(f"[{SIDE}.left, {SIDE}.top, {SIDE}.width]")
    return left + x * side, top + y * side


def draw(page: Page, *points: tuple[float, float], pointer: str = "mouse") -> None:
    stroke(page, [place(page, x, y) for x, y in points], pointer=pointer)


def text(page: Page, name: str) -> str:
    return str(page.evaluate(f"document.getElementById('{name}').textContent"))


def drawn(page: Page, drawing: Drawing) -> str:
    """Draw on a new sheet, stroke by stroke, and give the page's answer."""
    page.keyboard.press("c")
    for points in drawing.strokes:
        draw(page, *map(tuple, points))
    wait(page, ANSWERED)
    return text(page, "label")


def read(page: Page, drawings: Sequence[Drawing]) -> list[str]:
    """Give the server's answers to drawings that the page paints from strokes."""
    strokes = [[points.tolist() for points in drawing.strokes] for drawing in drawings]
    labels: list[str] = page.evaluate(f"{READ}({json.dumps(strokes)})")
    return labels


def draw_one(page: Page) -> None:
    draw(page, *ONE)
    wait(page, ANSWERED)


def pixels(page: Page, name: str) -> NDArray[np.uint8]:
    """A canvas as it is once its next frame is there, shape (rows, columns, 4)."""
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    url = page.evaluate(f"document.getElementById('{name}').toDataURL()")
    with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as image:
        return np.asarray(image)


def ink(page: Page) -> int:
    """How many points of the paper are inked."""
    return int((pixels(page, "canvas")[..., 3] > 0).sum())
