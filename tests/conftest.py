"""Fixtures of all tests: a Ray of their own, and experiments that cost nothing."""

import gc
import json
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

from tests.support.commands import Begin, Tune, disconnect, free_port, stay_connected
from tests.support.experiments import write_quadratic
from tests.support.heads import gcs as gcs
from tests.support.machines import machine as machine
from tests.support.machines import uri as uri
from tests.support.nodes import caches as caches
from tests.support.nodes import dashboard as dashboard
from tests.support.nodes import nodes as nodes
from tests.support.nodes import third as third
from tests.support.nodes import two_nodes as two_nodes
from tests.support.object_store import CREDENTIALS, ObjectStore, object_store

NODES = "tests.support.nodes"
"""The module with the cluster of nodes, which those import that use it."""
EXPORTER = ("app.export", "support.networks", "torchvision", "small_mnist", "trainables.test_mnist")
"""Words of files, or of their paths, whose tests load PyTorch's exporter or an optimizer, and with
it PyTorch's compiler; both take seconds."""


def pytest_configure(config: pytest.Config) -> None:
    """Give Ray a folder, a token file and no dashboard before anything imports it."""
    # The modules that tests import stay to the end: a search for garbage would find none.
    gc.disable()
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


def pytest_collection_finish() -> None:
    """Look for garbage again, but not among what all tests have in common."""
    gc.freeze()
    gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep together a file's tests, those of a cluster of nodes and those of the exporter."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types
        def _split_scope(self, nodeid: str) -> str:
            file = str(super()._split_scope(nodeid))
            path = str(config.rootpath / file)
            if _mentions(path, NODES):
                return NODES
            exports = any(
                word in file.replace("/", ".") or _mentions(path, word) for word in EXPORTER
            )
            return EXPORTER[0] if exports else file

    config.option.loadscopereorder = False
    return Scheduling(config, log)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option by which `.ci/nightly` runs what is slow by nature, too."""
    parser.addoption("--nightly", action="store_true", help="run tests marked nightly, too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put files that start a Ray first: they take longest, and the others then fill the gaps."""
    if not config.option.nightly:
        late = [item for item in items if item.get_closest_marker("nightly")]
        config.hook.pytest_deselected(items=late)
        items[:] = [item for item in items if item not in late]
    items.sort(key=lambda item: not _mentions(str(item.path), "pytest.mark.ray"))


@cache
def _mentions(path: str, word: str) -> bool:
    return Path(path).is_file() and word in Path(path).read_text(encoding="utf-8")


@pytest.fixture
def ray_address(shared_ray: str) -> str:
    """A Ray of two CPUs to which this process is connected, so that its commands use it."""
    stay_connected(shared_ray)
    return shared_ray


@pytest.fixture(autouse=True)
def _unconnected(request: pytest.FixtureRequest) -> None:
    """Leave the Ray of tests before for a test that is about none."""
    if request.node.get_closest_marker("ray") is None:
        disconnect()


@pytest.fixture
def run(ray_address: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Tune:
    """Runs the command with `--json` on the shared Ray, and gives what it printed."""
    from app import tune

    def command(*arguments: object) -> dict[str, Any]:
        place = ("--runs", tmp_path / "runs", "--address", ray_address, "--json")
        tune.main([str(argument) for argument in (*arguments, *place)])
        return dict(json.loads(capfd.readouterr().out))

    return command


@pytest.fixture(scope="session")
def shared_ray() -> Iterator[str]:
    """Address of a Ray of two CPUs, started once for all tests of this process."""
    import ray
    from ray.cluster_utils import Cluster

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
    ray.shutdown()
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
        return write_quadratic(tmp_path / "quadratic.toml", **fixed)

    return write
