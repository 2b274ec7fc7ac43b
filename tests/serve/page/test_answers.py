"""Answers on the drawing page: their words, what comes late, and servers that do not answer."""

import json
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, HttpCredentials, Page, Route

from serve.formats.drawing import read_picture
from tests.support.browser import needs_chromium, new_page, wait
from tests.support.sheet import (
    ANSWERED,
    NOTHING,
    ONE,
    REMEMBER,
    draw,
    draw_one,
    open_page,
    text,
    upright,
)
from tests.support.wire import serving

pytestmark = [pytest.mark.browser, needs_chromium]


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


def test_an_uncertain_answer_is_marked(page: Page) -> None:
    draw(page, (0.2, 0.5), (0.4, 0.5), (0.6, 0.5), (0.8, 0.5))
    wait(page, ANSWERED)
    assert text(page, "label") in {"4", "9"}
    assert text(page, "sentence") == "Not sure: 4 or 9."
    assert page.evaluate("document.body.classList.contains('doubt')")
    assert text(page, "announcement") == "Not sure: 4 or 9."


VERDICTS = (
    ([0.9878, 0.0122], "a", "98.8 % sure."),
    ([0.0002, 0.99951, 0.00029], "b", "Over 99.9 % sure."),
    ([1.0, 0.0], "a", "Over 99.9 % sure."),
    ([0.9, 0.1], "a", "90.0 % sure."),
    ([0.35, 0.6, 0.05], "b", "Not sure: b or a."),
    ([0.3, 0.25, 0.4, 0.05], "c", "Not sure: c, a or b."),
    ([0.25, 0.25, 0.25, 0.25], "?", "Nothing stands out."),
)
"""Probabilities, and the label and the sentence for them."""


def test_words_for_probabilities(page: Page) -> None:
    for probabilities, label, sentence in VERDICTS:
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


def test_each_bar_is_a_meter_with_a_name_and_a_value(page: Page) -> None:
    assert page.get_by_role("meter").count() == 10
    seven = page.get_by_role("meter", name="7", exact=True)
    assert seven.get_attribute("aria-valuetext") == "0\xa0%"
    draw_one(page)
    one = page.get_by_role("meter", name="1", exact=True)
    assert one.get_attribute("aria-valuetext") == ">99\xa0%"
    assert float(one.get_attribute("aria-valuenow") or 0) == pytest.approx(1, abs=1e-3)


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


def test_the_models_version_is_a_remark_and_no_headline(page: Page) -> None:
    version = str(page.evaluate("fetch('model').then(reply => reply.json())")["version"])
    assert version not in str(page.evaluate("document.body.innerText"))
    assert page.get_by_title(f"Version {version}").count() == 1


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


def test_swagger_ui_is_shown_without_the_internet(page: Page, address: str) -> None:
    with urllib.request.urlopen(f"{address}openapi.json") as reply:
        operations = sum(map(len, json.load(reply)["paths"].values()))
    page.goto(f"{address}docs")
    wait(page, f"document.querySelectorAll('.opblock').length === {operations}")
