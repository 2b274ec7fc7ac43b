"""The drawing page in a real browser, against a real server."""

import base64
import io
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, HttpCredentials, Page, Route

from serve.formats.drawing import read_picture
from tests.support.browser import Fingers, chromium, needs_chromium, new_page, resize, wait
from tests.support.sheet import ANSWERED, SIDE, draw, open_page, place, served, text
from tests.support.tiny_model import TinyModel
from tests.support.wire import serving
from trainables import data

NOTHING = "Nothing drawn yet; a digit is read as you draw it."
ONE = ((0.5, 0.2), (0.5, 0.4), (0.5, 0.6), (0.5, 0.8))

pytestmark = [
    pytest.mark.browser,
    needs_chromium,
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
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    with new_page(browser) as page:
        open_page(page, address)
        yield page


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


REMEMBER = """(() => {
  const real = window.fetch;
  [window.sent, window.now, window.most] = [[], 0, 0];
  window.fetch = async (path, options) => {
    sent.push(new Uint8Array(await options.body.arrayBuffer()));
    most = Math.max(most, ++now);
    try { return await real(path, options) } finally { now-- }
  };
})()"""


def test_the_page_shows_the_networks_input(page: Page) -> None:
    page.evaluate(REMEMBER)
    draw_one(page)
    sent = read_picture(bytes(page.evaluate("Array.from(sent.at(-1))")))
    assert np.array_equal(pixels(page, "seen")[..., 0], sent)
    page.keyboard.press("c")
    assert not pixels(page, "seen").any()


def test_one_request_is_made_at_a_time_and_the_last_is_of_the_whole_drawing(page: Page) -> None:
    page.evaluate(REMEMBER)
    points = [(0.5, 0.2 + step / 100) for step in range(60)]
    draw(page, *points)
    wait(page, ANSWERED)
    assert page.evaluate("most") == 1
    assert 1 <= page.evaluate("sent.length") <= len(points) + 1
    whole = f"import('/page/paper.js').then(({{ picture }}) => picture([{json.dumps(points)}]))"
    expected = page.evaluate(
        f"{whole}.then(blob => blob.arrayBuffer()).then(b => [...new Uint8Array(b)])"
    )
    sent = read_picture(bytes(page.evaluate("Array.from(sent.at(-1))")))
    assert np.abs(sent - read_picture(bytes(expected))).max() <= 2


def test_a_late_answer_to_a_drawing_that_is_gone_is_dropped(page: Page) -> None:
    page.evaluate("""(() => {
      const real = window.fetch;
      window.pending = [];
      window.fetch = (path, { signal, ...options }) =>
        new Promise(done => pending.push(async () => done(await real(path, options))));
    })()""")
    draw(page, *ONE)
    wait(page, "pending.length === 1")
    page.keyboard.press("c")
    draw(page, (0.2, 0.5), (0.4, 0.5), (0.6, 0.5), (0.8, 0.5))
    page.evaluate("pending[0]()")
    wait(page, "pending.length === 2")
    assert text(page, "label") == "?"
    page.evaluate("pending[1]()")
    wait(page, ANSWERED)
    assert text(page, "announcement") == "Not sure: 4 or 9."


def test_an_empty_drawing_is_not_sent(page: Page) -> None:
    draw_one(page)
    page.evaluate(REMEMBER)
    page.keyboard.press("c")
    assert text(page, "sentence") == text(page, "announcement") == NOTHING
    assert page.evaluate("[...document.querySelectorAll('.best')].length") == 0
    assert ink(page) == 0
    assert page.evaluate("sent.length") == 0


def test_an_uncertain_answer_is_marked(page: Page) -> None:
    draw(page, (0.2, 0.5), (0.4, 0.5), (0.6, 0.5), (0.8, 0.5))
    wait(page, ANSWERED)
    assert text(page, "label") in {"4", "9"}
    assert text(page, "sentence") == "Not sure: 4 or 9."
    assert page.evaluate("document.body.classList.contains('doubt')")
    assert text(page, "announcement") == "Not sure: 4 or 9."


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
    page: Page, probabilities: list[float], label: str, sentence: str
) -> None:
    best = probabilities.index(max(probabilities))
    prediction = {
        "label": "abcd"[best],
        "probability": max(probabilities),
        "probabilities": probabilities,
    }
    result = page.evaluate(
        "import('/page/words.js')"
        f".then(({{ verdict }}) => verdict({json.dumps(prediction)}, [...'abcd']))"
    )
    assert (result["label"], result["sentence"].replace("\xa0", " ")) == (label, sentence)
    assert result["doubt"] is not sentence.endswith("% sure.")


