"""The report in a real browser, opened from the disk without a network."""

from pathlib import Path

import pytest

from app.report.page import write_report
from app.run import store
from tests.support.browser import chromium, needs_chromium, new_page, resize, wait
from tests.support.searches import write_search

pytestmark = [pytest.mark.browser, needs_chromium]
DRAWN = "document.querySelectorAll('#figures .plot:has(.main-svg)').length"


def test_a_report_shows_the_search_from_the_disk_alone(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    write_search(folder, 10, error="ValueError: <img src=x onerror=alert(1)>")
    file = write_report(store.read(folder))
    with chromium() as browser, new_page(browser) as page:
        page.goto(file.as_uri())
        wait(page, f"{DRAWN} > 0")
        assert "0.1437" in page.inner_text("#winner strong")
        assert "Better by" in page.inner_text(".findings")
        assert "<img src=x onerror=alert(1)>" in page.inner_text("#failed")
        assert page.locator("img").count() == 0
        curves = page.locator("figure[data-title='Learning curves']")
        assert curves.locator(".legendtext").all_text_contents()[-1] == "best: trial 007"
        curves.get_by_label("log scale").check()
        axis = "document.querySelector('#figures .plot')._fullLayout.yaxis.type"
        assert page.evaluate(axis) == "log"
        light = page.evaluate("getComputedStyle(document.querySelector('.infolayer text')).fill")
        page.emulate_media(color_scheme="dark")
        dark = page.evaluate("getComputedStyle(document.querySelector('.infolayer text')).fill")
        assert light != dark
        assert page.evaluate(DRAWN) < page.locator(".plot").count()  # the others are far below
        page.locator(".plot").last.scroll_into_view_if_needed()
        wait(page, "document.querySelector('figure:last-child .main-svg') !== null")
        resize(page, 390, 800)
        wait(page, "document.documentElement.scrollWidth <= 390")
        assert page.pdf(format="A4").startswith(b"%PDF")
        assert page.evaluate(DRAWN) == page.locator(".plot").count()
