"""Runs behind a URI on a cluster whose nodes share no folder."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app import runs, tune
from app.run import store
from serve.models import artifact
from serve.models.archive import read_handlers
from serve.models.storage import find_model, open_model
from tests.support import ROOT, SCRIPTS, SUPPORT
from tests.support.commands import Begin
from tests.support.machines import MODEL, Machine, until_epochs, uri
from tests.support.nodes import Nodes
from tests.support.object_store import STRICT, ObjectStore, object_store
from tests.support.pair_train import LATE
from tests.support.waiting import until_lines, until_one_ends

__all__ = ["uri"]

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]

SCRIPT = """
name = "apart"
trainable = "script"
metric = "loss"
mode = "min"
num_samples = {trials}
search = "random"
retries = 0
[space]
lr = {{ type = "continuous", low = 0.001, high = 0.4 }}
[fixed]
log = "{place}/log"
gate = "{place}/gate"
held = {held}
[resources]
cpus_per_trial = 1
workers_per_trial = {workers}
[script]
entry_point = "{scripts}/apart.py"
[[script.metrics]]
name = "loss"
regex = 'loss=([0-9.e-]+)'
"""
PAIR = """
name = "pair"
trainable = "{folder}/pair_train.py:train"
metric = "loss"
mode = "min"
epochs = {epochs}
search = "grid"
[space]
how = {{ type = "categorical", values = ["1 dies once"] }}
[fixed]
mark = "{place}/mark"
log = "{place}/log"
[resources]
cpus_per_trial = 1
workers_per_trial = 2
"""

LINGERS = """
import os
import time
from ray import tune

class Lingers(tune.Trainable):
    def setup(self, config):
        self.loss = config["x"]

    def step(self):
        print("trains", flush=True)
        return {{"loss": self.loss}}

    def save_checkpoint(self, checkpoint_dir):
        return {{}}

    def load_checkpoint(self, checkpoint):
        pass

    def cleanup(self):
        print("cleans up", flush=True)
        {end}
"""
LINGERS_TOML = """
name = "lingers"
trainable = "lingers.py:Lingers"
metric = "loss"
mode = "min"
num_samples = 1
epochs = 1
search = "random"
[space]
x = { type = "continuous", low = 0.0, high = 1.0 }
"""


@pytest.fixture
def machine(caches: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Lets this process be on another machine from now on, by a cache of its own."""

    def be(name: str) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(caches / name))

    be("driver")
    return be


def on(nodes: Nodes, where: str) -> list[str]:
    """The words for a run at that place, on the nodes."""
    return ["--runs", where, "--name", "r", "--json", "--address", nodes.address]


def of_script(tmp_path: Path, *, trials: int, held: int = 1, workers: int = 1) -> Path:
    """The experiment of a script that tells where it runs."""
    path = tmp_path / "apart.toml"
    told = {"trials": trials, "held": held, "workers": workers}
    path.write_text(SCRIPT.format(place=tmp_path, scripts=SCRIPTS, **told))
    return path


def left(caches: Path) -> set[str]:
    """Return the files of trials, but for empty ones, on the nodes that were not lost."""
    found = caches.glob("node-[23]/tuneport/nodes/*/r/[lt]*/**/*")  # logs, tune and trials
    kept = (path for path in found if path.is_file() and path.stat().st_size)
    return {path.relative_to(caches).as_posix() for path in kept}


def test_nine_trials_on_three_nodes_of_which_one_is_lost(
    nodes: Nodes,
    third: Any,
    caches: Path,
    machine: Machine,
    uri: str,
    tmp_path: Path,
    quadratic: Callable[..., Path],
    begin: Begin,
) -> None:
    log, gate = tmp_path / "log", tmp_path / "gate"
    path = quadratic(log=str(log), gate=str(gate))
    path.write_text("retries = 0\n" + path.read_text().replace("= 0.5", "= 1"))
    flags = ("--num-samples", "9", "--max-concurrent", "3")
    process = begin(path, *on(nodes, uri), *flags, cwd=ROOT)
    until_lines(log, 6, process)
    pids = {json.loads(line)[2] for line in log.read_text().splitlines()}
    nodes.remove_node(third, allow_graceful=False)
    until_one_ends(pids)
    gate.touch()
    out, err = process.communicate(timeout=500)
    assert process.returncode == 0, err
    result = json.loads(out)
    assert [(each["status"], each["epochs"]) for each in result["trials"]] == [("completed", 2)] * 9
    ((node, lost),) = result["lost_nodes"].items()
    assert node.startswith("127.0.0.4 (")
    begun = [tuple(json.loads(line)[:2]) for line in log.read_text().splitlines()]
    assert len(begun) - len(set(begun)) == len(lost) == 1
    assert {path.name for path in caches.glob("node-*")} == {"node-2", "node-3", "node-4"}
    assert not list(caches.glob("driver/tuneport/runs/*/r/tune/*/checkpoint_*"))
    assert left(caches) == set()
    assert not [*caches.glob("node-*/tuneport/runs"), *caches.glob("driver/tuneport/nodes")]


