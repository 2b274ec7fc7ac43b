"""Debian's Chromium, driven by Playwright; nothing is downloaded."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    HttpCredentials,
    Page,
    sync_playwright,
)

CHROMIUM = shutil.which("chromium")
FLAGS = ("--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars")
SIZE = (1100, 760)
"""Width and height of a window, in CSS pixels."""

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs `chromium` on the path")


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start a headless Chromium for as long as the block lasts."""
    assert CHROMIUM is not None
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@contextmanager
def new_page(browser: Browser, password: HttpCredentials | None = None) -> Iterator[Page]:
    """Open a page in a context of its own; fails the test for what its console complains of.

    Args:
        browser: The browser that `chromium` gave.
        password: What is typed where a server asks for a name and a password.
    """
    width, height = SIZE
    context = browser.new_context(
        viewport={"width": width, "height": height},
        device_scale_factor=2,
        http_credentials=password,
    )
    complaints: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            complaints.append(message.text)

    page = context.new_page()
    page.on("console", note)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    context.close()
    assert complaints == []


def wait(page: Page, condition: str) -> None:
    """Return once the condition holds in the page; it is looked at in every frame.

    Playwright's own `wait_for_function` evaluates a string in the page, which its policy forbids.
    """
    page.evaluate(
        "new Promise(done => { const look = () => "
        f"({condition}) ? done(true) : requestAnimationFrame(look); look(); }})"
    )


def resize(page: Page, width: int, height: int) -> None:
    """Set the size of the window in CSS pixels."""
    page.set_viewport_size({"width": width, "height": height})


def stroke(page: Page, points: Sequence[tuple[float, float]], *, pointer: str = "mouse") -> None:
    """Draw a line through points in CSS pixels, with a mouse or a pen."""
    if pointer == "mouse":
        page.mouse.move(*points[0])
        page.mouse.down()
        for point in points[1:]:
            page.mouse.move(*point)
        page.mouse.up()
        return
    kinds = ("mousePressed", *("mouseMoved" for _ in points[1:]), "mouseReleased")
    session = page.context.new_cdp_session(page)  # Playwright itself has no pen
    for kind, (x, y) in zip(kinds, (*points, points[-1]), strict=True):
        event = {"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1}
        buttons = int(kind != "mouseReleased")
        session.send(
            "Input.dispatchMouseEvent", {**event, "buttons": buttons, "pointerType": pointer}
        )
    session.detach()


class Fingers:
    """Fingers on a page; Playwright itself can only tap."""

    def __init__(self, page: Page) -> None:
        self._session = page.context.new_cdp_session(page)
        self._count = 0

    def at(self, *fingers: tuple[float, float]) -> None:
        """Have fingers there, in CSS pixels: new ones, moved ones, or none any more."""
        points = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(fingers)]
        kind = "touchMove" if self._count and fingers else "touchEnd"
        if len(fingers) > self._count:
            kind = "touchStart"
        self._count = len(fingers)
        self._session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
