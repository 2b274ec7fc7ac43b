"""docs/tutorial.md: its commands, typed in order, do what it says."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import ROOT

pytestmark = [pytest.mark.nightly, pytest.mark.ray, pytest.mark.timeout(900)]

PAGE = (ROOT / "docs/tutorial.md").read_text(encoding="utf-8")
ADDRESS = "http://127.0.0.1:8080"
SHORT = "--num-samples 2 --epochs 1"
"""Flags that make the first search short."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the page's own files, and the pictures beside it."""
    for kind, name in (("python", "sine.py"), ("toml", "sine.toml")):
        (text,) = re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)
        (tmp_path / name).write_text(text)
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    return tmp_path


def command(block: str) -> list[str]:
    """Return the shell that runs a block, with this interpreter."""
    text = block.replace("--name first", f"--name first {SHORT}")
    python = re.sub(r"^python\b", sys.executable, text, flags=re.MULTILINE)
    return ["sh", "-ec", python.replace("curl ", "curl --fail -sS ")]


@contextmanager
def served(block: str, folder: Path) -> Iterator[str]:
    """Run a block that serves, on a port that is free; give its address."""
    words = [sys.executable, *block.split()[1:], "--port", "0"]
    with subprocess.Popen(words, cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            found = re.search(r"http://127\.0\.0\.1:\d+", process.stderr.readline())
            assert found
            yield found[0]
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        finally:
            process.kill()


def test_its_commands_do_what_it_says(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    blocks = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    assert blocks[0].startswith("python3 -m venv")
    printed: list[str] = []

    def run(block: str) -> None:
        ended = subprocess.run(
            command(block), cwd=folder, capture_output=True, text=True, timeout=600
        )
        assert ended.returncode == 0, (block, ended.stderr)
        printed.append(ended.stdout)

    remaining = iter(blocks[1:])
    for block in remaining:
        if not block.startswith("python -m serve"):
            run(block)
            continue
        with served(block, folder) as address:
            run(next(remaining).replace(ADDRESS, address))
    _, _, prediction, _, outputs = printed
    assert len(json.loads(prediction)["predictions"][0]["probabilities"]) == 10
    zero, one = (row[0] for row in json.loads(outputs))
    assert abs(zero) < 0.1 < 0.9 < one < 1.1