@pytest.mark.nightly
def test_a_network_trained_on_any_node_is_exported_and_served_from_anywhere(
    nodes: Nodes, caches: Path, machine: Machine, uri: str, tmp_path: Path
) -> None:
    toml = tmp_path / "small.toml"
    toml.write_text(MODEL.format(folder=SUPPORT))
    where = ("--runs", uri, "--address", nodes.address, "--name", "r")
    flags = ("--num-samples", "3", "--max-concurrent", "3", "--cpus-per-trial", "1")
    tune.main([str(toml), *where, *flags])
    assert left(caches) == set()
    machine("elsewhere")
    with open_model(find_model(None, uri)) as folder:
        best = artifact.read(folder).manifest
    other = next(name for name in ("001", "002") if name != best.trial_id)
    runs.main(["export", "r", "--trial", other, "--runs", uri])
    with open_model(find_model("r", uri)) as folder:
        assert artifact.read(folder).manifest.trial_id == other


def test_scripts_on_two_nodes_leave_their_models_logs_and_nothing_else_there(
    nodes: Nodes,
    caches: Path,
    machine: Machine,
    uri: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    begin: Begin,
) -> None:
    process = begin(of_script(tmp_path, trials=2), *on(nodes, uri), cwd=ROOT)
    until_lines(tmp_path / "log", 2, process)
    (tmp_path / "gate").touch()
    out, err = process.communicate(timeout=500)
    assert process.returncode == 0, err
    result = json.loads(out)
    assert (result["status"], result["model"]) == ("completed", "model")
    began = [json.loads(line)[0] for line in (tmp_path / "log").read_text().splitlines()]
    assert {base.split("/tuneport/")[0] for base in began} == {
        str(caches / "node-2"),
        str(caches / "node-3"),
    }
    assert left(caches) == set()
    machine("elsewhere")
    for trial in ("001", "002"):
        runs.main(["export", "r", "--trial", trial, "--runs", uri])
        capfd.readouterr()
        with open_model(find_model("r", uri)) as folder:
            assert read_handlers(folder).trial_id == trial
            base = (folder / "weights").read_text()
        assert base.endswith(f"/r/trials/{trial}")
        runs.main(["logs", "r", trial, "--runs", uri])
        assert f"goes on after epoch 0 in {base}\n" in capfd.readouterr().out


def test_a_script_whose_node_is_lost_goes_on_from_what_it_kept(
    nodes: Nodes,
    third: Any,
    s3: ObjectStore,
    machine: Machine,
    uri: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    begin: Begin,
) -> None:
    process = begin(
        of_script(tmp_path, trials=3, held=2), *on(nodes, uri), "--max-concurrent", "3", cwd=ROOT
    )
    until_epochs(s3, uri, 6, process)
    pids = [json.loads(line)[1] for line in (tmp_path / "log").read_text().splitlines()]
    nodes.remove_node(third, allow_graceful=False)
    until_one_ends(pids)
    (tmp_path / "gate").touch()
    out, err = process.communicate(timeout=500)
    assert process.returncode == 0, err
    result = json.loads(out)
    assert [(each["status"], each["epochs"]) for each in result["trials"]] == [("completed", 3)] * 3
    ((_, (lost,)),) = result["lost_nodes"].items()
    runs.main(["logs", "r", lost, "--runs", uri])
    assert "goes on after epoch 2 in " in capfd.readouterr().out


def test_a_script_ended_by_the_end_of_its_run_keeps_its_model(
    nodes: Nodes, caches: Path, machine: Machine, uri: str, tmp_path: Path
) -> None:
    where = ("--runs", uri, "--address", nodes.address, "--name", "r")
    tune.main([str(of_script(tmp_path, trials=1)), *where, "--target", "1"])
    with open_model(find_model("r", uri)) as folder:
        assert (folder / "weights").read_text() == "as far as it came"
    assert left(caches) == set()


def test_a_script_has_its_hosts_on_two_nodes(
    nodes: Nodes, caches: Path, machine: Machine, uri: str, tmp_path: Path
) -> None:
    (tmp_path / "gate").touch()
    where = ("--runs", uri, "--address", nodes.address, "--name", "r")
    tune.main([str(of_script(tmp_path, trials=1, workers=2)), *where])
    began = [json.loads(line)[0] for line in (tmp_path / "log").read_text().splitlines()]
    assert sorted(Path(base).name for base in began) == ["001", "algo-2"]
    assert len({base.split("/tuneport/")[0] for base in began}) == 2
    log = store.download_log(store.open_runs(uri) / "r", "001").read_text()
    assert "algo-2: goes on after epoch 0 in " in log
    assert left(caches) == set()