def test_percentages_are_rounded_but_never_to_all_or_nothing(page: Page) -> None:
    shares = (0.9878, 0.98776, 1.0, 0.99996, 0.5, 0.0)
    result = page.evaluate(
        f"import('/page/words.js').then(w => {list(shares)}.map(share => w.percent(share, 2)))"
    )
    assert [word.replace("\xa0", " ") for word in result] == [
        "98.78 %", "98.78 %", "100.00 %", "over 99.99 %", "50.00 %", "0.00 %",
    ]  # fmt: skip
    short = page.evaluate(
        "import('/page/words.js').then(w => [1, .996, .98, .004, 4e-4].map(w.short))"
    )
    assert [word.replace("\xa0", " ") for word in short] == [
        ">99 %", ">99 %", "98 %", "<1 %", "0 %",
    ]  # fmt: skip


@pytest.mark.parametrize("key", ["c", "C", "Escape", "Delete", "z", "Backspace"])
def test_a_key_clears_or_takes_back_the_only_stroke(page: Page, key: str) -> None:
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


def test_screen_readers_are_told_what_is_there_and_what_changes(page: Page) -> None:
    for name in (
        "Drawing area: draw a digit with mouse, finger or pen",
        "The drawing as the network sees it, 28 by 28 pixels",
    ):
        assert page.get_by_role("img", name=name, exact=True).count() == 1
    assert page.get_by_role("list", name="Probability of each digit").count() == 1
    assert page.get_by_role("button", name="Undo").count() == 1
    assert page.get_by_role("button", name="Clear").count() == 1
    live = "[...document.querySelectorAll('[aria-live], [role=status], [role=alert], output')]"
    assert page.evaluate(f"{live}.map(element => [element.id, element.ariaLive])") == [
        ["announcement", "polite"]
    ]


@pytest.mark.parametrize("pointer", ["mouse", "pen"])
def test_a_mouse_and_a_pen_draw(page: Page, pointer: str) -> None:
    draw(page, *ONE, pointer=pointer)
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


def test_each_bar_is_a_meter_with_a_name_and_a_value(page: Page) -> None:
    assert page.get_by_role("meter").count() == 10
    seven = page.get_by_role("meter", name="7", exact=True)
    assert seven.get_attribute("aria-valuetext") == "0\xa0%"
    draw_one(page)
    one = page.get_by_role("meter", name="1", exact=True)
    assert one.get_attribute("aria-valuetext") == ">99\xa0%"
    assert float(one.get_attribute("aria-valuenow") or 0) == pytest.approx(1, abs=1e-3)


def test_the_models_version_is_a_remark_and_no_headline(page: Page) -> None:
    version = str(page.evaluate("fetch('model').then(reply => reply.json())")["version"])
    assert version not in str(page.evaluate("document.body.innerText"))
    assert page.get_by_title(f"Version {version}").count() == 1


@pytest.mark.parametrize("way", ["button", "key"])
def test_a_sample_can_be_drawn_without_a_pointer(page: Page, way: str) -> None:
    if way == "button":
        page.get_by_role("button", name="Sample").focus()
        page.keyboard.press("Enter")
        wait(page, ANSWERED)
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


@pytest.mark.parametrize("kind", ["paste", "drop"])
@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_a_picture_is_pasted_or_dropped(page: Page, kind: str, form: str) -> None:
    picture = np.full((700, 300, 3), 255, np.uint8)
    picture[100:600, 120:180] = 0
    file = io.BytesIO()
    Image.fromarray(picture).save(file, form)
    hand_over(page, kind, file.getvalue(), f"image/{form.lower()}")
    wait(page, "document.getElementById('label').textContent === '1'")
    assert ink(page) > 0
    draw(page, (0.2, 0.5), (0.4, 0.5), (0.6, 0.5), (0.8, 0.5))
    wait(page, "document.getElementById('announcement').textContent === 'Not sure: 4 or 9.'")
    hand_over(page, kind, file.getvalue(), f"image/{form.lower()}")
    wait(page, "document.getElementById('label').textContent === '1'")
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


