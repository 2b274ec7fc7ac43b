"""The page of a search that goes on, in a real browser: what somebody new to it can read there."""

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.run import store
from app.run.journal import Journal
from app.storage.trial_files import log_path
from tests.support import ROOT
from tests.support.browser import chromium, needs_chromium, new_page, resize, wait
from tests.support.searches import write_search

pytestmark = [pytest.mark.browser, needs_chromium]
HIDDEN = """(isHidden => {
  Object.defineProperty(document, 'hidden', { value: isHidden, configurable: true });
  document.dispatchEvent(new Event('visibilitychange'));
})"""


@contextmanager
def watching(runs: Path, *arguments: str) -> Iterator[str]:
    """Run `app.runs watch`, and give the address that it names."""
    command = [sys.executable, "-m", "app.runs", "watch", *arguments, "--port", "0"]
    with subprocess.Popen(
        [*command, "--runs", str(runs)], cwd=ROOT, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        try:
            said = process.stderr.readline()
            found = re.fullmatch(r"watch it at (http://127\.0\.0\.1:\d+)/\S*\n", said)
            assert found, said
            yield found[1]
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == -signal.SIGTERM
        finally:
            process.kill()


def test_a_search_that_goes_on_answers_what_a_newcomer_asks(tmp_path: Path) -> None:
    write_search(tmp_path / "old", 8)
    folder = tmp_path / "new"
    left = write_search(folder, 12, error="ValueError: <b>too far</b>", until_s=70)
    log_path(folder, "007").parent.mkdir()
    log_path(folder, "007").write_text("first line\n")
    record = store.empty_record(folder)
    journal = Journal(folder, record, must_exist=True)
    # Which trial is best, by how much, what mattered, what failed and why, how long it takes, and
    # how to get a prediction: while it goes on.
    with watching(tmp_path) as address, chromium() as browser, new_page(browser) as page:
        page.goto(address)
        assert page.locator("tbody tr").count() == 2
        page.get_by_role("link", name="new").click()
        page.wait_for_url(f"{address}/runs/new")
        zoomed = "document.querySelector('figure[data-title=\"Learning curves\"] .plot')"
        wait(page, f"{zoomed}?.querySelector('.main-svg') != null")
        best = store.read(folder).result["best"]["trial_id"]
        assert f"trial {best}" in page.inner_text("#winner")
        assert "Better by" in page.inner_text(".findings")
        assert page.inner_text("#matters") == "lr"
        assert "ValueError: <b>too far</b>" in page.inner_text("#failed")
        assert re.fullmatch(r"about .+ left", page.inner_text("#left"))
        assert page.inner_text("#predict").startswith("python -m serve new --runs ")
        page.get_by_label("log scale").first.check()
        page.evaluate(f"{HIDDEN}(true)")
        for event in left:
            fields = {name: v for name, v in event.items() if name not in ("event", "run_seconds")}
            journal.append(event["event"], **fields)
        journal.close()
        page.evaluate(f"{HIDDEN}(false)")
        wait(page, "document.querySelector('.status').innerText === 'completed'")
        wait(page, f"{zoomed}._fullLayout.yaxis.type === 'log'")
        assert page.evaluate("document.activeElement.type") == "checkbox"
        assert page.locator("#left").count() == 0
        assert page.locator(".trials tbody tr").count() == 12
        page.locator(".trials a", has_text="007").focus()
        page.keyboard.press("Enter")
        page.wait_for_url(f"{address}/runs/new/trials/007")
        wait(page, "document.getElementById('log').textContent === 'first line\\n'")
        with log_path(folder, "007").open("a") as log:
            log.write("Zürich")
        wait(page, "document.getElementById('log').textContent === 'first line\\nZürich'")
        log_path(folder, "007").write_text("anew")
        wait(page, "document.getElementById('log').textContent === 'anew'")
        resize(page, 390, 800)
        wait(page, "document.documentElement.scrollWidth <= 390")
        # A browser has six connections to a server, of which hidden pages hold none.
        for _ in range(6):
            hidden = page.context.new_page()
            hidden.add_init_script(f"{HIDDEN}(true)")
            hidden.goto(f"{address}/runs/new/trials/007")
        page.goto(address)
        page.get_by_label("compare old").check()
        page.get_by_label("compare new").check()
        page.get_by_role("button").click()
        page.wait_for_url(f"{address}/compare?*")
        assert "num_samples" in page.inner_text("main")
        other = page.context.new_page()
        other.goto(f"{address}/runs/old")
        shutil.rmtree(tmp_path / "old")
        wait(other, "/^This run is gone/.test(document.getElementById('note').innerText)")
