"""Cost of the page of a search that goes on: `python -m tests.benchmarks.watch`.

Most of 1,000 trials of 6 epochs have ended; the others report every half a second. Measured are
the time until facts and figures are there, the heap of the page's scripts after garbage is
collected, and the share of a core that the server takes while nobody looks and while one does.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page

from app.run import store
from app.run.events import Event
from app.run.journal import Journal
from tests.benchmarks.meter import TICKS, conditions
from tests.support import ROOT
from tests.support.browser import chromium, new_page, wait
from tests.support.searches import write_search

REPORT_S = 0.5
DRAWN = "document.querySelector('#figures .plot .main-svg') !== null"
LAST = "document.querySelector('#figures figure:last-child .main-svg') !== null"


def main() -> None:
    """Print what the page and its server cost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=30.0, help="of each share of a core")
    arguments = parser.parse_args()
    print(conditions("starlette", "uvicorn", "playwright"))
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "search"
        until_s = arguments.trials * arguments.epochs * 1.1
        left = write_search(run, arguments.trials, epochs=arguments.epochs, until_s=until_s)
        print(f"{arguments.trials} trials, of whose events {len(left)} are left")
        with reporting(run, left), serving(run) as (address, process):
            print(f"nobody looks: {share(process, arguments.seconds):.2%} of a core")
            with chromium() as browser, new_page(browser) as page:
                for visit in ("first, with imports", "second", "third"):
                    facts, figures = visit_s(page, address)
                    print(f"{visit}: facts after {facts:.2f} s, first figures {figures:.2f} s")
                print(f"all others as they are scrolled to: {scroll_s(page):.2f} s")
                print(f"heap: {heap_mb(page):.0f} MB")
                print(f"one looks: {share(process, arguments.seconds):.2%} of a core")
                print(f"heap after that: {heap_mb(page):.0f} MB")
            print(f"nobody looks any more: {share(process, arguments.seconds):.2%} of a core")


@contextmanager
def reporting(run: Path, left: Sequence[Event]) -> Iterator[None]:
    """Go on with the search during the block: an event every half a second."""
    journal = Journal(run, store.empty_record(run), must_exist=True)
    over = threading.Event()

    def report() -> None:
        for event in left:
            if over.wait(REPORT_S):
                return
            fields = {name: v for name, v in event.items() if name not in ("event", "run_seconds")}
            journal.append(event["event"], **fields)

    thread = threading.Thread(target=report)
    thread.start()
    yield
    over.set()
    thread.join()
    journal.close()


@contextmanager
def serving(run: Path) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """Serve the page, and give its address and the process."""
    command = [sys.executable, "-m", "app.runs", "watch", run.name, "--port", "0"]
    with subprocess.Popen(
        [*command, "--runs", str(run.parent)], cwd=ROOT, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        found = re.search(r"http://\S+", process.stderr.readline())
        assert found is not None
        yield found[0], process
        process.terminate()


def share(process: "subprocess.Popen[str]", seconds: float) -> float:
    """Return the part of a core that a process takes over some seconds."""
    began, used = time.perf_counter(), cpu_s(process)
    time.sleep(seconds)
    return (cpu_s(process) - used) / (time.perf_counter() - began)


def cpu_s(process: "subprocess.Popen[str]") -> float:
    """Return the processor's seconds that a process has taken."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def visit_s(page: Page, address: str) -> tuple[float, float]:
    """Load the page, and return the seconds until its facts and the figures in sight are there."""
    page.goto(address, wait_until="commit")
    wait(page, DRAWN)
    drawn = page.evaluate("performance.now()")
    facts = page.evaluate("performance.getEntriesByType('navigation')[0].domInteractive")
    return facts / 1000, drawn / 1000


def scroll_s(page: Page) -> float:
    """Scroll to each figure in turn, and return the seconds until the last is drawn."""
    began = time.perf_counter()
    for plot in page.locator("#figures .plot").all():
        plot.scroll_into_view_if_needed()
    wait(page, LAST)
    return time.perf_counter() - began


def heap_mb(page: Page) -> float:
    """Return the megabytes of the page's JavaScript objects."""
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    used = session.send("Runtime.getHeapUsage")["usedSize"]
    session.detach()
    return float(used) / 1e6


if __name__ == "__main__":
    main()
