"""Leases: whose they are, and until when, by the store's clock."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from app.run import store
from app.storage.lease import LEASE, LEASE_S, read_lease, this_machine
from app.storage.remote_folder import RemoteFolder, StorageError
from app.storage.run_storage import run_storage
from app.storage.working_copy import remote_run
from tests.support.machines import Machine, lease_of

WHOLE = lease_of("another", 1)


def test_a_lease_of_a_process_that_is_gone_binds_nobody(uri: str, machine: Machine) -> None:
    place = RemoteFolder.open(uri).subfolder("r")
    gone = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True
    )
    for process, holds in ((os.getpid(), True), (int(gone.stdout), False)):
        place.write(LEASE, lease_of(this_machine(), process))
        assert (read_lease(place) is not None) == holds
    place.write(LEASE, lease_of("another", int(gone.stdout)))
    assert read_lease(place) is not None


@pytest.mark.parametrize("wrong_by", [-1e5, 1e5])
def test_neither_of_two_machines_clocks_decides_whether_a_lease_is_over(
    uri: str, machine: Machine, monkeypatch: pytest.MonkeyPatch, wrong_by: float
) -> None:
    place = RemoteFolder.open(uri).subfolder(f"r{wrong_by:g}")
    now = time.time()
    place.write(LEASE, lease_of("another", 1, until=now - wrong_by))
    monkeypatch.setattr(time, "time", lambda: now + wrong_by)
    assert read_lease(place) is not None
    assert place.names() == [LEASE]


@pytest.mark.parametrize("content", [WHOLE, WHOLE[:20], b"", b"[]", b'{"holder": 5}', b"\xff"])
def test_a_lease_that_cannot_be_read_is_somebodys_as_long_as_any_other(
    machine: Machine, tmp_path: Path, content: bytes
) -> None:
    folder = store.open_runs(f"file://{tmp_path}/place") / "r"
    place = remote_run(folder)
    assert place is not None
    place.write(LEASE, content)
    assert run_storage(folder).is_running()
    told = {
        WHOLE: r"^r is being run by another process, on h; where that is gone, the run is free ",
    }.get(content, r"^r may be in another process's hand: its lease\.json cannot be read; where ")
    with pytest.raises(StorageError, match=told):
        run_storage(folder).lock("stop").__enter__()
    for age, holds in ((LEASE_S - 20, True), (LEASE_S + 20, False)):
        then = time.time() - age
        os.utime(tmp_path / "place/r/lease.json", (then, then))
        assert run_storage(folder).is_running() == holds
