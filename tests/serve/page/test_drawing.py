"""Drawing on the page, in a real browser, against a real server."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page

from serve.formats.drawing import read_picture
from tests.support.browser import Fingers, needs_chromium, resize, wait
from tests.support.sheet import (
    ANSWERED,
    NOTHING,
    ONE,
    REMEMBER,
    SIDE,
    draw,
    draw_one,
    ink,
    pixels,
    place,
    text,
)
from trainables import data

pytestmark = [pytest.mark.browser, needs_chromium]


def test_a_digit_drawn_is_read(page: Page) -> None:
    assert text(page, "label") == "?"
    draw_one(page)
    assert text(page, "label") == "1"
    assert text(page, "announcement") == "1. Over 99.9\xa0% sure."
    assert page.evaluate("document.querySelector('#bars .best .name').textContent") == "1"
    assert text(page, "model").startswith("Read by the model tiny")
    assert text(page, "model").endswith("right on 50.00\xa0% of its test images")


def test_the_bars_move_while_one_draws(page: Page) -> None:
    page.mouse.move(*place(page, 0.5, 0.2))
    page.mouse.down()
    for y in (0.4, 0.6, 0.8):
        page.mouse.move(*place(page, 0.5, y))
    wait(page, "document.getElementById('label').textContent === '1'")
    assert page.evaluate("document.querySelector('#bars .best .percent').textContent") == ">99\xa0%"
    assert text(page, "announcement") == ""
    page.mouse.up()
    wait(page, ANSWERED)


def test_the_page_shows_the_networks_input(page: Page) -> None:
    page.evaluate(REMEMBER)
    draw_one(page)
    sent = read_picture(bytes(page.evaluate("Array.from(sent.at(-1))")))
    assert np.array_equal(pixels(page, "seen")[..., 0], sent)
    page.keyboard.press("c")
    assert not pixels(page, "seen").any()


def test_an_empty_drawing_is_not_sent(page: Page) -> None:
    draw_one(page)
    page.evaluate(REMEMBER)
    page.keyboard.press("c")
    assert text(page, "sentence") == text(page, "announcement") == NOTHING
    assert page.evaluate("[...document.querySelectorAll('.best')].length") == 0
    assert ink(page) == 0
    assert page.evaluate("sent.length") == 0


def test_keys_clear_or_take_back_the_only_stroke(page: Page) -> None:
    for key in ("c", "C", "Escape", "Delete", "z", "Backspace"):
        draw_one(page)
        assert page.evaluate("document.getElementById('clear').disabled") is False
        page.keyboard.press(key)
        assert text(page, "label") == "?"
        assert page.evaluate("document.getElementById('clear').disabled") is True


def test_undo_takes_back_one_stroke_and_clear_all(page: Page) -> None:
    draw_one(page)
    first = ink(page)
    draw(page, (0.1, 0.5), (0.2, 0.5), (0.3, 0.5))
    assert ink(page) > first
    page.keyboard.press("z")
    assert ink(page) == first
    wait(page, ANSWERED)
    draw(page, (0.1, 0.5), (0.2, 0.5), (0.3, 0.5))
    page.evaluate("document.getElementById('undo').click()")
    assert ink(page) == first
    page.evaluate("document.getElementById('clear').click()")
    assert ink(page) == 0


def test_the_keyboard_reaches_everything_and_keeps_the_focus(page: Page) -> None:
    draw_one(page)
    page.evaluate("document.activeElement.blur(), window.getSelection().removeAllRanges()")
    page.evaluate("document.body.tabIndex = -1, document.body.focus()")
    reached = []
    for _ in range(7):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate("document.activeElement.id || document.activeElement.textContent")
        )
    assert reached == ["canvas", "undo", "clear", "sample", "API", "version", "Metrics"]
    page.evaluate("document.getElementById('clear').focus()")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "canvas"
    assert ink(page) == 0


def test_a_pen_draws(page: Page) -> None:
    draw(page, *ONE, pointer="pen")
    wait(page, ANSWERED)
    assert text(page, "label") == "1"


def test_a_finger_draws_without_scrolling_and_another_changes_nothing(page: Page) -> None:
    resize(page, 320, 400)
    middle = [place(page, x, y) for x, y in ONE]
    fingers = Fingers(page)
    fingers.at(middle[0])
    fingers.at(middle[1])
    fingers.at(middle[1], place(page, 0.9, 0.9))
    fingers.at(middle[2], place(page, 0.1, 0.9))
    fingers.at(middle[3], place(page, 0.1, 0.9))
    fingers.at()
    wait(page, ANSWERED)
    assert text(page, "label") == "1"
    assert page.evaluate("window.scrollY") == 0


def test_a_dot_is_no_digit(page: Page) -> None:
    draw(page, (0.5, 0.5))
    wait(page, ANSWERED)
    assert ink(page) > 0
    assert text(page, "label") == "?"
    assert text(page, "announcement") == "This looks like a dot, not a digit."
    draw(page, *ONE)
    wait(page, "document.getElementById('label').textContent === '1'")


def test_two_figures_side_by_side_are_no_digit(page: Page) -> None:
    for x in (0.3, 0.7):
        draw(page, (x, 0.2), (x, 0.5), (x, 0.8))
    wait(page, ANSWERED)
    assert text(page, "label") == "?"
    assert text(page, "announcement") == "These look like two figures; draw a single digit."
    page.keyboard.press("z")
    wait(page, "document.getElementById('label').textContent === '1'")


OBJECTIONS = """(async images => {
  const { objection } = await import('/page/figures.js');
  return images.map(objection);
})"""


def test_hardly_any_digit_of_mnist_is_objected_to(page: Page) -> None:
    _, test = data.load()
    images = [(image / 255).round(2).tolist() for image in test.images[:1000].reshape(-1, 28, 28)]
    found = page.evaluate(f"{OBJECTIONS}({json.dumps(images)})")
    assert sum(objection is not None for objection in found) <= 2


def test_samples_are_drawn_without_a_pointer(page: Page) -> None:
    page.get_by_role("button", name="Sample").focus()
    page.keyboard.press("Enter")
    wait(page, ANSWERED)
    assert ink(page) > 0
    page.keyboard.press("1")
    wait(page, "document.getElementById('label').textContent === '1'")
    first = ink(page)
    page.keyboard.press("8")
    assert ink(page) > first
    page.keyboard.press("c")
    assert ink(page) == 0


def hand_over(page: Page, kind: str, content: bytes, media_type: str) -> None:
    """Paste or drop a file, as a browser's own event brings it."""
    encoded = base64.b64encode(content).decode()
    page.evaluate(f"""(async () => {{
      const bytes = Uint8Array.from(atob('{encoded}'), letter => letter.charCodeAt(0));
      const data = new DataTransfer();
      data.items.add(new File([bytes], 'file', {{ type: '{media_type}' }}));
      const [kind, name] = '{kind}' === 'paste'
        ? [ClipboardEvent, 'clipboardData'] : [DragEvent, 'dataTransfer'];
      const init = {{ [name]: data, bubbles: true, cancelable: true }};
      document.body.dispatchEvent(new kind('{kind}', init));
    }})()""")


