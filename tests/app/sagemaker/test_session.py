"""Uploads of a session, on this machine and behind a URI."""

from pathlib import Path

import pytest

from app import sagemaker
from app.run import store
from app.run.store import StoreError
from tests.support.object_store import ObjectStore
from trainables.script.channels import open_channel


def test_what_is_uploaded_is_a_folder_to_train_from(
    session: sagemaker.Session, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/points").write_text("1 2")
    uri = session.upload_data(tmp_path / "data", bucket=session.default_bucket(), key_prefix="a/b")
    assert (session.runs / ".uploads/local/a/b/points").read_text() == "1 2"
    assert uri == (session.runs / ".uploads/local/a/b").as_uri()
    assert session.upload_data(tmp_path / "data/points").endswith(".uploads/local/data")
    assert store.names(session.runs) == []
    with pytest.raises(StoreError, match=r"^upload_data: '.*elsewhere' leads out of "):
        session.upload_data(tmp_path / "data", key_prefix="../../elsewhere")
    with pytest.raises(StoreError, match=r"^upload_data: cannot copy .*absent: it is not there"):
        session.upload_data(tmp_path / "absent")


def test_what_is_uploaded_lies_beside_runs_that_are_behind_a_uri(
    s3: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    session = sagemaker.Session(runs=s3.uri("uploaded/runs"))
    (tmp_path / "data/more").mkdir(parents=True)
    (tmp_path / "data/more/points").write_text("1 2")
    uri = session.upload_data(tmp_path / "data", key_prefix="a/b")
    assert uri == s3.uri("uploaded/runs/.uploads/local/a/b")
    fetched = open_channel("training", uri).folder()
    assert (fetched / "more/points").read_text() == "1 2"
    uri = session.upload_data(tmp_path / "data/more/points")
    assert (open_channel("training", uri).folder() / "points").read_text() == "1 2"
    assert store.names(session.runs) == []
    with pytest.raises(StoreError, match=r"^upload_data: '.*elsewhere' leads out of "):
        session.upload_data(tmp_path / "data", key_prefix="../../elsewhere")
