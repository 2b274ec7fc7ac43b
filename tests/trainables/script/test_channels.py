"""Channels of data: what is found at a URI, and that a node fetches it once and whole."""

import os
import re
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.object_store import ObjectStore, object_store
from trainables.contract import TrainableError
from trainables.script.channels import Channel, cache_folder, fetch_folders, open_channel

FETCH = """
import sys
from trainables.script.channels import Channel
print(Channel(*sys.argv[1:]).folder())
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that is this test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/tuneport/channels"


@pytest.fixture
def data(s3: ObjectStore, request: pytest.FixtureRequest) -> str:
    """A folder of two files in a bucket, as a path there."""
    path = f"data/{request.node.name.partition('[')[0].replace('_', '-')}"
    s3.write(f"{path}/a.csv", b"1,2\n")
    s3.write(f"{path}/deeper/b.csv", b"3,4\n5,6\n")
    return path


def files(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def test_a_folder_is_used_where_it_is(tmp_path: Path) -> None:
    given = open_channel("training", str(tmp_path))
    assert (given.version, given.folder()) == (None, tmp_path)
    assert fetch_folders([given]) == {"training": str(tmp_path)}


def test_a_file_is_used_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "points.csv").touch()
    assert fetch_folders([open_channel("a", str(tmp_path / "points.csv"))]) == {
        "a": f"{tmp_path}/points.csv"
    }


def test_without_a_home_data_is_kept_in_a_folder_of_this_user_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    assert cache_folder() == tmp_path / "me/.cache/tuneport/channels"
    monkeypatch.setenv("HOME", "relative")  # so is a home that nobody knows
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    mine = tmp_path / f"tuneport-{os.getuid()}"
    assert cache_folder() == mine / "channels"
    assert stat.S_IMODE(mine.stat().st_mode) == 0o700
    mine.rename(tmp_path / "other")
    mine.symlink_to(tmp_path / "other")
    with pytest.raises(TrainableError, match=r" is somebody else's; set XDG_CACHE_HOME to one"):
        cache_folder()


def test_a_folder_that_a_node_does_not_have_is_one_sentence(tmp_path: Path) -> None:
    absent = Channel("training", str(tmp_path / "absent"))
    with pytest.raises(TrainableError, match=r"^inputs\.training: nothing at .*absent on .+;"):
        absent.folder()


def test_a_folder_in_a_bucket_is_fetched_whole_and_once(s3: ObjectStore, data: str) -> None:
    given = open_channel("training", s3.uri(data))
    folder = given.folder()
    assert files(folder) == {"a.csv": b"1,2\n", "deeper/b.csv": b"3,4\n5,6\n"}
    assert given.folder() == folder
    assert open_channel("validation", s3.uri(data)).folder() == folder
    assert (s3.reads(f"{data}/a.csv"), s3.reads(f"{data}/deeper/b.csv")) == (1, 1)


def test_what_was_fetched_is_not_written_to_by_mistake(s3: ObjectStore, data: str) -> None:
    file = open_channel("training", s3.uri(data)).folder() / "a.csv"
    assert stat.S_IMODE(file.stat().st_mode) == 0o444


def test_a_uri_may_be_that_of_one_file(s3: ObjectStore, data: str) -> None:
    assert files(open_channel("a", s3.uri(f"{data}/a.csv")).folder()) == {"a.csv": b"1,2\n"}


def test_other_data_at_the_same_uri_is_fetched_anew(s3: ObjectStore, data: str) -> None:
    before = open_channel("training", s3.uri(data))
    before.folder()
    s3.write(f"{data}/c.csv", b"7,8\n")
    now = open_channel("training", s3.uri(data))
    assert now.version != before.version
    assert len(files(now.folder())) == 3
    assert len(files(before.folder())) == 2


def test_data_that_changes_while_a_run_goes_on_is_told(s3: ObjectStore, data: str) -> None:
    given = open_channel("training", s3.uri(data))
    s3.write(f"{data}/a.csv", b"1,2,3\n")
    with pytest.raises(
        TrainableError, match=r"^inputs\.training: what is at s3.* has changed since"
    ):
        given.folder()


def test_two_that_need_it_at_once_fetch_it_once(s3: ObjectStore, data: str) -> None:
    given = open_channel("training", s3.uri(data))
    command = [sys.executable, "-c", FETCH, given.name, given.place, str(given.version)]
    asking = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    there = [process.communicate()[0] for process in asking]
    assert there == [f"{given.folder()}\n"] * 3
    assert s3.reads(f"{data}/a.csv") == 1


def test_a_download_that_fails_leaves_nothing(s3: ObjectStore, data: str, home: Path) -> None:
    # What is archived is listed, but cannot be read.
    s3.put(f"{data}/deeper/b.csv", b"3,4\n", **{"x-amz-storage-class": "GLACIER"})
    given = open_channel("training", s3.uri(data))
    (home / f"{given.version}.partial/half").mkdir(parents=True)  # as after a kill
    with pytest.raises(
        TrainableError, match=r"^inputs\.training: cannot read s3://.*: .*GetObject"
    ):
        given.folder()
    assert [path.suffix for path in home.iterdir()] == [".lock"]
    s3.write(f"{data}/deeper/b.csv", b"3,4\n")
    assert len(files(open_channel("training", s3.uri(data)).folder())) == 2


def test_a_name_that_leads_out_of_the_folder_is_refused(s3: ObjectStore, data: str) -> None:
    s3.put(f"{data}/%2e%2e/outside", b"")
    with pytest.raises(TrainableError, match=r"^inputs\.a: s3://.* has a file called '\.\./out"):
        open_channel("a", s3.uri(data))


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        ("there/nothing", r"there is nothing at s3://there/nothing\S+$"),
        ("absent-bucket/x", r"there is nothing at s3://\S+: there is no bucket 'absent-bucket'$"),
        ("", r"s3://\S+ is all that is there; name a folder$"),
    ],
)
def test_nothing_at_a_uri_is_one_sentence(s3: ObjectStore, place: str, sentence: str) -> None:
    s3.uri("there")
    with pytest.raises(TrainableError, match=rf"^inputs\.a: {sentence}"):
        open_channel("a", s3.absent(place))


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("http://host/x", "Unrecognized filesystem type in URI"),
        ("file://host/x", "Unsupported hostname"),
        ("s3://b/a b", "Cannot parse URI"),
        pytest.param(
            "s3://b/x?scheme=http&region=a&endpoint_override=127.0.0.1:1",
            ".*Could not connect",
            marks=pytest.mark.nightly,  # PyArrow tries for six seconds.
        ),
    ],
)
def test_a_uri_that_cannot_be_read_is_one_sentence(uri: str, reason: str) -> None:
    sentence = rf"^inputs\.a: cannot read {re.escape(uri)}: {reason}[^\n]*$"
    with pytest.raises(TrainableError, match=sentence):
        open_channel("a", uri)


def test_a_store_that_does_not_know_who_asks_says_where_credentials_are_from(
    tmp_path: Path,
) -> None:
    with object_store(tmp_path / "log", INITIAL_NO_AUTH_ACTION_COUNT="0") as strict:
        message = (
            r"ACCESS_DENIED.*; credentials come from the environment, such as AWS_ACCESS_KEY_ID$"
        )
        with pytest.raises(TrainableError, match=message):
            open_channel("a", strict.absent("private/data"))


def test_amazons_variables_say_where_the_store_is(
    s3: ObjectStore, data: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3.endpoint)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    assert len(files(open_channel("training", f"s3://{data}").folder())) == 2
