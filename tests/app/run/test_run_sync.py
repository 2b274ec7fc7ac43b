"""Runs that are kept behind a URI: sent as they go, taken up elsewhere, in one hand at a time."""

import fcntl
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app import runs, tune
from app.experiment import loading
from app.run import store
from app.run.errors import JournalError
from app.run.journal import Journal
from app.run.record import Record
from app.run.run_sync import hold
from app.storage.artifact_sync import RemoteArtifacts
from app.storage.remote_folder import StorageError
from app.storage.run_storage import run_storage
from app.storage.trial_files import trial_folder
from app.storage.working_copy import remote_run
from serve.models import artifact
from serve.models.storage import find_model, open_model
from tests.support import ROOT, SCRIPTS, SUPPORT
from tests.support.commands import Begin
from tests.support.machines import MODEL, Machine, epoch, lease_of, until_epochs
from tests.support.object_store import ObjectStore
from tests.support.waiting import until


def record(name: str = "r") -> Record:
    return Record(name, "loss", "min", 0)


def begin_run(folder: Path) -> Journal:
    folder.mkdir()
    (folder / "experiment.json").write_text("{}")
    journal = Journal(folder, record())
    journal.append("run", versions={})
    return journal


def test_events_are_sent_and_a_run_goes_on_elsewhere(
    s3: ObjectStore, uri: str, machine: Machine
) -> None:
    folder = store.open_runs(uri) / "r"
    with hold(folder, download=False) as sync:
        journal = begin_run(folder)
        sync.follow(journal)
        first = epoch(journal, 1)
        path = uri.partition("?")[0].removeprefix("s3://") + "/r"
        assert s3.read(f"{path}/journal.jsonl") == (folder / "journal.jsonl").read_bytes()
        name = epoch(journal, 2)
        assert not run_storage(folder).has_folder(first)  # which nobody needs any more
        journal.close()
    place = remote_run(folder)
    assert place is not None
    place.write("tune/001/checkpoint_000003/state", b"of which no event tells")
    machine("two")
    there = store.open_runs(uri) / "r"
    assert sorted(each.name for each in there.iterdir()) == ["experiment.json", "result.json"]
    assert store.read(there).result["trials"][0]["epochs"] == 2
    with hold(there, download=True) as sync:
        again = Journal(there, record())
        assert again.record.trials["001"].epochs == 2
        sync.follow(again)
        assert not run_storage(there).has_folder("tune/001/checkpoint_000003")
        assert not (there / name).exists()
        assert (run_storage(there).download_folder(name) / "state").read_text() == "2"
        again.close()