@pytest.mark.nightly
def test_a_function_of_workers_on_two_nodes_goes_on_from_its_checkpoints(
    nodes: Nodes, caches: Path, machine: Machine, uri: str, tmp_path: Path
) -> None:
    toml = tmp_path / "pair.toml"
    toml.write_text(PAIR.format(folder=SUPPORT, place=tmp_path, epochs=LATE))
    tune.main([str(toml), *on(nodes, uri)])
    run = store.open_runs(uri) / "r"
    (trial,) = store.read(run).result["trials"]
    assert (trial["status"], trial["epochs"], trial["restarts"]) == ("completed", LATE, 1)
    assert {epoch["came"] for epoch in trial["history"]} == {2.0}
    begun = [json.loads(line)[1] for line in (tmp_path / "log").read_text().splitlines()]
    assert begun.count(1) == 1
    assert left(caches) == set()


def test_the_log_of_a_hung_trial_is_uploaded_from_its_node(
    nodes: Nodes, caches: Path, machine: Machine, uri: str, quadratic: Callable[..., Path]
) -> None:
    path = quadratic(hangs=-1.0)
    path.write_text("retries = 0\nstep_timeout = 1.0\n" + path.read_text())
    where = ("--runs", uri, "--address", nodes.address, "--name", "r", "--num-samples", "1")
    with pytest.raises(
        SystemExit, match=r"it hung: an epoch took longer than 1 s \(quadratic\.py, .*\)$"
    ):
        tune.main([str(path), *where])
    log = store.download_log(store.open_runs(uri) / "r", "001").read_text()
    assert log.startswith("about to hang\nTimeout (0:00:01)!")
    assert left(caches) == set()


@pytest.mark.parametrize(
    ("kind", "end"), [("hangs", "time.sleep(1000)"), ("dies", "os.abort()"), ("fails", "1 / 0")]
)
def test_a_crashed_process_leaves_its_log_and_nothing_else(
    nodes: Nodes, caches: Path, machine: Machine, uri: str, tmp_path: Path, kind: str, end: str
) -> None:
    (tmp_path / "lingers.py").write_text(LINGERS.format(end=end))
    toml = tmp_path / "lingers.toml"
    toml.write_text(LINGERS_TOML)
    place = uri.replace("?", f"-{kind}?")
    tune.main([str(toml), "--runs", place, "--address", nodes.address, "--name", "r"])
    log = store.download_log(store.open_runs(place) / "r", "001")
    assert log.read_text().startswith("trains\ncleans up\n")
    assert left(caches) == set()


def test_a_run_whose_command_was_killed_goes_on_from_another_machine(
    nodes: Nodes,
    s3: ObjectStore,
    machine: Machine,
    uri: str,
    tmp_path: Path,
    quadratic: Callable[..., Path],
    capfd: pytest.CaptureFixture[str],
    begin: Begin,
) -> None:
    log, gate = tmp_path / "log", tmp_path / "gate"
    toml = quadratic(gate=str(gate), log=str(log))
    first = begin(toml, *on(nodes, uri), "--max-concurrent", "2", cwd=ROOT)
    until_epochs(s3, uri, 2, first)
    first.kill()
    first.communicate()
    gate.touch()
    machine("another-driver")
    tune.main(["--resume", "r", "--runs", uri, "--address", nodes.address, "--json"])
    result = json.loads(capfd.readouterr().out)
    assert result["status"] == "completed"
    assert [trial["epochs"] for trial in result["trials"]] == [2, 2, 2, 2]
    first_epochs = [line for line in log.read_text().splitlines() if json.loads(line)[1] == 1]
    assert len(first_epochs) == 4


def test_nodes_use_the_keys_of_the_command_and_keep_them_nowhere(
    nodes: Nodes,
    caches: Path,
    machine: Machine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "gate").touch()
    with object_store(tmp_path / "requests", **STRICT) as strict:
        where = strict.uri("private/runs")
        keys = strict.keys()
        for name, key in keys.items():
            monkeypatch.setenv(name, key)
        words = ("--runs", where, "--address", nodes.address, "--name", "r")
        tune.main([str(of_script(tmp_path, trials=2)), *words])
        assert store.read(store.open_runs(where) / "r").result["model"] == "model"
    for path in caches.rglob("*"):
        assert not path.is_file() or keys["AWS_SECRET_ACCESS_KEY"].encode() not in path.read_bytes()
