"""The drawing page in a real browser, against a real server."""

import base64
import io
import json
import shutil
import urllib.request
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from serve.formats.drawing import read_png
from tests.support.chromium import Tab, chromium
from tests.support.sheet import ANSWERED, SIDE, draw, open_page, place, served, text
from tests.support.tiny_model import TinyModel
from tests.support.wire import serving

BINARY = shutil.which("chromium")
NOTHING = "Nothing drawn yet; a digit is read as you draw it."
ONE = ((0.5, 0.2), (0.5, 0.4), (0.5, 0.6), (0.5, 0.8))
TAB, ENTER = 9, 13
PAGES = count()

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(BINARY is None, reason="needs `chromium` on the path"),
]


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
    with served(upright().write(tmp_path_factory.mktemp("page") / "model")) as address:
        yield address


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    assert BINARY is not None
    with chromium(BINARY, tmp_path_factory.mktemp("browser") / "profile") as tab:
        yield tab


@pytest.fixture
def tab(browser: Tab, address: str) -> Iterator[Tab]:
    browser.messages.clear()
    browser.resize(1100, 760)
    open_page(browser, f"{address}?{next(PAGES)}")
    yield browser
    assert browser.messages == []


def draw_one(tab: Tab) -> None:
    draw(tab, *ONE)
    tab.wait(ANSWERED)


def pixels(tab: Tab, name: str) -> NDArray[np.uint8]:
    """A canvas as it is once its next frame is there, shape (rows, columns, 4)."""
    tab.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    url = tab.run(f"document.getElementById('{name}').toDataURL()")
    with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as image:
        return np.asarray(image)


def ink(tab: Tab) -> int:
    """How many points of the paper are inked."""
    return int((pixels(tab, "canvas")[..., 3] > 0).sum())


def test_a_digit_drawn_is_read(tab: Tab) -> None:
    assert text(tab, "label") == "?"
    draw_one(tab)
    assert text(tab, "label") == "1"
    assert text(tab, "announcement") == "1. Over 99.9\xa0% sure."
    assert tab.run("document.querySelector('#bars .best .name').textContent") == "1"
    assert text(tab, "model").startswith("Read by the model tiny")
    assert text(tab, "model").endswith("right on 50.00\xa0% of its test images")


def test_the_bars_move_while_one_draws(tab: Tab) -> None:
    tab.mouse("mousePressed", *place(tab, 0.5, 0.2))
    for y in (0.4, 0.6, 0.8):
        tab.mouse("mouseMoved", *place(tab, 0.5, y))
    tab.wait("document.getElementById('label').textContent === '1'")
    assert tab.run("document.querySelector('#bars .best .percent').textContent") == ">99\xa0%"
    assert text(tab, "announcement") == ""
    tab.mouse("mouseReleased", *place(tab, 0.5, 0.8))
    tab.wait(ANSWERED)


REMEMBER = """(() => {
  const real = window.fetch;
  [window.sent, window.now, window.most] = [[], 0, 0];
  window.fetch = async (path, options) => {
    sent.push(new Uint8Array(await options.body.arrayBuffer()));
    most = Math.max(most, ++now);
    try { return await real(path, options) } finally { now-- }
  };
})()"""


def test_what_the_network_sees_is_what_the_server_makes_of_what_was_sent(tab: Tab) -> None:
    tab.run(REMEMBER)
    draw_one(tab)
    sent = read_png(bytes(tab.run("Array.from(sent.at(-1))")))
    assert np.array_equal(pixels(tab, "seen")[..., 0], sent)
    tab.press("c")
    assert not pixels(tab, "seen").any()


def test_one_request_is_made_at_a_time_and_the_last_is_of_the_whole_drawing(tab: Tab) -> None:
    tab.run(REMEMBER)
    points = [(0.5, 0.2 + step / 100) for step in range(60)]
    draw(tab, *points)
    tab.wait(ANSWERED)
    assert tab.run("most") == 1
    assert 1 <= tab.run("sent.length") <= len(points) + 1
    whole = f"import('/page/paper.js').then(({{ picture }}) => picture([{json.dumps(points)}]))"
    expected = tab.run(
        f"{whole}.then(blob => blob.arrayBuffer()).then(b => [...new Uint8Array(b)])"
    )
    sent = read_png(bytes(tab.run("Array.from(sent.at(-1))")))
    assert np.abs(sent - read_png(bytes(expected))).max() <= 2


