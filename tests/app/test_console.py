"""The console command `tuneport`: the three commands by one name, and their completion."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from app.run.result_file import RESULT
from tests.support import ROOT


def tuneport(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "app", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


def test_it_is_installed_as_a_command() -> None:
    table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert table["project"]["scripts"] == {"tuneport": "app.__main__:main"}


def test_alone_it_lists_the_three() -> None:
    ended = tuneport()
    assert (ended.returncode, ended.stderr) == (0, "")
    assert [line.split()[0] for line in ended.stdout.splitlines() if line.startswith("    ")] == [
        *("tune", "runs", "serve")
    ]


@pytest.mark.parametrize("command", [(), ("tune",), ("runs",), ("serve",)])
def test_each_says_its_version(command: tuple[str, ...]) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    ended = tuneport(*command, "--version")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == f"tuneport {version['version']}\n"


def test_the_rest_of_the_words_is_the_commands(tmp_path: Path) -> None:
    ended = tuneport("runs", "show", "absent", "--runs", str(tmp_path))
    assert ended.returncode == 1
    assert ended.stderr == f"error: no run 'absent' in {tmp_path}; there is none\n"


def test_an_unknown_command_is_status_2() -> None:
    ended = tuneport("dance")
    assert ended.returncode == 2
    assert "invalid choice: 'dance'" in ended.stderr


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("tuneport r", {"runs"}),
        ("tuneport runs sh", {"show"}),
        ("tuneport runs show --ep", {"--epochs"}),
        ("tuneport runs list --status unr", {"unreadable"}),
        ("tuneport runs show --runs {place} mni", {"mnist-1"}),
        ("tuneport tune --runs {place} --resume m", {"mnist-1"}),
        ("tuneport tune --early-stopping a", {"asha"}),
        ("tuneport tune --search ba", {"bayesian"}),
        ("tuneport serve --fol", {"--follow"}),
    ],
)
def test_a_shell_completes_words(line: str, found: set[str], tmp_path: Path) -> None:
    (tmp_path / "runs" / "mnist-1").mkdir(parents=True)
    (tmp_path / "runs" / "mnist-1" / RESULT).touch()
    line = line.format(place=tmp_path / "runs")
    answer = tmp_path / "answer"
    tuneport(
        _ARGCOMPLETE="1",
        _ARGCOMPLETE_IFS="\n",
        _ARGCOMPLETE_SUPPRESS_SPACE="1",
        _ARGCOMPLETE_STDOUT_FILENAME=str(answer),
        COMP_LINE=line,
        COMP_POINT=str(len(line)),
    )
    assert {word.strip() for word in answer.read_text().split("\n")} - {""} == found
