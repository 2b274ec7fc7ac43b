"""Machines that keep their runs behind a URI."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from app.run.journal import Journal
from app.storage.working_copy import remote_run
from tests.support.object_store import ObjectStore
from tests.support.waiting import until

Machine = Callable[[str], None]


@pytest.fixture
def uri(s3: ObjectStore, request: pytest.FixtureRequest) -> str:
    """A place for runs that is this test's own."""
    name = re.sub("[^A-Za-z0-9]+", "-", request.node.name)
    return s3.uri(f"places/{name}")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Lets this process be on another machine from now on, by a cache of its own."""

    def be(name: str) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / f"cache-{name}"))

    be("one")
    return be


def lease_of(machine: str, process: int, until: float = 1e12) -> bytes:
    lease = {"holder": "a", "machine": machine, "host": "h", "process": process, "until": until}
    return json.dumps(lease).encode()


def epoch(journal: Journal, number: int, *, is_first: bool = True) -> str:
    """A trial's epoch, with a checkpoint that its node has sent; the first after a start or not."""
    name = f"tune/001/checkpoint_{number:06}"
    place = remote_run(journal.folder)
    assert place is not None
    place.write(f"{name}/state", str(number).encode())
    if is_first:
        journal.append("trial", trial_id="001", config={"x": 1}, leg=1)
    values = {"metrics": {"loss": 1 / number}, "seconds": 1.0}
    journal.append("epoch", trial_id="001", epoch=number, checkpoint=name, **values)
    return name


def until_epochs(s3: ObjectStore, uri: str, count: int, command: "subprocess.Popen[str]") -> None:
    """Until the journal at the place, of a run called `r`, has so many epochs."""
    path = uri.partition("?")[0].removeprefix("s3://") + "/r/journal.jsonl"

    def are_there() -> bool:
        try:
            lines = s3.read(path).splitlines()
        except FileNotFoundError:
            return False
        return [json.loads(line)["event"] for line in lines].count("epoch") >= count

    until(are_there, command)


MODEL = """
name = "small"
trainable = "{folder}/small_mnist.py:SmallMnist"
metric = "average_test_loss"
mode = "min"
num_samples = 2
max_concurrent = 1
epochs = 1
search = "random"
[space]
lr = {{ type = "continuous", low = 0.01, high = 0.1 }}
[fixed]
batch_size = 64
momentum = 0.5
"""
