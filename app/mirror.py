"""A run that is kept behind a URI: in one process's hand, and sent there event by event."""

import contextlib
import json
import os
import secrets
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from app import places, store
from app.journal import JOURNAL, PARTIAL, RESULT, Journal, JournalError
from app.places import LEASE, LEASE_S, Place, PlaceError

AT_ONCE = 8
SELDOM = (f"{store.LOGS}/", "study.log")
SELDOM_S = 10.0
"""How often logs and the study, which grow, are sent while trials go on."""
OF_THE_RUN = (store.LOGS, "model", "code")
OF_A_TRIAL = ("checkpoints", "model", "output")
"""What of a script's own folders counts; the rest is laid out anew."""

TUNES = f"{store.TUNE}/"
Stamp = tuple[int, int]


class Mirror:
    """A run's folder here, and what its place has of it."""

    def __init__(self, folder: Path, place: Place) -> None:
        self._folder = folder
        self._place = place
        self._journal: Journal | None = None
        self._sent: dict[str, Stamp] = {}
        self._seldom_at = 0.0
        self._sending = threading.Lock()
        self.lost: str | None = None
        """Why the run is not this process's any more."""

    def fetch(self) -> None:
        """Have the whole run here, as its place knows it; raises PlaceError where it has none."""
        from pyarrow.fs import LocalFileSystem, copy_files

        names = self._place.files(below=True)
        if JOURNAL not in names:
            raise PlaceError(f"--runs: there is no {JOURNAL} in {self._place.uri}")
        for name in names:
            if ".." in name.split("/"):
                raise PlaceError(f"--runs: {self._place.uri} has a file called {name!r}")
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        there = self._place
        there.told(
            "read",
            lambda: copy_files(there.path, str(self._folder), there.system, LocalFileSystem()),
        )
        for name in (LEASE, store.STOP):
            (self._folder / name).unlink(missing_ok=True)
        self._sent = self._stamps(self._folder.rglob("*"))

    def follow(self, journal: Journal) -> None:
        """Send what is here, and from now on what each of the journal's events comes with."""
        self._journal = journal
        journal.sent = self.send
        self.send()

    def send(self, *, whole: bool = False) -> None:
        """Send what changed: checkpoints and models before the journal that names them."""
        with self._sending:  # events may come from several threads
            if self.lost is not None:
                raise PlaceError(self.lost)
            self._send_changed(whole=whole)

    def _send_changed(self, *, whole: bool) -> None:
        here = self._stamps(self._files())
        changed = [name for name, stamp in here.items() if self._sent.get(name) != stamp]
        last = [name for name in (JOURNAL, RESULT) if name in changed]
        if not whole and time.monotonic() < self._seldom_at + SELDOM_S:
            changed = [name for name in changed if not name.startswith(SELDOM)]
        else:
            self._seldom_at = time.monotonic()
        first = [name for name in changed if name not in last]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(self._send, first))
            for name in last:
                self._send(name)
            stale = [name for name in self._sent if name not in here]
            checkpoints = {_checkpoint(name) for name in stale if name.startswith(TUNES)}
            list(pool.map(self._place.remove_folder, checkpoints))
            list(pool.map(self._place.remove, [n for n in stale if not n.startswith(TUNES)]))
        sent = {**self._sent, **{name: here[name] for name in changed}}
        self._sent = {name: stamp for name, stamp in sent.items() if name in here}

    def _send(self, name: str) -> None:
        try:
            self._place.send(self._folder / name, name)
        except FileNotFoundError as error:
            if (self._folder / name).exists():
                raise PlaceError(f"--runs: cannot write {self._place.uri}: {error}") from error

    def _files(self) -> Iterator[Path]:
        """What counts of the run."""
        yield from self._folder.glob("*")
        for name in OF_THE_RUN:
            yield from (self._folder / name).rglob("*")
        for name in OF_A_TRIAL:
            for folder in self._folder.glob(f"{store.TRIALS}/*/{name}"):
                yield from folder.rglob("*")
        trials = self._journal.record.trials.values() if self._journal else ()
        for trial in trials:
            for checkpoint in trial.checkpoints.values():
                yield from (self._folder / checkpoint).rglob("*")

    def _stamps(self, paths: Iterator[Path]) -> dict[str, Stamp]:
        found = {}
        for path in paths:
            is_ours = path.parent == self._folder
            if path.is_symlink() or (is_ours and (PARTIAL in path.name or path.name == store.STOP)):
                continue
            with contextlib.suppress(FileNotFoundError):
                if path.is_file():
                    status = path.stat()
                    name = path.relative_to(self._folder).as_posix()
                    found[name] = (status.st_size, status.st_mtime_ns)
        return found


def _checkpoint(name: str) -> str:
    """The folder of the checkpoint that a file is of."""
    return "/".join(name.split("/")[:3])


@contextlib.contextmanager
def held(folder: Path, *, fetch: bool) -> Iterator[Mirror | None]:
    """Have the run of a folder in hand, fetched where that is asked for.

    None where runs are kept right there. Raises JournalError where another process has it.
    """
    place = places.place_of(folder)
    if place is None:
        yield None
        return
    if places.is_held_here(folder):
        raise JournalError(f"{folder.name} is being run by another process")
    mirror = Mirror(folder, place)
    with _leased(place, folder, mirror):
        if fetch:
            mirror.fetch()
        try:
            yield mirror
        except BaseException:
            with contextlib.suppress(PlaceError):
                mirror.send(whole=True)
            raise
        mirror.send(whole=True)


@contextlib.contextmanager
def _leased(place: Place, folder: Path, mirror: Mirror) -> Iterator[None]:
    """Meanwhile nobody else has the run in hand; asks on the way whether it is to stop."""
    other = places.lease(place)
    if other is not None:
        raise JournalError(
            f"{folder.name} is being run by another process, on {other['host']}; where that is"
            f" gone, the run is free after {LEASE_S:g} s"
        )
    mine = secrets.token_hex(8)
    _renew(place, mine)
    if _holder(place) != mine:
        raise JournalError(f"{folder.name} is being run by another process")
    place.remove(store.STOP)
    over = threading.Event()
    thread = threading.Thread(target=_keep, args=(place, folder, mirror, mine, over), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        if mirror.lost is None:
            with contextlib.suppress(PlaceError):
                place.remove(store.STOP)
                place.remove(LEASE)


def _keep(place: Place, folder: Path, mirror: Mirror, mine: str, over: threading.Event) -> None:
    """Renew the lease until it is over; what is wrong with it the mirror tells."""
    renewed = time.monotonic()
    while not over.wait(LEASE_S / 20):
        try:
            if _holder(place) not in (mine, None):
                mirror.lost = f"{folder.name}: another process has taken the run in hand"
                return
            if time.monotonic() > renewed + LEASE_S / 4:
                _renew(place, mine)
                renewed = time.monotonic()
            if place.read(store.STOP) is not None:
                (folder / store.STOP).touch()
        except (PlaceError, OSError) as error:
            if time.monotonic() > renewed + LEASE_S:
                mirror.lost = str(error)
                return


def _renew(place: Place, mine: str) -> None:
    held = {
        "holder": mine,
        "machine": places.machine(),
        "host": socket.gethostname(),
        "process": os.getpid(),
        "until": time.time() + LEASE_S,
    }
    place.write(LEASE, json.dumps(held).encode())


def _holder(place: Place) -> str | None:
    held = json.loads(place.read(LEASE) or b"{}")
    return str(held["holder"]) if "holder" in held else None
