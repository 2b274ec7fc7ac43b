"""The drawing page in a browser: a server for it, drawing on it, reading what it says."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page

from tests.support import ROOT
from tests.support.browser import stroke, wait
from tests.support.strokes import Drawing

SIDE = "document.getElementById('canvas').getBoundingClientRect()"
ANSWERED = "document.getElementById('bars').ariaBusy === 'false'"
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
