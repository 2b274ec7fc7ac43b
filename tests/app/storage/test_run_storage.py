"""The storage of a run does the same on this machine and behind a URI."""

from pathlib import Path

import pytest

from app.run import store
from app.storage.run_storage import LocalStorage, RemoteStorage, RunStorage, Upload, run_storage
from tests.support.machines import Machine


@pytest.fixture(params=[LocalStorage, RemoteStorage])
def storage(request: pytest.FixtureRequest, machine: Machine, tmp_path: Path) -> RunStorage:
    """The storage of a run in whose folder something was written and sent."""
    is_remote = request.param is RemoteStorage
    place = f"file://{tmp_path}/place" if is_remote else str(tmp_path / "place")
    storage = run_storage(store.open_runs(place) / "r")
    assert type(storage) is request.param
    (storage.folder / "model").mkdir(parents=True)
    for name in ("journal.jsonl", "model/model.json"):
        (storage.folder / name).write_text(name)
    storage.upload(lambda: Upload([path for path in storage.folder.rglob("*") if path.is_file()]))
    return storage


def test_what_was_sent_is_there_and_comes_back(storage: RunStorage) -> None:
    assert storage.has_folder("model")
    assert not storage.has_folder("code")
    assert (storage.download_folder("model") / "model.json").read_text() == "model/model.json"
    storage.download_run(
        required="journal.jsonl", skipped="stop", folders=["model"], checkpoints="tune"
    )
    storage.download("journal.jsonl", "absent")
    storage.refresh("journal.jsonl")
    assert (storage.folder / "journal.jsonl").read_text() == "journal.jsonl"
    assert not storage.download_folder("code").exists()


def test_a_run_is_running_while_it_is_locked(storage: RunStorage, tmp_path: Path) -> None:
    with storage.lock("stop") as lock:
        lock.check()
        (tmp_path / "place/r/journal.jsonl").touch()
    assert not storage.is_running()
    assert not storage.lacks("journal.jsonl")


def test_a_request_is_created_where_any_process_finds_it(
    storage: RunStorage, tmp_path: Path
) -> None:
    storage.create("stop")
    assert (tmp_path / "place/r/stop").is_file()
    assert (storage.folder / "stop").is_file()


def test_files_that_are_added_are_at_a_uri(storage: RunStorage, tmp_path: Path) -> None:
    storage.add(storage.folder / "model", "data")
    storage.add(storage.folder / "journal.jsonl", "data")
    assert storage.uri("data").endswith("/r/data")
    names = sorted(path.name for path in (tmp_path / "place/r/data").iterdir())
    assert names == ["journal.jsonl", "model.json"]


def test_a_run_is_removed_from_everywhere(storage: RunStorage, tmp_path: Path) -> None:
    storage.remove()
    storage.remove()
    assert not storage.folder.exists()
    assert not (tmp_path / "place/r").exists()
