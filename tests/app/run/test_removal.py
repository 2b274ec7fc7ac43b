"""Runs that are deleted, and checkpoints that are pruned, here and behind a URI."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from app.experiment import loading
from app.experiment.run_folder import JOURNAL
from app.run import removal, store
from app.run.journal import Journal
from app.run.layout import EXPERIMENT
from app.run.store import StoreError
from tests.support import journals

MODEL_BYTES = 7
CHECKPOINT_BYTES = 1000


@pytest.fixture(params=["here", "behind a URI"])
def place(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], tuple[Path, Path]]:
    """Puts a run of three trials, the second the best, where runs are kept.

    Gives that folder, and the one by which commands know it.
    """
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def put(status: str = "completed") -> tuple[Path, Path]:
        kept = tmp_path / "place"
        write_run(kept / "r", status)
        uri = f"file://{kept}" if request.param != "here" else str(kept)
        return kept, store.open_runs(uri)

    return put


def write_run(folder: Path, status: str) -> None:
    folder.mkdir(parents=True)
    table = loading.load(None, {"metric": "loss"}).as_json()
    (folder / EXPERIMENT).write_text(json.dumps(table))
    journal = Journal(folder, journals.record())
    journal.append("run", versions=journals.VERSIONS)
    for number, loss in enumerate((0.5, 0.25, 0.75), 1):
        trial_id = f"{number:03d}"
        journals.start(journal, trial_id, lr=0.1)
        journals.epoch(journal, trial_id, 1, loss)
        journals.end(journal, trial_id, "completed")
        for parent in ("tune", "trials"):
            (folder / parent / trial_id).mkdir(parents=True)
            (folder / parent / trial_id / "file").write_bytes(b"x" * CHECKPOINT_BYTES)
    (folder / "model").mkdir()
    (folder / "model" / "model.json").write_bytes(b"x" * MODEL_BYTES)
    journal.append("model", model="model", of={"trial_id": "002", "epoch": 1})
    journal.append("status", status=status, reason=None)
    journal.close()


def test_losers_lose_their_checkpoints_and_the_best_keeps_its_own(
    place: Callable[[], tuple[Path, Path]],
) -> None:
    kept, runs = place()
    (planned,), passed_over = removal.plan_pruning(runs, [])
    assert (planned.size, planned.what) == (2 * CHECKPOINT_BYTES, "checkpoints of 2 of 3 trials")
    assert passed_over == []
    removal.remove(planned)
    assert [path.parent.name for path in kept.glob("r/tune/*/file")] == ["002"]
    assert len(list(kept.glob("r/trials/*/file"))) == 3, "what a class keeps is no checkpoint"
    assert (kept / "r/model/model.json").stat().st_size == MODEL_BYTES
    assert removal.plan_pruning(runs, ["r"]) == ([], [])


def test_a_deleted_run_is_gone(place: Callable[[], tuple[Path, Path]]) -> None:
    kept, runs = place()
    size = sum(path.stat().st_size for path in (kept / "r").rglob("*") if path.is_file())
    (planned,) = removal.plan_deletion(runs, ["r", "r"])
    assert (planned.size, planned.what) == (size, "3 trials, its model")
    removal.remove(planned)
    assert not (kept / "r").exists()
    assert store.names(runs) == []


def test_a_run_that_can_go_on_keeps_its_checkpoints(
    place: Callable[..., tuple[Path, Path]],
) -> None:
    _, runs = place("interrupted")
    sentence = "r is interrupted: it needs its checkpoints to go on"
    with pytest.raises(StoreError, match=f"^{sentence}$"):
        removal.plan_pruning(runs, ["r"])
    assert removal.plan_pruning(runs, []) == ([], [sentence])


def test_a_run_in_hand_is_left_alone(tmp_path: Path) -> None:
    write_run(tmp_path / "r", "completed")
    (planned,) = removal.plan_deletion(tmp_path, ["r"])
    going_on = Journal(tmp_path / "r", journals.record())
    running = r"^r is running; end it first: python -m app.runs stop r --runs "
    with pytest.raises(StoreError, match=running):
        removal.remove(planned)
    for plan in (removal.plan_deletion, removal.plan_pruning):
        with pytest.raises(StoreError, match=running):
            plan(tmp_path, ["r"])
    going_on.close()
    assert store.read(tmp_path / "r").result["model"] == "model"


def test_a_run_without_a_best_trial_is_not_pruned(tmp_path: Path) -> None:
    write_run(tmp_path / "r", "failed")
    shutil.rmtree(tmp_path / "r" / "model")
    lines = (tmp_path / "r" / JOURNAL).read_text().splitlines(keepends=True)
    kinds = ("epoch", "model")
    left = [line for line in lines if json.loads(line)["event"] not in kinds]
    (tmp_path / "r" / JOURNAL).write_text("".join(left))
    (tmp_path / "r" / "result.json").unlink()
    assert removal.plan_pruning(tmp_path, ["r"]) == ([], [])


def test_a_run_that_cannot_be_read_can_be_deleted(tmp_path: Path) -> None:
    write_run(tmp_path / "r", "completed")
    for name in ("result.json", EXPERIMENT):
        (tmp_path / "r" / name).write_text("{")
    (planned,) = removal.plan_deletion(tmp_path, ["r"])
    assert planned.what == "it cannot be read"
    _, (passed_over,) = removal.plan_pruning(tmp_path, [])
    assert passed_over.startswith("cannot read ")
    removal.remove(planned)
    assert list(tmp_path.iterdir()) == []


def test_delete_takes_whole_names_alone(tmp_path: Path) -> None:
    write_run(tmp_path / "run-1", "completed")
    (tmp_path / "no-run").mkdir()
    for name in ("run", "no-run", "../run-1", ""):
        sentence = rf"^no run is called '{name}' in .*; delete takes whole names: run-1$"
        with pytest.raises(StoreError, match=sentence):
            removal.plan_deletion(tmp_path, ["run-1", name])
