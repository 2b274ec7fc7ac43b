"""Ports of the page: one that is asked for, and one near it."""

import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from app import runs
from app.run.store import StoreError
from app.watch.server import listen, listen_near
from tests.support import ROOT


def port_of(listener: socket.socket) -> int:
    return int(listener.getsockname()[1])


def test_a_port_that_is_taken_is_refused_or_passed_over() -> None:
    with listen(0) as first:
        port = port_of(first)
        with pytest.raises(StoreError, match=f"^--port: {port} is in use on 127.0.0.1; choose"):
            listen(port)
        with listen_near(port) as near:
            assert port_of(near) > 0
            assert port_of(near) != port


def test_the_command_says_so_in_a_sentence(tmp_path: Path) -> None:
    with listen(0) as first, pytest.raises(SystemExit, match=r"^error: --port: \d+ is in use on "):
        runs.main(["watch", "--port", str(port_of(first)), "--runs", str(tmp_path)])
    with pytest.raises(SystemExit, match=r"^error: no run 'one' in "):
        runs.main(["watch", "one", "--runs", str(tmp_path)])


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_out_of_range_is_one_sentence(port: int) -> None:
    with pytest.raises(StoreError, match=f"^--port: needs a number from 0 to 65535, got {port}$"):
        listen(port)


def test_the_page_beside_a_search_takes_another_port_and_ends_with_it(tmp_path: Path) -> None:
    with listen(0) as taken:
        port = port_of(taken)
        command = [sys.executable, "-m", "app.watch", str(tmp_path), "one two", str(port)]
        with subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stderr is not None
            said = [process.stderr.readline() for _ in range(2)]
            assert said[0].startswith(f"--watch: port {port} is in use; ")
            address = re.fullmatch(r"watch it at (http://127.0.0.1:\d+/runs/one%20two)\n", said[1])
            assert address is not None
            with pytest.raises(urllib.error.HTTPError, match="404"):  # it has not begun yet
                urllib.request.urlopen(address[1])
            process.communicate()  # closes the pipe
    assert process.returncode == -signal.SIGTERM