def test_a_large_journal_is_sent_when_there_is_time(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.run.run_sync.SMALL_BYTES", 0)
    monkeypatch.setattr("app.run.run_sync.TIME_SHARE", 1e9)
    folder = store.open_runs(f"file://{tmp_path}/place") / "r"
    kept = tmp_path / "place/r"
    with hold(folder, download=False) as sync:
        journal = begin_run(folder)
        sync.follow(journal)
        first = epoch(journal, 1)
        assert (kept / "journal.jsonl").read_bytes() == (folder / "journal.jsonl").read_bytes()
        monkeypatch.setattr("app.run.run_sync.TIME_SHARE", 1e-9)
        second = epoch(journal, 2)
        sent = (kept / "journal.jsonl").read_bytes()
        assert sent != (folder / "journal.jsonl").read_bytes()
        # What was sent says that the trial goes on from the first.
        assert run_storage(folder).has_folder(first)
        journal.check()
        assert (kept / "journal.jsonl").read_bytes() == sent
        monkeypatch.setattr("app.run.run_sync.TIME_SHARE", 1e9)
        journal.check()
        assert (kept / "journal.jsonl").read_bytes() == (folder / "journal.jsonl").read_bytes()
        assert not run_storage(folder).has_folder(first)
        assert run_storage(folder).has_folder(second)
        monkeypatch.setattr("app.run.run_sync.TIME_SHARE", 1e-9)
        third, fourth = (epoch(journal, number, is_first=False) for number in (3, 4))
        assert run_storage(folder).has_folder(third)
        # The start of a trial never waits: another one would take over its files.
        journal.append("trial", trial_id="002", config={"x": 2}, leg=1)
        assert (kept / "journal.jsonl").read_bytes() == (folder / "journal.jsonl").read_bytes()
        assert not run_storage(folder).has_folder(third)
        assert run_storage(folder).has_folder(fourth)
        journal.append("status", status="completed", reason=None)
        assert (kept / "journal.jsonl").read_bytes() == (folder / "journal.jsonl").read_bytes()
        journal.close()


def test_files_of_loggers_are_sent_and_fetched_again(machine: Machine, tmp_path: Path) -> None:
    uri = f"file://{tmp_path}/place"
    for number, name in enumerate(("one", "two")):
        machine(name)
        folder = store.open_runs(uri) / "r"
        with hold(folder, download=number > 0) as sync:
            journal = Journal(folder, record()) if number else begin_run(folder)
            sync.follow(journal)
            for tool in ("tensorboard/001", "wandb/offline-run-1"):
                (folder / tool).mkdir(parents=True, exist_ok=True)
                (folder / tool / name).write_text("events")
            epoch(journal, number + 1, is_first=not number)
            journal.close()
    for tool in ("tensorboard/001", "wandb/offline-run-1"):
        kept = (tmp_path / "place/r" / tool).iterdir()
        assert sorted(path.name for path in kept) == ["one", "two"]


def test_a_run_is_in_one_hand_at_a_time(uri: str, machine: Machine) -> None:
    here = store.open_runs(uri) / "r"
    with hold(here, download=False) as sync:
        journal = begin_run(here)
        sync.follow(journal)
        machine("two")
        there = store.open_runs(uri) / "r"
        assert run_storage(there).is_running()
        assert store.read(there).result["status"] == "running"
        with pytest.raises(StorageError, match=r"^r is being run by another process, on "):
            hold(there, download=True).__enter__()
        journal.close()
    assert not run_storage(there).is_running()
    assert store.read(there).result["status"] == "interrupted"


def test_a_run_behind_a_uri_whose_outcome_is_gone_is_told_by_its_journal(
    uri: str, machine: Machine
) -> None:
    folder = store.open_runs(uri) / "r"
    with hold(folder, download=False) as sync:
        journal = begin_run(folder)
        table = loading.load(None, {"metric": "loss"}).as_json()
        (folder / "experiment.json").write_text(json.dumps(table))
        sync.follow(journal)
        epoch(journal, 1)
        journal.close()
    before = store.read(folder).result
    place = remote_run(folder)
    assert place is not None
    place.remove("result.json")
    machine("two")
    folder = store.open_runs(uri) / "r"
    assert store.find(folder.parent, "r").result == before
    place.remove("journal.jsonl")
    with pytest.raises(
        StorageError, match=r"^r: its journal is gone: there is no journal\.jsonl in "
    ):
        hold(folder, download=True).__enter__()


WHOLE = lease_of("another", 1)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (WHOLE, "another process has taken the run in hand"),
        (WHOLE[:20], r"its lease\.json cannot be read: another process may have taken the run in"),
        (None, "another process has had the run in hand"),
    ],
)
def test_a_run_that_another_process_took_in_hand_is_left(
    machine: Machine,
    tmp_path: Path,
    content: bytes | None,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = store.open_runs(f"file://{tmp_path}/place") / "r"
    in_hand = hold(folder, download=False)
    sync = in_hand.__enter__()
    journal = begin_run(folder)
    sync.follow(journal)
    journal.check()
    lease = tmp_path / "place/r/lease.json"
    if content is None:
        lease.unlink()
    else:
        lease.write_bytes(content)
    monkeypatch.setattr("app.storage.lease.LEASE_S", -1.0)  # as after it stood still for long
    with pytest.raises(JournalError, match=rf"^r: {told}"):
        journal.check()
    before = (tmp_path / "place/r/journal.jsonl").read_bytes()
    with pytest.raises(JournalError, match=rf"^r: {told}"):
        journal.append("status", status="interrupted", reason=None)
    journal.close()
    with pytest.raises(StorageError, match=rf"^r: {told}"):
        in_hand.__exit__(None, None, None)
    assert (tmp_path / "place/r/journal.jsonl").read_bytes() == before
    assert (lease.read_bytes() if lease.exists() else None) == content


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_a_run_behind_a_uri_that_is_killed_goes_on_elsewhere(
    s3: ObjectStore,
    uri: str,
    machine: Machine,
    ray_address: str,
    tmp_path: Path,
    quadratic: Callable[..., Path],
    capfd: pytest.CaptureFixture[str],
    begin: Begin,
) -> None:
    where = ("--runs", uri, "--address", ray_address)
    gate = tmp_path / "gate"
    log = tmp_path / "log"
    toml = quadratic(gate=str(gate), log=str(log))
    first = begin(toml, *where, "--name", "r")
    until_epochs(s3, uri, 1, first)
    first.kill()
    first.communicate()
    gate.touch()
    machine("two")
    capfd.readouterr()
    runs.main(["list", "--runs", uri, "--json"])
    (row,) = json.loads(capfd.readouterr().out)
    assert (row["name"], row["status"], row["finished"]) == ("r", "interrupted", 0)
    tune.main(["--resume", "r", *where, "--json"])
    result: dict[str, Any] = json.loads(capfd.readouterr().out)
    assert result["status"] == "completed"
    assert [trial["epochs"] for trial in result["trials"]] == [2, 2, 2, 2]
    # What was done before the kill is not done again.
    began = [json.loads(line)[:2] for line in log.read_text().splitlines()]
    assert len({x for x, epoch in began if epoch == 1}) == 4
    assert len([x for x, epoch in began if epoch == 1]) == 4
    machine("three")
    runs.main(["show", "r", "--runs", uri, "--json"])
    assert json.loads(capfd.readouterr().out) == result


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_a_run_behind_a_uri_is_stopped_from_elsewhere(
    s3: ObjectStore,
    uri: str,
    machine: Machine,
    ray_address: str,
    tmp_path: Path,
    quadratic: Callable[..., Path],
    capfd: pytest.CaptureFixture[str],
    begin: Begin,
) -> None:
    gate = tmp_path / "gate"
    where = ("--runs", uri, "--address", ray_address, "--name", "r")
    running = begin(quadratic(gate=str(gate)), *where)
    until_epochs(s3, uri, 1, running)
    machine("two")
    arguments = [sys.executable, "-m", "app.runs", "stop", "r", "--runs", uri]
    with subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, text=True) as stop:
        asked = (tmp_path / "cache-one").glob
        try:
            until(lambda: bool(list(asked("tuneport/runs/*/r/stop"))), running)
        except BaseException:
            stop.kill()
            raise
        gate.touch()
        out, _ = stop.communicate()
        assert out.startswith("r: stopped (by app.runs stop) after ")
    running.communicate()
    assert running.returncode == 0


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_a_script_leaves_its_model_behind_a_uri(
    s3: ObjectStore,
    uri: str,
    machine: Machine,
    ray_address: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    script = str(SCRIPTS / "digits.py")
    words = ("--entry-point", script, "--num-samples", "1", "--epochs", "1", "--json")
    channel = ("--input", f"training={SCRIPTS}")
    tune.main([*words, *channel, "--runs", uri, "--address", ray_address, "--name", "r"])
    assert json.loads(capfd.readouterr().out)["model"] == "model"
    machine("two")
    with open_model(find_model("r", uri)) as folder:
        assert "model.pth" in artifact.read_manifest(folder).sha256
    runs.main(["export", "r", "--runs", uri])
    head, _, query = uri.partition("?")
    assert capfd.readouterr().out == f"{head}/r/model?{query}\n"
    runs.main(["logs", "r", "1", "--runs", uri])
    assert "Distributed training - False" in capfd.readouterr().out


@pytest.mark.ray
@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_a_network_is_exported_again_elsewhere(
    uri: str, machine: Machine, ray_address: str, tmp_path: Path
) -> None:
    toml = tmp_path / "small.toml"
    toml.write_text(MODEL.format(folder=SUPPORT))
    tune.main([str(toml), "--runs", uri, "--address", ray_address, "--name", "r"])
    machine("two")
    with open_model(find_model(None, uri)) as folder:
        best = artifact.read(folder).manifest
    other = {"001": "002", "002": "001"}[str(best.trial_id)]
    runs.main(["export", "r", "--trial", other, "--runs", uri])
    with open_model(find_model("r", uri)) as folder:
        assert artifact.read(folder).manifest.trial_id == other


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_a_place_that_refuses_a_checkpoint_ends_the_run_and_no_trial(
    machine: Machine, ray_address: str, tmp_path: Path, quadratic: Callable[..., Path]
) -> None:
    uri = f"file://{tmp_path}/place"
    (tmp_path / "place/r").mkdir(parents=True)
    (tmp_path / "place/r/tune").touch()  # which is to be a folder
    told = (
        rf"^error: --runs: cannot write {uri}/r: .*Cannot create directory '{tmp_path}/place/r/tu"
    )
    with pytest.raises(SystemExit, match=told):
        tune.main([str(quadratic()), "--runs", uri, "--address", ray_address, "--name", "r"])
    result = store.read(store.open_runs(uri) / "r").result
    assert result["status"] == "failed"
    assert {trial["status"] for trial in result["trials"]} == {"interrupted"}


def test_all_that_a_class_wrote_is_sent_also_a_lock_that_it_holds(
    uri: str, machine: Machine, tmp_path: Path
) -> None:
    run = store.open_runs(uri) / "r"
    place = remote_run(run)
    assert place is not None
    artifacts = RemoteArtifacts(place, tmp_path, "001")
    base = trial_folder(tmp_path, "001")
    (base / "of/its/own").mkdir(parents=True)
    (base / "of/its/own/file").write_text("kept")
    with (base / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        artifacts.send_last()
    assert not base.exists()
    assert place.read("trials/001/of/its/own/file") == b"kept"
    artifacts.fetch()
    assert (base / "of/its/own/file").read_text() == "kept"


LEAVES_LATE = """
import os
import time
from pathlib import Path
from ray import tune

class LeavesLate(tune.Trainable):
    def setup(self, config):
        self.gone, self.again = (Path(config["folder"], name) for name in ("gone", "again"))

    def step(self):
        if self.iteration == 1 and not self.gone.exists():
            self.gone.write_text(str(os.getpid()))
            raise OSError("the first time only")
        if self.iteration == 1:
            self.again.touch()
            while Path("/proc", self.gone.read_text()).exists():
                time.sleep(0.05)
        self.trial_folder.mkdir(parents=True, exist_ok=True)
        with (self.trial_folder / "epochs").open("a") as file:
            file.write(f"{self.iteration + 1} ")
        return {"loss": 1.0}

    def save_checkpoint(self, checkpoint_dir):
        return {}

    def load_checkpoint(self, checkpoint):
        pass

    def cleanup(self):
        while self.gone.exists() and not self.again.exists():
            time.sleep(0.05)
"""

LATE_TOML = """
name = "late"
trainable = "late.py:LeavesLate"
metric = "loss"
mode = "min"
num_samples = 1
epochs = 3
search = "random"
retries = 1
[space]
x = {{ type = "continuous", low = 0.0, high = 1.0 }}
[fixed]
folder = "{folder}"
[resources]
cpus_per_trial = 0.25
"""


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_a_process_that_is_late_to_leave_takes_nothing_from_the_next_one(
    ray_address: str, machine: Machine, uri: str, tmp_path: Path
) -> None:
    (tmp_path / "late.py").write_text(LEAVES_LATE)
    toml = tmp_path / "late.toml"
    toml.write_text(LATE_TOML.format(folder=tmp_path))
    tune.main([str(toml), "--runs", uri, "--address", ray_address, "--name", "r"])
    run = store.open_runs(uri) / "r"
    (trial,) = store.read(run).result["trials"]
    assert (trial["status"], trial["restarts"]) == ("completed", 1)
    run_storage(run).download("trials/001/epochs")
    assert (run / "trials/001/epochs").read_text() == "1 2 3 "
