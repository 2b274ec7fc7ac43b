"""Make the README's pictures anew from one run: `python -m tests.support.pictures runs/first`.

`docs/terminal.svg` is the live table when most trials trained at once, for the last time, by the
run's journal; `docs/report.png` is its report, and `docs/page.png` the drawing page with its model
and a digit that is drawn by the mouse. Each names the run and its model, so that a test sees that
they are of one run. Needs `chromium` on the path.
"""

import argparse
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, PngImagePlugin
from playwright.sync_api import Browser
from rich.console import Console

from app.engine.live_table import RunTable
from app.engine.plan import RunState
from app.engine.time_left import TimeLeft
from app.experiment.run_folder import JOURNAL
from app.report import REPORT
from app.run import journal_reader, store
from app.run.layout import MODEL
from app.run.status import TrialStatus
from serve.models.manifest import MANIFEST
from tests.support import ROOT
from tests.support.browser import chromium, wait
from tests.support.sheet import ANSWERED, draw, open_page, served
from tests.support.strokes import STYLES

TERMINAL, REPORT_PICTURE, PAGE = (
    ROOT / f"docs/{name}" for name in ("terminal.svg", "report.png", "page.png")
)
COLUMNS = 92
"""Columns of the terminal."""
REPORT_SIZE, PAGE_SIZE = (1100, 1000), (1100, 760)
"""Width and height of a window in CSS pixels."""
SCALE = 1.5
"""Pixels of a picture for each CSS pixel."""
COLOURS = 128
"""Colours of a picture."""
DIGIT = STYLES[7][1]
"""A seven of two strokes, drawn small and off the centre."""


def main() -> None:
    """Make all three pictures of the run that is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of a run that ended with a model")
    run = parser.parse_args().run.absolute()
    mark = describe(run)
    TERMINAL.write_text(f"{draw_terminal(run)}<!-- {mark} -->\n", encoding="utf-8")
    with chromium() as browser:
        write_png(REPORT_PICTURE, screenshot_report(browser, run), mark)
        write_png(PAGE, screenshot_page(browser, run), mark)


def describe(run: Path) -> str:
    """Name a run and its model."""
    manifest = json.loads((run / MODEL / MANIFEST).read_bytes())
    return f"run {run.name}, trial {manifest['trial_id']}, model {manifest['version']}"


def draw_terminal(run: Path) -> str:
    """Draw the live table when most trials trained at once, for the last time."""
    picture, most = "", 0
    for table in tables(run):
        trials = table.plan.record.trials.values()
        running = sum(trial.status == TrialStatus.RUNNING for trial in trials)
        if running >= most:
            most = running
            console = Console(file=io.StringIO(), record=True, width=COLUMNS)
            console.print(table)
            title = f"python -m app.tune --name {run.name}"
            picture = console.export_svg(title=title, unique_id="terminal")
    return picture


@dataclass
class Clock:
    """A clock that shows the time of the latest event."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def tables(run: Path) -> Iterator[RunTable]:
    """Replay a run; give its table after each event of a trial."""
    experiment = store.read_experiment(store.read(run))
    state = RunState(experiment, store.new_record(run, experiment))
    clock = Clock()
    table = RunTable(state, TimeLeft(state, clock))
    for event in journal_reader.read_events(run / JOURNAL):
        clock.now = event["run_seconds"]
        state.record.apply(event)
        if trial := state.record.trials.get(event.get("trial_id", "")):
            table.time_left.update(event["event"], trial)
            yield table


def screenshot_report(browser: Browser, run: Path) -> bytes:
    """Take the first screen of a run's report."""
    width, height = REPORT_SIZE
    page = browser.new_page(viewport={"width": width, "height": height}, device_scale_factor=1)
    page.goto((run / REPORT).as_uri())
    page.wait_for_selector(".main-svg")
    return page.screenshot()


def screenshot_page(browser: Browser, run: Path) -> bytes:
    """Take the drawing page after a digit was drawn."""
    width, height = PAGE_SIZE
    page = browser.new_page(viewport={"width": width, "height": height}, device_scale_factor=SCALE)
    with served(run / MODEL) as address:
        open_page(page, address)
        for points in DIGIT:
            draw(page, *((0.5 + 0.6 * x, 0.12 + 0.55 * y) for x, y in points))
        wait(page, ANSWERED)
        page.evaluate("Promise.all(document.getAnimations().map(motion => motion.finished))")
        return page.screenshot()


def write_png(path: Path, screenshot: bytes, mark: str) -> None:
    """Write a screenshot with few colours, which makes it a third as large."""
    info = PngImagePlugin.PngInfo()
    info.add_text("Source", mark)
    picture = Image.open(io.BytesIO(screenshot)).convert("RGB").quantize(COLOURS)
    picture.save(path, optimize=True, pnginfo=info)


if __name__ == "__main__":
    main()
