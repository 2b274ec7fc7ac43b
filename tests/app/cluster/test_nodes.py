"""Runs on a cluster of three real nodes of this machine, joined from outside."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app import tune
from app.cluster.connection import ADDRESS
from app.engine.closing import closing_lines
from app.run import store
from tests.support import SUPPORT
from tests.support.commands import Begin, stay_connected
from tests.support.experiments import write_hosts
from tests.support.nodes import Nodes, add_node
from tests.support.object_store import ObjectStore
from tests.support.waiting import until_lines, until_one_ends

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]

SMALL = """
name = "small"
trainable = "small_mnist.py:SmallMnist"
metric = "average_test_loss"
mode = "min"
num_samples = 3
epochs = 2
search = "random"
[space]
lr = { type = "continuous", low = 0.001, high = 0.1, scale = "log" }
batch_size = { type = "categorical", values = [32, 64] }
[fixed]
momentum = 0.5
[resources]
cpus_per_trial = 1
"""
WHERE = """
import time
from pathlib import Path

import app
import ray
from ray import tune

def train(config):
    node = ray.get_runtime_context().get_node_id()
    Path(config["place"], str(config["x"])).write_text(f"{app.__file__} {node}")
    # Held here until the other trial is in its place, too.
    while len(list(Path(config["place"]).iterdir())) < 2:
        time.sleep(0.01)
    tune.report({"loss": config["x"]})
"""
WHERE_TOML = """
name = "where"
trainable = "where.py:train"
metric = "loss"
mode = "min"
num_samples = 2
epochs = 1
search = "random"
[space]
x = {{ type = "continuous", low = 0.0, high = 1.0 }}
[fixed]
place = "{place}"
[resources]
cpus_per_trial = 0.5
"""

WAITS = """
import argparse
import time
from pathlib import Path

flags = argparse.ArgumentParser()
flags.add_argument("--place", type=Path)
place = flags.parse_known_args()[0].place
with (place / "log").open("a") as log:
    log.write("begun\\n")
while not (place / "gate").exists():
    time.sleep(0.01)
print("loss=0.5", flush=True)
"""
WAITS_TOML = """
name = "waits"
trainable = "script"
metric = "loss"
mode = "min"
num_samples = 1
search = "random"
retries = 0
[space]
lr = {{ type = "continuous", low = 0.001, high = 0.4 }}
[fixed]
place = "{place}"
[resources]
cpus_per_trial = 1
workers_per_trial = 3
[script]
entry_point = "{place}/waits.py"
[[script.metrics]]
name = "loss"
regex = 'loss=([0-9.]+)'
"""
PAIR_TOML = """
name = "pair"
trainable = "{support}/pair_train.py:train"
metric = "loss"
mode = "min"
num_samples = 1
epochs = 6
search = "random"
retries = 0
[space]
x = {{ type = "continuous", low = 0.0, high = 1.0 }}
[fixed]
log = "{place}/log"
seconds = 1.0
[resources]
cpus_per_trial = 1
workers_per_trial = 3
"""

NOT_YET = "No available agent to submit job"


@pytest.mark.nightly
def test_a_seed_gives_the_same_curves_on_one_node_and_on_three(
    shared_ray: str,
    nodes: Nodes,
    third: Any,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copy(SUPPORT / "small_mnist.py", tmp_path)
    toml = tmp_path / "small.toml"
    toml.write_text(SMALL)
    curves, opened = {}, {}
    for name, address in (("three", nodes.address), ("one", shared_ray)):
        monkeypatch.setenv(ADDRESS, address)
        stay_connected(address)
        tune.main([str(toml), "--runs", str(tmp_path / "runs"), "--name", name, "--json"])
        out, err = capfd.readouterr()
        curves[name] = [(trial["config"], _curve(trial)) for trial in json.loads(out)["trials"]]
        opened[name] = err
    assert "on a cluster of 3 nodes (3 CPUs)" in opened["three"]
    assert curves["three"] == curves["one"]


def _curve(trial: dict[str, Any]) -> list[dict[str, Any]]:
    """A trial's epochs, but for how long each took."""
    return [{**epoch, "seconds": None} for epoch in trial["history"]]


