"""A Ray that does not start, and one that nobody can join."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from app import cluster
from app.cluster import ClusterError
from app.experiment import ExperimentError


def test_an_address_where_nothing_listens_is_refused_at_once() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but it does not listen
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ExperimentError, match=f"^--address: no Ray at {address}: "):
            cluster.start(address)


def test_a_ray_that_cannot_be_started_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Ray's sockets are below this folder, and their paths must be short.
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / ("long" * 25)))
    with pytest.raises(ClusterError, match=r"^Ray did not start: .*AF_UNIX path length"):
        cluster.start()


@pytest.mark.ray
def test_a_ray_that_never_answers_ends_the_command(tmp_path: Path) -> None:
    impatient = "from app import cluster; cluster.START_S = 0.01; cluster.start()"
    process = subprocess.run(
        [sys.executable, "-c", impatient], capture_output=True, text=True, timeout=100
    )
    assert process.returncode == 1
    assert process.stderr.startswith("Timeout (0:00:00.01")
