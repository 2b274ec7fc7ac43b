"""Working copies: the places that they are of, and how these are shown."""

import shlex

import pytest

from app.run import store
from app.run.commands import resume_command
from app.storage.remote_folder import StorageError
from app.storage.working_copy import location
from tests.support.machines import Machine
from tests.support.object_store import ObjectStore


def test_a_place_is_shown_as_it_was_named(s3: ObjectStore, uri: str, machine: Machine) -> None:
    folder = store.open_runs(uri)
    assert location(folder) == uri
    head, _, query = uri.partition("?")
    assert location(folder / "r/model") == f"{head}/r/model?{query}"
    on = f"python -m app.tune --resume r --runs {shlex.quote(uri)}"
    assert resume_command(folder / "r") == on


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        ("no://a/b", r"^--runs: cannot use no://a/b: Unrecognized filesystem type"),
        ("s3://", r"^--runs: s3://\?.* is all that is there; name a folder in it$"),
        ("s3://absent/x", r"^--runs: s3://absent/x\S+: there is no bucket 'absent'$"),
    ],
)
def test_a_place_that_is_none_is_one_sentence(
    uri: str, machine: Machine, place: str, sentence: str
) -> None:
    query = "" if place.startswith("no") else "?" + uri.partition("?")[2]
    with pytest.raises(StorageError, match=sentence):
        store.open_runs(place + query)
