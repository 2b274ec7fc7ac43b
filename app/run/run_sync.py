"""A run that is kept behind a URI: in one process's hand, and sent there event by event."""

import contextlib
import json
import math
import os
import secrets
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from app.experiment.run_folder import JOURNAL
from app.run import store
from app.run.journal import Journal, JournalError
from app.run.result_file import RESULT
from app.storage import remote_folder
from app.storage.files import PARTIAL
from app.storage.remote_folder import CLOCK, LEASE, LEASE_S, Place, PlaceError
from app.storage.uploader import Courier, Stamp

STUDY_S = 10.0
"""How often the study, which grows, is sent while trials go on."""
FOLDERS = ("model", "code")
"""The folders of a run that its process makes; all others are what trials leave."""
TUNES = f"{store.TUNE}/"


class Mirror:
    """What a run's process writes in its folder here, and what its place has of it.

    What trials leave is sent by the nodes that have it, and here is only what was asked for.
    """

    def __init__(self, folder: Path, place: Place) -> None:
        self._folder = folder
        self._place = place
        self._courier = Courier(folder, place)
        self._journal: Journal | None = None
        self._checkpoints: set[str] = set()
        """Those that the place has."""
        self._studied_at = 0.0
        self._sending = threading.Lock()
        self.heard_of = math.inf
        """When the lease of this process was last renewed."""
        self.confirm: Callable[[], None] = _nothing
        """Looks whether the lease is still this process's."""
        self.lost: str | None = None
        """Why the run is not this process's any more."""

    def fetch(self) -> None:
        """Have the run here, as its place knows it; raises PlaceError where it has none."""
        names = self._place.names()
        if JOURNAL not in names:
            there = f"there is no {JOURNAL} in {self._place.uri}; nothing was changed"
            raise PlaceError(f"{self._folder.name}: its journal is gone: {there}")
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        ours = [name for name in names if "/" not in name and name not in (LEASE, store.STOP)]
        ours = [name for name in ours if not name.startswith(CLOCK)]
        remote_folder.fetch(self._folder, *ours)
        for folder in FOLDERS:
            self._place.fetch(folder, self._folder / folder)
        self._checkpoints = {_checkpoint(name) for name in names if name.startswith(TUNES)}
        self._courier.know([], self._here())

    def follow(self, journal: Journal) -> None:
        """Send what is here, and from now on what each of the journal's events comes with."""
        self._journal = journal
        journal.sent = self.send
        journal.held = self.check
        self.send()

    def send(self, *, whole: bool = False) -> None:
        """Send what changed: models before the journal that names them."""
        with self._sending:  # events may come from several threads
            self.check()
            is_time = whole or time.monotonic() > self._studied_at + STUDY_S
            not_yet = () if is_time else (store.STUDY,)
            self._courier.send(self._here(), last=(JOURNAL, RESULT), not_yet=not_yet)
            if is_time:
                self._studied_at = time.monotonic()
            self._remove_unneeded()

    def check(self) -> None:
        """Raise PlaceError where the run is not in this process's hand any more."""
        if self.lost is None and time.monotonic() > self.heard_of + LEASE_S:
            self.confirm()  # this process stood still, and another one may have come
        if self.lost is not None:
            raise PlaceError(self.lost)

    def _remove_unneeded(self) -> None:
        """Remove checkpoints that the journal names no more, or that a crash left."""
        if self._journal is None:
            return
        trials = self._journal.record.trials.values()
        needed = {name for trial in trials for name in trial.checkpoints.values()}
        for name in self._checkpoints - needed:
            self._place.remove_folder(name)
        self._checkpoints = needed

    def _here(self) -> dict[str, Stamp]:
        """What here is to be there too."""
        files = (
            path
            for path in self._folder.glob("*")
            if PARTIAL not in path.name and path.name != store.STOP
        )
        folders = (path for name in FOLDERS for path in (self._folder / name).rglob("*"))
        return self._courier.stamps([*files, *folders])


def _nothing() -> None:
    """Do nothing: the default before a lease is held."""


def _checkpoint(name: str) -> str:
    """The folder of the checkpoint that a file is of."""
    return "/".join(name.split("/")[:3])


@contextlib.contextmanager
def held(folder: Path, *, fetch: bool) -> Iterator[Mirror | None]:
    """Have the run of a folder in hand, fetched where that is asked for.

    None where runs are kept right there. Raises JournalError where another process has it.
    """
    place = remote_folder.place_of(folder)
    if place is None:
        yield None
        return
    if remote_folder.is_held_here(folder):
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
    other = remote_folder.lease(place)
    if other is not None and other["host"] is None:
        raise JournalError(
            f"{folder.name} may be in another process's hand: its {LEASE} cannot be read; where"
            f" nobody has it, the run is free {LEASE_S:g} s after that was written"
        )
    if other is not None:
        raise JournalError(
            f"{folder.name} is being run by another process, on {other['host']}; where that is"
            f" gone, the run is free after {LEASE_S:g} s"
        )
    mine = secrets.token_hex(8)
    _renew(place, mine)
    if _taken_by(place, mine) is not None:
        raise JournalError(f"{folder.name} is being run by another process")

    def confirm() -> None:
        taken = _taken_by(place, mine)
        mirror.lost = None if taken is None else f"{folder.name}: {taken}"

    mirror.confirm, mirror.heard_of = confirm, time.monotonic()
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
    while not over.wait(LEASE_S / 20):
        try:
            mirror.confirm()
            if mirror.lost is not None:
                return
            if time.monotonic() > mirror.heard_of + LEASE_S / 4:
                _renew(place, mine)
                mirror.heard_of = time.monotonic()
            if place.read(store.STOP) is not None:
                (folder / store.STOP).touch()
        except (PlaceError, OSError) as error:
            if time.monotonic() > mirror.heard_of + LEASE_S:
                mirror.lost = str(error)
                return
        except Exception as error:  # nobody else would hear of it
            mirror.lost = f"{folder.name}: its {LEASE} cannot be kept: {error}"
            return


def _renew(place: Place, mine: str) -> None:
    held = {
        "holder": mine,
        "machine": remote_folder.machine(),
        "host": socket.gethostname(),
        "process": os.getpid(),
        # Older versions look at this alone.
        "until": time.time() + LEASE_S,
    }
    place.write(LEASE, json.dumps(held).encode())


def _taken_by(place: Place, mine: str) -> str | None:
    """Why this process does not hold the run's lease any more; None while it does."""
    content = place.read(LEASE)
    if content is None:
        return "another process has had the run in hand"
    holder = remote_folder.read_lease(content)["holder"]
    if holder is None:
        return f"its {LEASE} cannot be read: another process may have taken the run in hand"
    return None if holder == mine else "another process has taken the run in hand"
