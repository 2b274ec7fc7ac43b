"""A Ray that does not start, and clusters that cannot be joined."""

import json
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from app.cluster import connection
from app.cluster.connection import ADDRESS, JOB, ClusterError, connect
from app.experiment.errors import ExperimentError
from tests.support.heads import Gcs


def test_an_address_where_nothing_listens_is_refused_at_once() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but it does not listen
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with (
            pytest.raises(ExperimentError, match=f"^--address: no answer from {address}: "),
            connect(address),
        ):
            pass


def test_a_ray_that_cannot_be_started_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Ray's sockets are below this folder, and their paths must be short.
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / ("long" * 25)))
    sentence = r"^Ray did not start: .*AF_UNIX path length"
    with pytest.raises(ClusterError, match=sentence), connect():
        pass


class SlowStarts:
    """Stands in for `ray.init` on a busy machine."""

    def __init__(self, starts: int) -> None:
        self.starts = starts
        """How many starts take too long."""
        self.calls = 0

    def __call__(self, **options: Any) -> Any:
        self.calls += 1
        if self.calls <= self.starts:
            raise Exception("The current node timed out during startup. This could happen because")
        return SimpleNamespace(dashboard_url="")


def test_a_ray_that_takes_too_long_to_start_is_started_once_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slow = SlowStarts(1)
    monkeypatch.setattr(ray, "init", slow)
    monkeypatch.setattr(ray, "nodes", list)
    with connect() as cluster:
        assert cluster.is_local
    assert slow.calls == 2
    slow = SlowStarts(2)
    monkeypatch.setattr(ray, "init", slow)
    sentence = r"^Ray did not start: The current node timed out"
    with pytest.raises(ClusterError, match=sentence), connect():
        pass
    assert slow.calls == 2


def test_the_drivers_code_travels_where_one_node_is_there_yet(
    gcs: tuple[Gcs, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    handler, address = gcs
    handler.token = None
    joined: list[dict[str, Any]] = []

    def init(**options: Any) -> Any:
        joined.append(options)
        return SimpleNamespace(dashboard_url="")

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 1.0}}])
    with connect(address) as cluster:
        assert cluster.is_open
    (options,) = joined
    sent = [Path(folder).name for folder in options["runtime_env"]["py_modules"]]
    assert sent == ["app", "serve", "trainables"]


HANGS = """
import ctypes
import ray
from app.cluster import connection

# It waits in C with the interpreter's lock in its hands, as Ray does.
ray.init = lambda **asked: ctypes.PyDLL(None).pause()
connection.START_S = 0.01
with connection.connect():
    pass
"""


def test_a_ray_that_never_answers_ends_the_command() -> None:
    process = subprocess.run(
        [sys.executable, "-c", HANGS], capture_output=True, text=True, timeout=100
    )
    assert process.returncode == 1
    assert process.stderr.startswith("Timeout (0:00:00.01")
    assert "in _start_here" in process.stderr


@pytest.mark.parametrize("address", ["ray://head:10001", "http://head:8265"])
@pytest.mark.parametrize("flag", ["--address", ADDRESS])
def test_an_address_of_another_kind_names_the_command_instead(
    address: str, flag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ADDRESS, address)
    would_do = r"ray job submit --address http://HEAD:8265 -- python -m app\.tune$"
    sentence = f"^{flag}: {address} is no address .* {would_do}"
    with (
        pytest.raises(ExperimentError, match=sentence),
        connect(address if flag == "--address" else None),
    ):
        pass


@pytest.mark.parametrize(
    ("job", "sent"),
    [
        ({}, {"env_vars", "excludes", "py_modules"}),
        ({"working_dir": "gcs://x.zip", "excludes": ["*.csv"]}, {"env_vars", "py_modules"}),
        ({"py_modules": ["gcs://app.zip"]}, {"env_vars"}),
    ],
)
def test_the_runtime_environment_leaves_out_what_a_job_has(
    job: dict[str, object], sent: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(JOB, json.dumps({"runtime_env": job}))
    environment = connection.runtime_env()
    assert set(environment) == sent
    for folder in environment.get("py_modules", []):
        assert (Path(folder) / "__init__.py").is_file()


@pytest.mark.parametrize("address", ["", " "])
def test_an_empty_address_is_refused(address: str) -> None:
    with (
        pytest.raises(ExperimentError, match=r"^--address: it is empty; "),
        connect(address),
    ):
        pass


def test_whoever_waits_is_told_what_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ADDRESS, raising=False)
    assert connection.connecting(None) == "starting Ray on this machine"
    assert connection.connecting("auto") == "joining Ray at auto"
    monkeypatch.setenv(ADDRESS, "head:6379")
    assert connection.connecting(None) == "joining Ray at head:6379"
