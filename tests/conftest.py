"""Fixtures of all tests: a Ray of their own, and experiments that cost nothing."""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests.support import SUPPORT
from tests.support.commands import Begin, free_port
from tests.support.coverage import unmeasured
from tests.support.machines import machine as machine
from tests.support.machines import uri as uri
from tests.support.nodes import dashboard as dashboard
from tests.support.nodes import nodes as nodes
from tests.support.object_store import CREDENTIALS, ObjectStore, object_store

QUADRATIC = """
name = "quadratic"
trainable = "{folder}/quadratic.py:Quadratic"
metric = "loss"
mode = "min"
num_samples = 4
max_concurrent = 2
epochs = 2
search = "random"

[space]
x = {{ type = "continuous", low = 0.0, high = 1.0 }}

[fixed]
{fixed}

[resources]
cpus_per_trial = 0.5
"""


def pytest_configure(config: pytest.Config) -> None:
    """Give Ray a folder, a token file and no dashboard before anything imports it."""
    # Ray puts sockets below this folder, whose paths must be short.
    folder = Path(tempfile.mkdtemp(prefix="tp", dir="/tmp"))
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    token = folder / "token"
    token.write_text(secrets.token_hex(32))
    # Where a script starts the tests in the background, they and all they start ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # How fast the machine is proves nothing.
    hypothesis.settings.register_profile("untimed", deadline=None)
    hypothesis.settings.load_profile("untimed")
    os.environ.update(
        CREDENTIALS,
        RAY_TMPDIR=str(folder),
        RAY_AUTH_TOKEN_PATH=str(token),
        TUNEPORT_DASHBOARD="off",
        XDG_CACHE_HOME=str(folder / "cache"),
    )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Let one process run each file's tests, in the order in which they are collected."""
    from xdist.scheduler import LoadFileScheduling

    config.option.loadscopereorder = False
    return LoadFileScheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files that start a Ray first: they take longest, and the others then fill the gaps."""
    items.sort(key=lambda item: not _starts_a_ray(str(item.path)))


@cache
def _starts_a_ray(path: str) -> bool:
    return "pytest.mark.ray" in Path(path).read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def ray_address() -> Iterator[str]:
    """A Ray of two CPUs that commands join, which is quicker than starting one each."""
    from ray.cluster_utils import Cluster

    with unmeasured():
        cluster = Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": 2,
                "include_dashboard": False,
                # Ray tries the port all the same, and leaves a socket open where it is taken.
                "dashboard_port": free_port(),
                "object_store_memory": 200 * 2**20,
            },
        )
    yield cluster.address
    cluster.shutdown()


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Begins a search with a command's words, and ends it where the test did not."""
    with ExitStack() as running:

        def search(*words: object, cwd: Path | None = None) -> "subprocess.Popen[str]":
            pipe = subprocess.PIPE
            command = [sys.executable, "-m", "app.tune", *map(str, words)]
            process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd=cwd)
            running.enter_context(process)
            running.callback(process.kill)
            return process

        yield search


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """An object store that speaks S3, on loopback."""
    with object_store(tmp_path_factory.mktemp("store") / "log") as running:
        yield running


@pytest.fixture
def quadratic(tmp_path: Path) -> Callable[..., Path]:
    """Writes an experiment file for the quadratic trainable, with the given fixed values."""

    def write(**fixed: object) -> Path:
        lines = "\n".join(f"{key} = {value!r}" for key, value in fixed.items())
        path = tmp_path / "quadratic.toml"
        path.write_text(QUADRATIC.format(folder=SUPPORT, fixed=lines))
        return path

    return write
