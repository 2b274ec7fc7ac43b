"""The drawing page in a real browser, against a real server."""

import json
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.chromium import Tab, chromium
from tests.tiny_model import TinyModel

BINARY = shutil.which("chromium")
ROOT = Path(__file__).parent.parent
SIDE = "document.getElementById('canvas').getBoundingClientRect()"
ANSWERED = "document.getElementById('announcement').textContent !== ''"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(BINARY is None, reason="needs `chromium` on the path"),
]


def upright() -> TinyModel:
    """A model that says 1 where the middle column is inked, and 0 where it is not."""
    weights = np.zeros((28, 28, 10), np.float32)
    weights[4:24, 13:16, 1] = 0.2
    weights[:, :8, 0] = weights[:, 20:, 0] = 0.2
    return TinyModel(weights.reshape(784, 10))


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    model = upright().write(tmp_path_factory.mktemp("page") / "model")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "serve", str(model), "--port", "0"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        yield next(word for word in process.stderr.readline().split() if word.startswith("http"))
        process.terminate()


@pytest.fixture
def tab(address: str, tmp_path: Path) -> Iterator[Tab]:
    assert BINARY is not None
    with chromium(BINARY, tmp_path / "profile") as tab:
        tab.resize(1100, 760)
        tab.go(address)
        tab.wait("document.querySelectorAll('#bars li').length === 10")
        yield tab
        assert tab.messages == []


def place(tab: Tab, x: float, y: float) -> tuple[float, float]:
    """A point of the canvas, 0 to 1 across it, in CSS pixels of the window."""
    left, top, side = tab.run(f"[{SIDE}.left, {SIDE}.top, {SIDE}.width]")
    return left + x * side, top + y * side


def draw(tab: Tab, *points: tuple[float, float]) -> None:
    tab.stroke([place(tab, x, y) for x, y in points])


def text(tab: Tab, name: str) -> str:
    return str(tab.run(f"document.getElementById('{name}').textContent"))


def draw_one(tab: Tab) -> None:
    draw(tab, (0.5, 0.2), (0.5, 0.4), (0.5, 0.6), (0.5, 0.8))
    tab.wait(ANSWERED)


def test_a_digit_drawn_is_read(tab: Tab) -> None:
    assert text(tab, "label") == "?"
    draw_one(tab)
    assert text(tab, "label") == "1"
    assert "sure" in text(tab, "announcement")
    assert tab.run("document.querySelector('#bars .best .name').textContent") == "1"
    assert text(tab, "model").startswith("Read by the model tiny")


def test_clear_and_undo_by_button_and_key(tab: Tab) -> None:
    for action in (
        "document.getElementById('clear').click()",
        "document.getElementById('undo').click()",
        "document.dispatchEvent(new KeyboardEvent('keydown', {key: 'c'}))",
        "document.dispatchEvent(new KeyboardEvent('keydown', {key: 'z'}))",
    ):
        draw_one(tab)
        assert tab.run("document.getElementById('clear').disabled") is False
        tab.run(action)
        assert text(tab, "label") == "?"
        assert tab.run("document.getElementById('clear').disabled") is True


def test_a_dot_is_a_stroke_too(tab: Tab) -> None:
    draw(tab, (0.5, 0.5))
    tab.wait(ANSWERED)
    assert text(tab, "label") in set("0123456789")


def test_what_is_sent_does_not_depend_on_the_colours(tab: Tab, address: str) -> None:
    draw_one(tab)
    light = text(tab, "announcement")
    tab.resize(1100, 760, dark=True)
    tab.go(f"{address}?dark")
    tab.wait("document.querySelectorAll('#bars li').length === 10")
    draw_one(tab)
    assert text(tab, "announcement") == light


def test_a_narrow_screen_needs_no_scrolling_sideways(tab: Tab) -> None:
    tab.resize(320, 640)
    draw_one(tab)
    assert tab.run("document.documentElement.scrollWidth") <= 320
    assert tab.run(f"{SIDE}.width") > 200


def test_the_description_is_shown_without_the_internet(tab: Tab, address: str) -> None:
    with urllib.request.urlopen(f"{address}openapi.json") as reply:
        operations = sum(map(len, json.load(reply)["paths"].values()))
    tab.go(f"{address}docs")
    tab.wait(f"document.querySelectorAll('.opblock').length === {operations}")