def test_trials_are_spread_over_nodes_and_other_machines_are_sent_our_code(
    nodes: Nodes, third: Any, tmp_path: Path, begin: Begin
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    (tmp_path / "where.py").write_text(WHERE)
    toml = tmp_path / "where.toml"
    toml.write_text(WHERE_TOML.format(place=place))
    # From a folder without our code, which workers on this machine would find otherwise.
    process = begin(toml, *on(nodes, tmp_path), cwd=tmp_path)
    _, err = process.communicate(timeout=500)
    assert process.returncode == 0, err
    told = [file.read_text().split() for file in place.iterdir()]
    assert len({node for _, node in told}) == 2
    assert all("/py_modules_files/" in path for path, _ in told), told


def test_trials_go_on_elsewhere_when_their_node_is_lost_though_none_is_retried(
    nodes: Nodes, third: Any, tmp_path: Path, quadratic: Callable[..., Path], begin: Begin
) -> None:
    log, gate = tmp_path / "log", tmp_path / "gate"
    path = quadratic(log=str(log), gate=str(gate))
    path.write_text("retries = 0\n" + path.read_text().replace("= 0.5", "= 1"))
    process = begin(path, *on(nodes, tmp_path), "--max-concurrent", "3", cwd=tmp_path)
    until_lines(log, 6, process)
    pids = {json.loads(line)[2] for line in log.read_text().splitlines()}
    nodes.remove_node(third, allow_graceful=False)
    until_one_ends(pids)
    gate.touch()
    out, err = process.communicate(timeout=500)
    assert process.returncode == 0, err
    result = json.loads(out)
    assert [(trial["status"], trial["epochs"]) for trial in result["trials"]] == [
        ("completed", 2)
    ] * 4
    ((node, lost),) = result["lost_nodes"].items()
    assert node.startswith("127.0.0.4 (")
    assert f"trial {lost[0]}  goes on after epoch 1: its node {node} was lost" in err
    assert {trial["trial_id"]: trial["restarts"] for trial in result["trials"]} == {
        f"{number:03}": int(f"{number:03}" in lost) for number in range(1, 5)
    }
    begun = [tuple(json.loads(line)[:2]) for line in log.read_text().splitlines()]
    assert len(begun) - len(set(begun)) == len(lost) == 1
    told = closing_lines(result, store.find(tmp_path / "runs", "q").folder)
    assert f"node {node} was lost; went on elsewhere: trial {lost[0]}" in told


def test_a_trial_of_several_workers_goes_on_when_the_node_of_one_is_lost(
    nodes: Nodes, third: Any, caches: Path, tmp_path: Path, begin: Begin
) -> None:
    (tmp_path / "waits.py").write_text(WAITS)
    toml = tmp_path / "waits.toml"
    toml.write_text(WAITS_TOML.format(place=tmp_path))
    process = begin(toml, *on(nodes, tmp_path), cwd=tmp_path)
    until_lines(tmp_path / "log", 3, process)
    nodes.remove_node(third, allow_graceful=False)
    another = add_node(nodes, caches, 5)
    until_lines(tmp_path / "log", 6, process)
    (tmp_path / "gate").touch()
    out, err = process.communicate(timeout=500)
    nodes.remove_node(another)
    assert process.returncode == 0, err
    result = json.loads(out)
    (trial,) = result["trials"]
    assert (trial["status"], trial["restarts"]) == ("completed", 1)
    ((node, lost),) = result["lost_nodes"].items()
    assert (node.partition(" ")[0], lost) == ("127.0.0.4", ["001"])


@pytest.mark.nightly
def test_a_function_of_several_workers_goes_on_when_the_node_of_one_is_lost(
    nodes: Nodes, third: Any, caches: Path, tmp_path: Path, begin: Begin
) -> None:
    toml, log = tmp_path / "pair.toml", tmp_path / "log"
    toml.write_text(PAIR_TOML.format(support=SUPPORT, place=tmp_path))
    process = begin(toml, *on(nodes, tmp_path), cwd=tmp_path)
    until_lines(tmp_path / "runs/q/journal.jsonl", 3, process)  # the run, the trial, its epoch
    nodes.remove_node(third, allow_graceful=False)
    another = add_node(nodes, caches, 5)
    out, err = process.communicate(timeout=500)
    nodes.remove_node(another)
    assert process.returncode == 0, err
    result = json.loads(out)
    (trial,) = result["trials"]
    assert (trial["status"], trial["epochs"], trial["restarts"]) == ("completed", 6, 1)
    ((node, lost),) = result["lost_nodes"].items()
    assert (node.partition(" ")[0], lost) == ("127.0.0.4", ["001"])
    begun = [json.loads(line)[1] for line in log.read_text().splitlines()]
    assert begun.count(1) == 1


def test_a_request_that_no_node_can_fill_is_refused(
    nodes: Nodes, tmp_path: Path, quadratic: Callable[..., Path]
) -> None:
    told = "^error: cpus_per_trial: a trial asks for 2 CPUs, the largest node has 1; ask .*"
    place = ("--runs", str(tmp_path), "--address", nodes.address)
    with pytest.raises(SystemExit, match=told + r" \(after 0\.1 s\)$"):
        tune.main([str(quadratic()), *place, "--cpus-per-trial", "2", "--wait", "0.1"])


def test_nodes_that_have_room_are_waited_for(
    nodes: Nodes, caches: Path, tmp_path: Path, quadratic: Callable[..., Path], begin: Begin
) -> None:
    one = ("--num-samples", "1", "--cpus-per-trial", "2", "--wait", "500")
    process = begin(quadratic(), *on(nodes, tmp_path), *one)
    assert process.stderr is not None
    said = next(line for line in process.stderr if line.startswith("waiting"))
    assert said.startswith("waiting up to 500 s for nodes: cpus_per_trial: a trial asks for 2 CPUs")
    large = add_node(nodes, caches, 5, cpus=2)
    out, err = process.communicate(timeout=500)
    nodes.remove_node(large)
    assert process.returncode == 0, err
    assert json.loads(out)["status"] == "completed"


def test_a_job_runs_in_the_cluster_and_is_saved_when_it_is_stopped(
    nodes: Nodes, dashboard: str, tmp_path: Path, quadratic: Callable[..., Path]
) -> None:
    log, gate = tmp_path / "log", tmp_path / "gate"
    toml = quadratic(log=str(log), gate=str(gate))
    command = [sys.executable, "-m", "app.tune", toml, "--runs", tmp_path / "runs", "--name", "q"]
    command += ["--max-concurrent", "2"]
    # Ray's own three seconds are little on a busy machine.
    patient = json.dumps({"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "120"}})
    options = ("--submission-id", "q", "--no-wait", "--runtime-env-json", patient)
    while NOT_YET in jobs("submit", dashboard, *options, "--", *command):
        pass  # the head's agent is still being started
    until_lines(log, 4)
    assert "stopped" in jobs("stop", dashboard, "q")
    run = store.find(tmp_path / "runs", "q")
    assert (run.result["status"], run.result["reason"]) == ("interrupted", "SIGTERM")
    assert store.read_table(run)["dashboard"]["address"] == dashboard
    assert [trial["epochs"] for trial in run.result["trials"]] == [1, 1]
    on = f"go on by: python -m app.tune --resume q --runs {tmp_path / 'runs'} --address "
    assert on in jobs("logs", dashboard, "q")


def jobs(verb: str, dashboard: str, *words: object) -> str:
    """Return what `ray job submit` prints."""
    address = ("--address", f"http://{dashboard}")
    command = [sys.executable, "-m", "ray.scripts.scripts", "job", verb, *address]
    ended = subprocess.run(
        [*command, *map(str, words)], capture_output=True, text=True, cwd="/tmp", timeout=300
    )
    told = ended.stdout + ended.stderr
    assert ended.returncode == 0 or NOT_YET in told, told
    return told


def on(nodes: Nodes, folder: Path) -> list[str]:
    """The words for a run in the folder, on the nodes."""
    place = ["--runs", str(folder / "runs"), "--name", "q"]
    return [*place, "--json", "--address", nodes.address]


def test_hosts_on_two_nodes_meet_at_the_first_ones_address_and_fetch_data_once_each(
    nodes: Nodes, tmp_path: Path, s3: ObjectStore, capfd: pytest.CaptureFixture[str]
) -> None:
    s3.write("hosts/data/a.csv", b"1,2")
    toml = write_hosts(tmp_path / "hosts.toml", cpus=1.0)
    budget = ("--num-samples", "2", "--max-concurrent", "1")
    data = ("--input", f"training={s3.uri('hosts/data')}")
    tune.main([str(toml), *on(nodes, tmp_path), *data, *budget])
    result = json.loads(capfd.readouterr().out)
    assert [trial["status"] for trial in result["trials"]] == ["completed", "completed"]
    assert s3.reads("hosts/data/a.csv") == 2
    for tree in (tmp_path / "runs/q/trials/002", tmp_path / "runs/q/trials/002/hosts/algo-2"):
        assert (tree / "input/data/training/a.csv").read_bytes() == b"1,2"
    log = (tmp_path / "runs/q/logs/001.log").read_text().splitlines()
    (came,) = [line for line in log if "came" in line]
    assert came in [f"127.0.0.{node}: algo-2 came; loss=0.5" for node in (2, 3)]