def test_a_late_answer_to_a_drawing_that_is_gone_is_dropped(tab: Tab) -> None:
    tab.run("""(() => {
      const real = window.fetch;
      window.held = [];
      window.fetch = (path, { signal, ...options }) =>
        new Promise(done => held.push(async () => done(await real(path, options))));
    })()""")
    draw(tab, *ONE)
    tab.wait("held.length === 1")
    tab.press("c")
    draw(tab, (0.2, 0.5), (0.4, 0.5), (0.6, 0.5), (0.8, 0.5))
    tab.run("held[0]()")
    tab.wait("held.length === 2")
    assert text(tab, "label") == "?"
    tab.run("held[1]()")
    tab.wait(ANSWERED)
    assert text(tab, "announcement") == "Not sure: 4 or 9."


def test_nothing_is_asked_of_a_blank(tab: Tab) -> None:
    draw_one(tab)
    tab.run(REMEMBER)
    tab.press("c")
    assert text(tab, "sentence") == text(tab, "announcement") == NOTHING
    assert tab.run("[...document.querySelectorAll('.best')].length") == 0
    assert ink(tab) == 0
    assert tab.run("sent.length") == 0


def test_doubt_is_said(tab: Tab) -> None:
    draw(tab, (0.2, 0.5), (0.4, 0.5), (0.6, 0.5), (0.8, 0.5))
    tab.wait(ANSWERED)
    assert text(tab, "label") in {"4", "9"}
    assert text(tab, "sentence") == "Not sure: 4 or 9."
    assert tab.run("document.body.classList.contains('doubt')")
    assert text(tab, "announcement") == "Not sure: 4 or 9."


@pytest.mark.parametrize(
    ("probabilities", "label", "sentence"),
    [
        ([0.9878, 0.0122], "a", "98.8 % sure."),
        ([0.0002, 0.99951, 0.00029], "b", "Over 99.9 % sure."),
        ([1.0, 0.0], "a", "Over 99.9 % sure."),
        ([0.9, 0.1], "a", "90.0 % sure."),
        ([0.35, 0.6, 0.05], "b", "Not sure: b or a."),
        ([0.3, 0.25, 0.4, 0.05], "c", "Not sure: c, a or b."),
        ([0.25, 0.25, 0.25, 0.25], "?", "Nothing stands out."),
    ],
)
def test_words_for_probabilities(
    tab: Tab, probabilities: list[float], label: str, sentence: str
) -> None:
    best = probabilities.index(max(probabilities))
    given = {
        "label": "abcd"[best],
        "probability": max(probabilities),
        "probabilities": probabilities,
    }
    said = tab.run(
        "import('/page/words.js')"
        f".then(({{ verdict }}) => verdict({json.dumps(given)}, [...'abcd']))"
    )
    assert (said["label"], said["sentence"].replace("\xa0", " ")) == (label, sentence)
    assert said["doubt"] is not sentence.endswith("% sure.")


def test_shares_are_rounded_and_are_all_or_nothing_only_where_they_are(tab: Tab) -> None:
    shares = (0.9878, 0.98776, 1.0, 0.99996, 0.5, 0.0)
    said = tab.run(
        f"import('/page/words.js').then(w => {list(shares)}.map(share => w.percent(share, 2)))"
    )
    assert [word.replace("\xa0", " ") for word in said] == [
        "98.78 %", "98.78 %", "100.00 %", "over 99.99 %", "50.00 %", "0.00 %",
    ]  # fmt: skip
    short = tab.run("import('/page/words.js').then(w => [1, .996, .98, .004, 4e-4].map(w.short))")
    assert [word.replace("\xa0", " ") for word in short] == [
        ">99 %", ">99 %", "98 %", "<1 %", "0 %",
    ]  # fmt: skip


@pytest.mark.parametrize("key", ["c", "C", "Escape", "Delete", "z", "Backspace"])
def test_a_key_clears_or_takes_back_the_only_stroke(tab: Tab, key: str) -> None:
    draw_one(tab)
    assert tab.run("document.getElementById('clear').disabled") is False
    tab.press(key)
    assert text(tab, "label") == "?"
    assert tab.run("document.getElementById('clear').disabled") is True


