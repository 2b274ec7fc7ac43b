"""A headless Chromium driven over its debugging pipe, with nothing to install but Chromium."""

import base64
import fcntl
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-pipe"),
)


class Tab:
    """One page of the browser."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._write, self._read = to_browser, from_browser
        self._pending = b""
        self._number = 0
        self._fingers = 0
        self.messages: list[str] = []
        """What the page has written to its console, and what was refused to it."""
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """A command of the DevTools protocol, and its result."""
        return self._call(method, self._session, **parameters)

    def _call(
        self, method: str, session: str | None = None, **parameters: object
    ) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            if answer.get("method") in {"Log.entryAdded", "Runtime.exceptionThrown"}:
                self.messages.append(json.dumps(answer["params"]))
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._pending:
            part = os.read(self._read, 1 << 16)
            assert part, "the browser has gone"
            self._pending += part
        message, _, self._pending = self._pending.partition(b"\0")
        decoded: dict[str, Any] = json.loads(message)
        return decoded

    def close(self) -> None:
        """End the browser, which leaves its profile whole."""
        self._call("Browser.close")

    def run(self, script: str) -> Any:
        """The value of a script, awaited."""
        result = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait(self, condition: str) -> None:
        """Return once the condition holds in the page; it is looked at in every frame."""
        self.run(
            "new Promise(done => { const look = () => "
            f"({condition}) ? done(true) : requestAnimationFrame(look); look(); }})"
        )

    def go(self, url: str) -> None:
        """Load a page, and return once it and what it loads are there."""
        self.call("Page.navigate", url=url)
        self.wait(f"location.href === {json.dumps(url)} && document.readyState === 'complete'")

    def resize(self, width: int, height: int, *, dark: bool = False, still: bool = False) -> None:
        """Set the size of the window in CSS pixels, its colours, and whether they may move."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=2, mobile=False,
        )  # fmt: skip
        wanted = {
            "prefers-color-scheme": "dark" if dark else "light",
            "prefers-reduced-motion": "reduce" if still else "no-preference",
        }
        features = [{"name": name, "value": value} for name, value in wanted.items()]
        self.call("Emulation.setEmulatedMedia", features=features)

    def mouse(self, kind: str, x: float, y: float, *, pointer: str = "mouse") -> None:
        """Move the mouse or a pen, press it or release it."""
        down = int(kind != "mouseReleased")
        self.call(
            "Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=down,
            clickCount=1, pointerType=pointer,
        )  # fmt: skip

    def stroke(self, points: list[tuple[float, float]], *, pointer: str = "mouse") -> None:
        """Draw a line through points in CSS pixels."""
        self.mouse("mousePressed", *points[0], pointer=pointer)
        for x, y in points[1:]:
            self.mouse("mouseMoved", x, y, pointer=pointer)
        self.mouse("mouseReleased", *points[-1], pointer=pointer)

    def touch(self, *fingers: tuple[float, float]) -> None:
        """Have fingers there, in CSS pixels: new ones, moved ones, or none any more."""
        points = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(fingers)]
        kind = "touchMove" if self._fingers and fingers else "touchEnd"
        if len(fingers) > self._fingers:
            kind = "touchStart"
        self._fingers = len(fingers)
        self.call("Input.dispatchTouchEvent", type=kind, touchPoints=points)

    def press(self, key: str, code: int = 0) -> None:
        """Press a key, which has a code where it writes nothing, and let it go."""
        text = {"text": key} if len(key) == 1 else {}
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **text
            )

    def screenshot(self) -> bytes:
        """The window as PNG."""
        data: str = self.call("Page.captureScreenshot", format="png")["data"]
        return base64.b64decode(data)


@contextmanager
def chromium(binary: str, profile: Path) -> Iterator[Tab]:
    """A browser with an empty profile, and a tab in it, for as long as the block lasts."""
    commands, to_browser = os.pipe()
    from_browser, answers = os.pipe()
    # Chromium has its pipes at 3 and 4, so that ours must be out of the way.
    high = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (commands, answers)]

    def connect() -> None:
        os.dup2(high[0], 3)
        os.dup2(high[1], 4)

    process = subprocess.Popen(
        [binary, *FLAGS, f"--user-data-dir={profile}"],
        preexec_fn=connect,
        close_fds=False,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    for end in (commands, answers, *high):
        os.close(end)
    try:
        tab = Tab(to_browser, from_browser)
        yield tab
        tab.close()
        process.wait()
    finally:
        process.kill()
        process.wait()
        os.close(to_browser)
        os.close(from_browser)
