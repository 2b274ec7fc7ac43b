"""Storage of runs that a node of a cluster sees otherwise, by mounts of its own."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app import tune
from app.cluster.storage_check import check_folder
from tests.support.nodes import Nodes

ALONE = ("unshare", "--mount", "--map-root-user")
NODE = """
mount -t tmpfs none "$0/another" || exit
mount -t tmpfs none "$0/absent" || exit
mount --bind "$0/guarded" "$0/guarded" && mount -o remount,ro,bind "$0/guarded" || exit
exec "$@"
"""


def test_a_node_says_what_it_sees(tmp_path: Path) -> None:
    folder = tmp_path / "runs/.shared.1"
    assert check_folder(folder, "a") == "has none there"
    folder.mkdir(parents=True)
    assert check_folder(folder, "a") == "sees another one"
    (folder / "driver").write_text("driver")
    assert check_folder(folder, "a") == ""
    assert (folder / "a").read_text() == "a"


@pytest.fixture(scope="module")
def places() -> Iterator[Path]:
    """A folder of places, of which a node may see other ones."""
    with tempfile.TemporaryDirectory(prefix="tp", dir="/tmp") as folder:
        for name in ("another", "guarded", "absent/runs", "one"):
            Path(folder, name).mkdir(parents=True)
        yield Path(folder)


@pytest.fixture(scope="module")
def odd_node(two_nodes: Nodes, places: Path) -> Iterator[None]:
    """A further node of the cluster, with mounts of its own."""
    if subprocess.run([*ALONE, "true"], capture_output=True).returncode:
        pytest.skip("this system lets nobody make a namespace for mounts")
    ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus=1"]
    there = [f"--address={two_nodes.address}", "--node-ip-address=127.0.0.9"]
    with subprocess.Popen(
        [*ALONE, "sh", "-c", NODE, str(places), *ray, *there, f"--object-store-memory={10**8}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as node:
        assert node.stdout is not None
        assert any("Ray runtime started" in line for line in node.stdout)
        yield
        node.terminate()
        node.stdout.read()


@pytest.mark.ray
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("place", "sees"),
    [
        ("another", "sees another one"),
        ("guarded", r"cannot write there \(Read-only file system\)"),
        ("absent/runs", "has none there"),
    ],
)
def test_a_folder_that_a_node_does_not_share_is_refused_before_the_first_trial(
    nodes: Nodes,
    odd_node: None,
    places: Path,
    quadratic: Callable[..., Path],
    place: str,
    sees: str,
) -> None:
    told = (
        rf"^error: --runs: {places / place} must be the same folder on all nodes, but 127\.0\.0\.9"
        rf" {sees}; choose one that they share, as by NFS$"
    )
    with pytest.raises(SystemExit, match=told):
        tune.main([str(quadratic()), "--runs", str(places / place), "--address", nodes.address])
    assert list((places / place).iterdir()) == []


@pytest.mark.ray
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("place", "sees"),
    [
        ("another", "sees another place at file://{place}"),
        ("guarded", r"cannot write file://{place}: .*Read-only file system"),
    ],
)
def test_a_uri_that_a_node_cannot_use_is_refused_before_the_first_trial(
    nodes: Nodes,
    odd_node: None,
    places: Path,
    tmp_path: Path,
    quadratic: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    sees: str,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    told = rf"^error: --runs: node 127\.0\.0\.9 {sees.format(place=places / place)}$"
    with pytest.raises(SystemExit, match=told):
        tune.main(
            [str(quadratic()), "--runs", f"file://{places / place}", "--address", nodes.address]
        )
    assert [*(places / place).iterdir()] == []


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_a_place_that_all_nodes_share_is_used(
    nodes: Nodes, odd_node: None, places: Path, quadratic: Callable[..., Path]
) -> None:
    where = ("--runs", str(places / "one"), "--address", nodes.address, "--name", "r")
    tune.main([str(quadratic()), "--num-samples", "2", *where])
    assert [path.name for path in (places / "one").iterdir()] == ["r"]
