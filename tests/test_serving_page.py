"""docs/serving.md: its examples run, and it names the routes and statuses that there are."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from serve.http.openapi import describe_api
from tests.support import ROOT
from tests.support.tiny_model import TinyModel
from tests.support.wire import serving

PAGE = (ROOT / "docs/serving.md").read_text(encoding="utf-8")
PATHS = describe_api(TinyModel.random().manifest())["paths"]
DEFAULT = "http://127.0.0.1:8080"


def blocks(language: str) -> list[str]:
    """The page's blocks of a language, without those that only show a class or a reply."""
    found = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return [block for block in found if "127.0.0.1" in block or "requests" in block]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("page")
    (place / "docs").symlink_to(ROOT / "docs")
    return place


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    TinyModel.random().write(folder / "model")
    with serving(folder / "model") as served:
        yield f"http://127.0.0.1:{served.port}"


def test_its_python_runs_from_the_first_block_to_the_last(folder: Path, address: str) -> None:
    program = "\n".join(blocks("python")).replace(DEFAULT, address)
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 0, ended.stderr
    assert "(2, 10)" in ended.stdout
    assert "[1, 10]" in ended.stdout


def test_its_commands_are_answered(folder: Path, address: str) -> None:
    for block in blocks("sh"):
        script = block.replace(DEFAULT, address).replace("python3 -c", f"{sys.executable} -c")
        command = ["sh", "-ec", script.replace("curl ", "curl --fail -sS ")]
        ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
        assert ended.returncode == 0, (block, ended.stderr)
        json.loads(ended.stdout)


def test_it_names_every_route_and_no_other() -> None:
    named = set(re.findall(r"`(?:GET|POST) (/[^`]*)`", PAGE))
    there = set(PATHS)
    assert named - there - {"/docs", "/openapi.json"} == set()
    assert {path for path in there if not path.startswith("/v2")} <= named


def test_it_names_every_status() -> None:
    named = set(re.findall(r"^\| (\d{3}) \|", PAGE, re.MULTILINE))
    operations = [
        operation
        for path in PATHS.values()
        for operation in path.values()
        if isinstance(operation, dict)
    ]
    there = {status for operation in operations for status in operation["responses"]}
    assert there - {"200"} <= named