def test_the_page_and_the_api_work_below_a_prefix(page: Page, address: str) -> None:
    def strip(route: Route) -> None:
        path = route.request.url.removeprefix(f"{address}below/it/")
        route.fulfill(response=route.fetch(url=f"{address}{path}"))

    page.route(f"{address}below/it/**", strip)
    page.route(lambda url: "/below/it/" not in url, lambda route: route.abort())
    open_page(page, f"{address}below/it/")
    draw_one(page)
    assert text(page, "label") == "1"
    page.get_by_text("API").click()
    wait(page, "document.querySelectorAll('.opblock').length > 0")


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


OVERLOADED = """void (window.real ??= window.fetch, window.fetch = async () => new Response(
  '{"error": "too much at once"}', { status: 503, headers: { 'retry-after': '1' } }))"""
GONE = """void (window.real ??= window.fetch,
  window.fetch = async () => { throw new TypeError('gone') })"""


def test_an_overloaded_server_is_retried_automatically(page: Page) -> None:
    page.evaluate(OVERLOADED)
    draw(page, *ONE)
    wait(page, "document.getElementById('sentence').textContent.startsWith('Too much')")
    assert text(page, "sentence") == "Too much at once. It is asked again in 1 s."
    assert text(page, "announcement") == "Too much at once."
    page.evaluate("void (window.fetch = real)")
    wait(page, "document.getElementById('label').textContent === '1'")
    assert page.evaluate("document.getElementById('again').hidden")


def test_a_lost_server_is_reported_and_can_be_retried(page: Page) -> None:
    page.evaluate(GONE)
    draw(page, *ONE)
    wait(page, "/does not answer/.test(document.getElementById('announcement').textContent)")
    page.evaluate("void (window.fetch = real)")
    page.evaluate("document.getElementById('again').click()")
    wait(page, "document.getElementById('label').textContent === '1'")


def test_strokes_do_not_retry_a_failing_server_early(page: Page) -> None:
    page.evaluate(f"{OVERLOADED}; window.requests = 0; window.refused = window.fetch;"
            "void (window.fetch = () => (requests++, refused()))")  # fmt: skip
    draw(page, *ONE)
    wait(page, "!document.getElementById('again').hidden")
    before = page.evaluate("requests")
    for _ in range(3):
        draw(page, *ONE)
    assert page.evaluate("requests") <= before + 1
    page.keyboard.press("c")
    assert text(page, "sentence") == NOTHING


def test_a_new_version_that_answers_is_shown(page: Page) -> None:
    page.evaluate("""(() => {
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
    draw_one(page)
    assert page.evaluate("paths").count("model") == 1
    assert text(page, "label") == "1"


def test_a_key_is_what_the_browser_asks_for_as_a_password(browser: Browser, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("correct-horse-battery-staple\n")
    key.chmod(0o600)
    password: HttpCredentials = {"username": "anyone", "password": key.read_text().strip()}
    with (
        serving(upright().write(tmp_path / "model"), "--api-key-file", str(key)) as server,
        new_page(browser, password) as page,
    ):
        open_page(page, f"http://127.0.0.1:{server.port}/")
        draw_one(page)
        assert text(page, "label") == "1"


def test_the_drawing_sent_does_not_depend_on_the_colour_scheme(page: Page, address: str) -> None:
    draw_one(page)
    light = text(page, "announcement"), page.evaluate("getComputedStyle(document.body).color")
    page.emulate_media(color_scheme="dark")
    open_page(page, f"{address}?dark")
    draw_one(page)
    assert text(page, "announcement") == light[0]
    assert page.evaluate("getComputedStyle(document.body).color") != light[1]


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


def test_swagger_ui_is_shown_without_the_internet(page: Page, address: str) -> None:
    with urllib.request.urlopen(f"{address}openapi.json") as reply:
        operations = sum(map(len, json.load(reply)["paths"].values()))
    page.goto(f"{address}docs")
    wait(page, f"document.querySelectorAll('.opblock').length === {operations}")