def test_pictures_are_pasted_or_dropped(page: Page) -> None:
    picture = np.full((700, 300, 3), 255, np.uint8)
    picture[100:600, 120:180] = 0
    for kind, form in (("paste", "PNG"), ("drop", "PNG"), ("paste", "JPEG"), ("drop", "WEBP")):
        file = io.BytesIO()
        Image.fromarray(picture).save(file, form)
        draw(page, (0.2, 0.5), (0.4, 0.5), (0.6, 0.5), (0.8, 0.5))
        wait(page, "document.getElementById('announcement').textContent === 'Not sure: 4 or 9.'")
        hand_over(page, kind, file.getvalue(), f"image/{form.lower()}")
        wait(page, "document.getElementById('label').textContent === '1'")
        assert ink(page) > 0
        page.keyboard.press("z")
        assert ink(page) == 0


BLANK = """void (window.fetch = async () => new Response(
  '{"error": "nothing drawn: the image is blank"}', { status: 422 }))"""


def test_a_pasted_picture_without_a_drawing_or_no_picture_says_so(page: Page) -> None:
    file = io.BytesIO()
    Image.new("RGB", (50, 50), "white").save(file, "PNG")
    page.evaluate(BLANK)
    hand_over(page, "paste", file.getvalue(), "image/png")
    wait(page, "document.getElementById('announcement').textContent.startsWith('Nothing drawn:')")
    hand_over(page, "drop", b"no picture", "text/plain")
    wait(page, "/^This is no picture/.test(document.getElementById('announcement').textContent)")


def test_size_and_position_of_a_drawing_do_not_matter(page: Page) -> None:
    page.evaluate(REMEMBER)
    seven = [(0.0, 0.0), (0.2, 0.0), (0.4, 0.0), (0.3, 0.25), (0.2, 0.5), (0.1, 0.75)]
    sent = []
    for scale, left, top in ((1.0, 0.2, 0.1), (0.4, 0.1, 0.6)):
        page.keyboard.press("c")
        draw(page, *((left + x * scale, top + y * scale) for x, y in seven))
        wait(page, ANSWERED)
        sent.append(read_picture(bytes(page.evaluate("Array.from(sent.at(-1))"))))
    assert np.abs(sent[0] - sent[1]).mean() < 2


def test_reduced_motion_stops_animations(page: Page) -> None:
    duration = "getComputedStyle(document.querySelector('#bars .fill')).transitionDuration"
    assert page.evaluate(duration) != "0s"
    page.emulate_media(reduced_motion="reduce")
    assert page.evaluate(duration) == "0s"


def test_a_narrow_screen_shows_all_without_scrolling_sideways(page: Page) -> None:
    resize(page, 320, 640)
    draw_one(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    assert page.evaluate(f"{SIDE}.width") > 200
    bars = "document.getElementById('bars').getBoundingClientRect()"
    assert page.evaluate(f"{bars}.bottom") <= 640