def test_undo_takes_back_one_stroke_and_clear_all(tab: Tab) -> None:
    draw_one(tab)
    first = ink(tab)
    draw(tab, (0.1, 0.5), (0.2, 0.5), (0.3, 0.5))
    assert ink(tab) > first
    tab.press("z")
    assert ink(tab) == first
    tab.wait(ANSWERED)
    draw(tab, (0.1, 0.5), (0.2, 0.5), (0.3, 0.5))
    tab.run("document.getElementById('undo').click()")
    assert ink(tab) == first
    tab.run("document.getElementById('clear').click()")
    assert ink(tab) == 0


def test_all_is_reached_by_the_keyboard_and_the_focus_is_not_lost(tab: Tab) -> None:
    draw_one(tab)
    tab.run("document.activeElement.blur(), window.getSelection().removeAllRanges()")
    tab.run("document.body.tabIndex = -1, document.body.focus()")
    reached = []
    for _ in range(6):
        tab.press("Tab", TAB)
        reached.append(tab.run("document.activeElement.id || document.activeElement.textContent"))
    assert reached == ["canvas", "undo", "clear", "API", "Model", "Metrics"]
    tab.run("document.getElementById('clear').focus()")
    tab.call("Input.dispatchKeyEvent", type="keyDown", key="Enter", text="\r",
             windowsVirtualKeyCode=ENTER)  # fmt: skip
    assert tab.run("document.activeElement.id") == "canvas"
    assert ink(tab) == 0


def test_screen_readers_are_told_what_is_there_and_what_changes(tab: Tab) -> None:
    tree = tab.call("Accessibility.getFullAXTree")["nodes"]
    found = {
        (node["role"]["value"], node.get("name", {}).get("value"))
        for node in tree
        if "role" in node
    }
    assert {
        ("image", "Drawing area: draw a digit with mouse, finger or pen"),
        ("image", "The drawing as the network sees it, 28 by 28 pixels"),
        ("list", "Probability of each digit"),
        ("button", "Undo"),
        ("button", "Clear"),
    } <= found
    live = "[...document.querySelectorAll('[aria-live], [role=status], [role=alert], output')]"
    assert tab.run(f"{live}.map(each => [each.id, each.ariaLive])") == [["announcement", "polite"]]


@pytest.mark.parametrize("pointer", ["mouse", "pen"])
def test_a_mouse_and_a_pen_draw(tab: Tab, pointer: str) -> None:
    draw(tab, *ONE, pointer=pointer)
    tab.wait(ANSWERED)
    assert text(tab, "label") == "1"


def test_a_finger_draws_without_scrolling_and_another_changes_nothing(tab: Tab) -> None:
    tab.resize(320, 400)
    middle = [place(tab, x, y) for x, y in ONE]
    tab.touch(middle[0])
    tab.touch(middle[1])
    tab.touch(middle[1], place(tab, 0.9, 0.9))
    tab.touch(middle[2], place(tab, 0.1, 0.9))
    tab.touch(middle[3], place(tab, 0.1, 0.9))
    tab.touch()
    tab.wait(ANSWERED)
    assert text(tab, "label") == "1"
    assert tab.run("window.scrollY") == 0


def test_a_dot_is_a_stroke_too(tab: Tab) -> None:
    draw(tab, (0.5, 0.5))
    tab.wait(ANSWERED)
    assert text(tab, "label") != ""
    assert ink(tab) > 0


def test_how_large_one_draws_and_where_does_not_matter(tab: Tab) -> None:
    tab.run(REMEMBER)
    seven = [(0.0, 0.0), (0.2, 0.0), (0.4, 0.0), (0.3, 0.25), (0.2, 0.5), (0.1, 0.75)]
    sent = []
    for scale, left, top in ((1.0, 0.2, 0.1), (0.4, 0.1, 0.6)):
        tab.press("c")
        draw(tab, *((left + x * scale, top + y * scale) for x, y in seven))
        tab.wait(ANSWERED)
        sent.append(read_png(bytes(tab.run("Array.from(sent.at(-1))"))))
    assert np.abs(sent[0] - sent[1]).mean() < 2


OVERLOADED = """window.real ??= window.fetch, window.fetch = async () => new Response(
  '{"error": "too much at once"}', { status: 503, headers: { 'retry-after': '1' } })"""
