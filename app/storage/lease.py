"""The lease of a run: which process has it in hand.

On one machine that is a lock on the journal. Behind a URI it is a file, `lease.json`, that its
holder renews; it expires a minute after it was written, by the store's clock.
"""

import fcntl
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from app.storage.json_fields import NEEDED, Fields, is_count, validate
from app.storage.remote_folder import RemoteFolder, StorageError

JOURNAL = "journal.jsonl"
"""The file that a run's process locks on its machine."""
LEASE = "lease.json"
LEASE_S = 60.0
"""How long a lease holds after it was written."""
FIELDS: Fields = {
    "holder": (str, NEEDED),
    "machine": (str, NEEDED),
    "host": (str, NEEDED),
    "process": (is_count, NEEDED),
}
"""Fields of a lease, which name its holder."""


def is_locked_here(run: Path) -> bool:
    """Whether a process on this machine has locked the run's journal."""
    try:
        file = os.open(run / JOURNAL, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


def read_lease(remote: RemoteFolder) -> dict[str, Any] | None:
    """Return the lease of a run; None where there is none, it expired, or its process is gone.

    One that cannot be read counts until it expires; its fields are None.
    """
    content = remote.read(LEASE)
    if content is None:
        return None
    fields = _parse(content)
    if fields["machine"] == this_machine() and not Path(f"/proc/{fields['process']}").exists():
        return None
    age = remote.age(LEASE)
    return None if age is None or age > LEASE_S else fields


def _parse(content: bytes) -> dict[str, Any]:
    """The fields of a lease; all are None where it cannot be read."""
    with suppress(ValueError):
        return validate("lease", json.loads(content), FIELDS)
    return dict.fromkeys(FIELDS)


def this_machine() -> str:
    """Identify this machine since it booted, and its processes' namespace."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}-{Path('/proc/self/ns/pid').stat().st_ino}"


class Lease:
    """A lease that this process holds and a thread renews."""

    def __init__(self, remote: RemoteFolder, folder: Path, stop: str) -> None:
        """Take the lease of the run in `folder`, and look for a file `stop` on the way.

        Raises StorageError where another process has it.
        """
        self._remote = remote
        self._folder = folder
        self._stop = stop
        self._holder = secrets.token_hex(8)
        self._lost: str | None = None
        """Why another process may have the run."""
        self._over = threading.Event()
        self._check_free()
        self._write()
        if self._taken() is not None:
            raise StorageError(f"{folder.name} is being run by another process")
        self._written_at = time.monotonic()
        remote.remove(stop)
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise StorageError where this process does not hold the lease any more."""
        if self._lost is None and time.monotonic() > self._written_at + LEASE_S:
            self._confirm()  # this process stood still, and another one may have come
        if self._lost is not None:
            raise StorageError(self._lost)

    def release(self) -> None:
        """Remove the lease, and a request to stop that came too late."""
        self._over.set()
        self._thread.join()
        if self._lost is None:
            with suppress(StorageError):
                self._remote.remove(self._stop)
                self._remote.remove(LEASE)

    def _check_free(self) -> None:
        other, name = read_lease(self._remote), self._folder.name
        if other is None:
            return
        if other["host"] is None:
            raise StorageError(
                f"{name} may be in another process's hand: its {LEASE} cannot be read; where"
                f" nobody has it, the run is free {LEASE_S:g} s after that was written"
            )
        raise StorageError(
            f"{name} is being run by another process, on {other['host']}; where that is"
            f" gone, the run is free after {LEASE_S:g} s"
        )

    def _write(self) -> None:
        fields = {
            "holder": self._holder,
            "machine": this_machine(),
            "host": socket.gethostname(),
            "process": os.getpid(),
            # Older versions look at this alone.
            "until": time.time() + LEASE_S,
        }
        self._remote.write(LEASE, json.dumps(fields).encode())

    def _taken(self) -> str | None:
        """Why this process does not hold the lease any more; None while it does."""
        content = self._remote.read(LEASE)
        if content is None:
            return "another process has had the run in hand"
        holder = _parse(content)["holder"]
        if holder is None:
            return f"its {LEASE} cannot be read: another process may have taken the run in hand"
        return None if holder == self._holder else "another process has taken the run in hand"

    def _confirm(self) -> None:
        taken = self._taken()
        self._lost = None if taken is None else f"{self._folder.name}: {taken}"

    def _keep(self) -> None:
        """Renew the lease until it is released; `check` raises what goes wrong here."""
        while not self._over.wait(LEASE_S / 20):
            try:
                self._confirm()
                if self._lost is not None:
                    return
                if time.monotonic() > self._written_at + LEASE_S / 4:
                    self._write()
                    self._written_at = time.monotonic()
                if self._remote.read(self._stop) is not None:
                    (self._folder / self._stop).touch()
            except (StorageError, OSError) as error:
                if time.monotonic() > self._written_at + LEASE_S:
                    self._lost = str(error)
                    return
            except Exception as error:  # nobody else would hear of it
                self._lost = f"{self._folder.name}: its {LEASE} cannot be kept: {error}"
                return


@contextmanager
def hold_lease(remote: RemoteFolder, folder: Path, stop: str) -> Iterator[Lease]:
    """Hold the lease of a run during the block; raises StorageError where another process has it.

    A file `stop` beside the lease is a request to stop: it is copied to `folder`.
    """
    if is_locked_here(folder):
        raise StorageError(f"{folder.name} is being run by another process")
    lease = Lease(remote, folder, stop)
    try:
        yield lease
    finally:
        lease.release()
