"""The notebook's pad: its front end in a real browser with a model of five lines, its pixels."""

import base64
import io
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page

from app import pad as module
from app.pad import Pad, PadError
from tests.support.browser import Fingers, chromium, needs_chromium, new_page, resize, stroke, wait

MODULE = Path(module.__file__).with_suffix(".js")
SHOW = """
(async () => {
  const listeners = [];
  window.saved = [];
  window.model = {
    drawing: "",
    get: () => model.drawing,
    set: (name, value) => { model[name] = value; listeners.forEach((each) => each()); },
    save_changes: () => saved.push(model.drawing),
    on: (_, listener) => listeners.push(listener),
    off: (_, listener) => listeners.splice(listeners.indexOf(listener), 1),
  };
  const { default: pad } = await import("data:text/javascript;base64,%s");
  window.leave = pad.render({ model, el: document.body });
  window.listeners = listeners;
})()
"""
BLANK = "data:image/png;base64,"


@pytest.fixture
def page() -> Iterator[Page]:
    with chromium() as browser, new_page(browser) as page:
        resize(page, 500, 500)
        page.evaluate(SHOW % base64.b64encode(MODULE.read_bytes()).decode())
        yield page


def place(page: Page, x: float, y: float) -> tuple[float, float]:
    """A point of the pad, 0 to 1 across it, in CSS pixels of the window."""
    box = "document.querySelector('canvas').getBoundingClientRect()"
    left, top, side = page.evaluate(f"[{box}.left, {box}.top, {box}.width]")
    return left + x * side, top + y * side


def draw(page: Page, *points: tuple[float, float]) -> str:
    """Draw through points of the pad; gives the model's drawing."""
    stroke(page, [place(page, x, y) for x, y in points])
    return str(page.evaluate("model.drawing"))


def grey(drawing: str) -> np.ndarray:
    with Image.open(io.BytesIO(Pad(drawing=drawing).png)) as image:
        return np.asarray(image.convert("L"))


ONE = ((0.5, 0.2), (0.5, 0.4), (0.5, 0.6), (0.5, 0.8))


@needs_chromium
@pytest.mark.browser
def test_a_stroke_is_the_models_drawing_when_it_ends(page: Page) -> None:
    drawing = draw(page, *ONE)
    assert page.evaluate("saved") == [drawing]
    drawn = grey(drawing)
    assert drawn.shape == (280, 280)
    assert drawn[140, 140] == 0
    assert drawn[140, 100] == drawn[140, 180] == drawn[20, 140] == 255
    assert len(np.unique(drawn)) > 8  # edges are smooth


@needs_chromium
@pytest.mark.browser
def test_its_pixels_are_those_of_an_upright_one_wherever_it_was_drawn(page: Page) -> None:
    pixels = Pad(drawing=draw(page, *ONE)).pixels
    assert (pixels.shape, str(pixels.dtype), pixels.max()) == ((28, 28), "float32", 255)
    assert np.count_nonzero(pixels.any(axis=1)) == 20
    assert set(np.flatnonzero(pixels.any(axis=0))) <= set(range(12, 17))
    page.evaluate("document.querySelector('button').click()")
    aside = Pad(drawing=draw(page, *((x - 0.3, y) for x, y in ONE))).pixels
    assert np.abs(aside - pixels).mean() < 2


@needs_chromium
@pytest.mark.browser
def test_a_finger_and_a_pen_draw_too_and_a_tap_is_a_dot(page: Page) -> None:
    x, y = place(page, 0.3, 0.5)
    fingers = Fingers(page)
    for step in (0, 20, 40, 60):
        fingers.at((x + step, y))
    fingers.at()
    wait(page, "saved.length === 1")
    touched = grey(str(page.evaluate("model.drawing")))
    assert touched[140, 100] == 0
    stroke(page, [place(page, 0.8, 0.8)], pointer="pen")
    wait(page, "saved.length === 2")
    dotted = grey(str(page.evaluate("model.drawing")))
    assert (dotted < touched).any()
    assert dotted[224, 224] == 0


@needs_chromium
@pytest.mark.browser
def test_the_button_clears_and_the_kernel_may_too(page: Page) -> None:
    whole = draw(page, *ONE)
    page.evaluate("document.querySelector('button').click()")
    assert page.evaluate("saved.at(-1)") == ""
    dot = draw(page, (0.5, 0.5))
    assert (grey(dot) < 128).sum() < (grey(whole) < 128).sum() / 3
    page.evaluate("model.set('drawing', '')")
    assert (grey(draw(page, (0.2, 0.2))) == 255)[140, 140]
    page.evaluate("leave()")
    assert page.evaluate("listeners.length") == 0


@needs_chromium
@pytest.mark.browser
def test_a_drawing_is_shown_again_where_the_notebook_is(page: Page) -> None:
    whole = draw(page, *ONE)
    page.evaluate("document.querySelector('button').click()")
    page.evaluate(f"model.set('drawing', '{whole}')")
    wait(page, "document.querySelector('canvas').toDataURL() === model.drawing")
    assert (grey(draw(page, (0.2, 0.2))) == 0)[140, 140]


def test_an_empty_pad_says_so() -> None:
    pad = Pad()
    with pytest.raises(PadError, match=r"^nothing is drawn on the pad yet$"):
        pad.pixels  # noqa: B018
    white = io.BytesIO()
    Image.new("L", (280, 280), 255).save(white, "PNG")
    pad.drawing = BLANK + base64.b64encode(white.getvalue()).decode()
    with pytest.raises(PadError, match=r"^the pad's drawing: nothing drawn: the image is blank$"):
        pad.pixels  # noqa: B018
    pad.clear()
    assert pad.drawing == ""


def test_without_its_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "anywidget", None)
    with pytest.raises(ImportError, match=r"^a pad needs anywidget: pip install -e"):
        runpy.run_path(module.__file__)