GONE = "window.real ??= window.fetch, window.fetch = async () => { throw new TypeError('gone') }"


def test_an_overloaded_server_is_asked_again_by_itself(tab: Tab) -> None:
    tab.run(OVERLOADED)
    draw(tab, *ONE)
    tab.wait("document.getElementById('sentence').textContent.startsWith('Too much')")
    assert text(tab, "sentence") == "Too much at once. It is asked again in 1 s."
    assert text(tab, "announcement") == "Too much at once."
    tab.run("window.fetch = real")
    tab.wait("document.getElementById('label').textContent === '1'")
    assert tab.run("document.getElementById('again').hidden")


def test_a_server_that_is_gone_is_said_to_be_and_can_be_asked_again(tab: Tab) -> None:
    tab.run(GONE)
    draw(tab, *ONE)
    tab.wait("/does not answer/.test(document.getElementById('announcement').textContent)")
    tab.run("window.fetch = real")
    tab.run("document.getElementById('again').click()")
    tab.wait("document.getElementById('label').textContent === '1'")


def test_a_server_in_trouble_is_not_asked_for_every_stroke(tab: Tab) -> None:
    tab.run(f"{OVERLOADED}; window.asked = 0, window.refused = window.fetch,"
            "window.fetch = () => (asked++, refused())")  # fmt: skip
    draw(tab, *ONE)
    tab.wait("!document.getElementById('again').hidden")
    before = tab.run("asked")
    for _ in range(3):
        draw(tab, *ONE)
    assert tab.run("asked") <= before + 1
    tab.press("c")
    assert text(tab, "sentence") == NOTHING


def test_another_version_that_answers_is_introduced(tab: Tab) -> None:
    tab.run("""(() => {
      const real = window.fetch;
      window.paths = [];
      window.fetch = async (path, options) => {
        paths.push(path);
        const response = await real(path, options);
        if (paths.length > 1) return response;
        const answer = await response.json();
        answer.model.version = 'other';
        return new Response(JSON.stringify(answer));
      };
    })()""")
    draw_one(tab)
    assert tab.run("paths").count("/model") == 1
    assert text(tab, "label") == "1"


def test_a_key_is_what_the_browser_asks_for_as_a_password(browser: Tab, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("correct-horse-battery-staple\n")
    key.chmod(0o600)
    with serving(upright().write(tmp_path / "model"), "--api-key-file", str(key)) as server:
        there = f"127.0.0.1:{server.port}/"
        # A browser keeps what was typed, or came with an address, for those without.
        browser.call("Page.navigate", url=f"http://anyone:{key.read_text().strip()}@{there}")
        browser.wait("document.title === 'Draw a digit'")
        open_page(browser, f"http://{there}?{next(PAGES)}")
        draw_one(browser)
        assert browser.run("document.getElementById('label').textContent") == "1"


def test_what_is_sent_does_not_depend_on_the_colours(tab: Tab, address: str) -> None:
    draw_one(tab)
    light = text(tab, "announcement"), tab.run("getComputedStyle(document.body).color")
    tab.resize(1100, 760, dark=True)
    open_page(tab, f"{address}?dark")
    draw_one(tab)
    assert text(tab, "announcement") == light[0]
    assert tab.run("getComputedStyle(document.body).color") != light[1]


def test_nothing_moves_where_motion_is_not_wanted(tab: Tab) -> None:
    duration = "getComputedStyle(document.querySelector('#bars .fill')).transitionDuration"
    assert tab.run(duration) != "0s"
    tab.resize(1100, 760, still=True)
    assert tab.run(duration) == "0s"


def test_a_narrow_screen_shows_all_without_scrolling_sideways(tab: Tab) -> None:
    tab.resize(320, 640)
    draw_one(tab)
    assert tab.run("document.documentElement.scrollWidth") <= 320
    assert tab.run(f"{SIDE}.width") > 200
    bars = "document.getElementById('bars').getBoundingClientRect()"
    assert tab.run(f"{bars}.bottom") <= 640


def test_the_description_is_shown_without_the_internet(tab: Tab, address: str) -> None:
    with urllib.request.urlopen(f"{address}openapi.json") as reply:
        operations = sum(map(len, json.load(reply)["paths"].values()))
    tab.go(f"{address}docs")
    tab.wait(f"document.querySelectorAll('.opblock').length === {operations}")
