"""Waiting for what a command does, which ends where the command has ended without doing it."""

import os
import select
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

PAUSE_S = 0.02


def until(
    holds: Callable[[], bool],
    command: "subprocess.Popen[Any] | None" = None,
    log: Path | None = None,
) -> None:
    """Until that holds; the test's own timeout ends it where the command goes on without.

    Where the command's stderr is a file, `log` is that file.
    """
    while not holds():
        if command is not None and command.poll() is not None and not holds():
            told = log.read_text() if log else command.stderr.read() if command.stderr else ""
            pytest.fail(f"the command ended with status {command.returncode} before: {told}")
        time.sleep(PAUSE_S)


def until_lines(log: Path, lines: int, command: "subprocess.Popen[Any] | None" = None) -> None:
    """Until the command's trials have written that many lines to a file that they share."""
    until(lambda: log.exists() and len(log.read_text().splitlines()) >= lines, command)


def until_one_ends(pids: Iterable[int]) -> None:
    """Until one of the processes has ended."""
    poll = select.poll()
    files = []
    for pid in pids:
        try:
            files.append(os.pidfd_open(pid))
        except ProcessLookupError:
            break
    else:
        for file in files:
            poll.register(file, select.POLLIN)
        poll.poll()
    for file in files:
        os.close(file)
