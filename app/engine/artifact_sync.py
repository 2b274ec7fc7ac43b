"""What a trial leaves on its node: kept at the run's place behind a URI, and fetched from there.

Nodes share no folder: each works below one of its own, and what a trial goes on from, its log and
what its script made are sent before the event that comes with them is told.
"""

import hashlib
import os
import shutil
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from app.experiment.run_folder import CODE
from app.run.store import log_path, trial_folder
from app.storage.remote_folder import Place, PlaceError, nodes_folder, place_of
from app.storage.uploader import Courier, Stamp
from trainables.data_parallel.placement_group import this_node
from trainables.script.channels import alone
from trainables.script.environment import Tree
from trainables.script.process import wait_until_free

SEND_S = 10.0
"""How often what grows or is made meanwhile is sent."""
SETTLED_S = 1.0
"""What was written since may not be whole: it is sent the next time, or with the next report."""


@dataclass(frozen=True)
class Quarters:
    """Where a run is kept, as each node of its cluster knows it."""

    place: Place
    run: Path
    """The folder of the run's own process."""
    node: str
    """The node of that, by Ray's name."""
    is_script: bool
    origin: Path | None = None
    """The folder of the node of a trial's first process, for those that help it on others."""
    first: str | None = None
    """That node, by Ray's name."""

    @property
    def folder(self) -> Path:
        """The folder of the node that this is called on."""
        within = hashlib.sha256(self.place.uri.encode()).hexdigest()[:16]
        return nodes_folder() / within / self.place.path.rpartition("/")[2]

    def from_here(self) -> "Quarters":
        """The same for those that help a trial whose first process this is."""
        return replace(self, origin=self.folder, first=this_node())

    @property
    def is_with_first(self) -> bool:
        """Whether the trial's first process is on this node, too."""
        return self.first == this_node()

    def code(self, digest: str) -> Path:
        """The run's copy of its script, on this node."""
        if this_node() == self.node:
            return self.run / CODE
        here = self.folder / f"{CODE}.{digest[:16]}"
        with alone(here):
            if not here.is_dir():
                self.place.fetch(CODE, here)
        return here

    def here(self, path: Path) -> Path:
        """The path on this node for one on the node of the trial's first process."""
        return self.folder / self._name(path)

    def fetch(self, path: Path, target: Path) -> None:
        """Have a folder here as the trial's first process sent it, or began with it."""
        self.place.fetch(self._name(path), target)
        target.mkdir(exist_ok=True)

    def _name(self, path: Path) -> str:
        assert self.origin is not None  # a trial's first process says so
        return path.relative_to(self.origin).as_posix()

    def belongings(self, trial_id: str) -> "Belongings":
        """Those of a trial that are here."""
        return Belongings(self.place, self.folder, trial_id, is_script=self.is_script)


def quarters(folder: Path, *, is_script: bool) -> Quarters | None:
    """Of the run in this folder; None where it is kept right there, for all nodes."""
    place = place_of(folder)
    if place is None:
        return None
    return Quarters(place.with_keys(), folder, this_node(), is_script)


class Belongings:
    """What one trial leaves on this node: its log and its folder, of a script's what counts."""

    def __init__(self, place: Place, folder: Path, trial_id: str, *, is_script: bool) -> None:
        self._place = place
        self._is_script = is_script
        self._folder = folder
        self._log = log_path(folder, trial_id)
        self._tree = Tree(trial_folder(folder, trial_id))
        self._courier = Courier(folder, place)
        self._sending = threading.Lock()
        self._over = threading.Event()

    def fetch(self) -> None:
        """Have here what the trial left anywhere, in place of what it left here."""
        self._wait_until_free()
        base, log = self._name(self._tree.base), self._name(self._log)
        kept = self._tree.checkpoints if self._is_script else self._tree.base
        there = [f"{base}/{name}" for name in self._place.below(base).names()]
        shutil.rmtree(self._tree.base, ignore_errors=True)
        self._log.unlink(missing_ok=True)
        self._place.fetch(self._name(kept), kept)
        printed = self._place.read(log)
        if printed is not None:
            self._log.parent.mkdir(parents=True, exist_ok=True)
            self._log.write_bytes(printed)
        self._courier.know(there, self._here())

    def follow(self) -> None:
        """From now on send now and then what has changed, until the last is sent."""
        threading.Thread(target=self._follow, daemon=True).start()

    def leave(self) -> None:
        """Send nothing more from this process."""
        with self._sending:
            self._over.set()

    def send(self, checkpoint: Path) -> None:
        """Send a checkpoint, which does not stay here, and what has changed beside the log."""
        with self._sending:
            courier = Courier(self._folder, self._place)
            courier.send(courier.stamps(checkpoint.rglob("*")))
            shutil.rmtree(checkpoint, ignore_errors=True)
            self._courier.send(self._here(), not_yet=[self._name(self._log)])

    def send_last(self) -> None:
        """Send the last of it, once nothing of the trial runs any more; nothing of it stays."""
        if self._over.is_set():
            return
        self._wait_until_free()
        with self._sending:
            self._over.set()
            self._courier.send(self._here())
            shutil.rmtree(self._tree.base, ignore_errors=True)
            self._log.unlink(missing_ok=True)

    def send_log(self) -> None:
        """Send what the trial printed before its process was lost; it does not stay here.

        Nor does what a class wrote since its files were last sent.
        """
        self._courier.send(self._courier.stamps([self._log]))
        self._log.unlink(missing_ok=True)
        if not self._is_script:
            shutil.rmtree(self._tree.base, ignore_errors=True)

    def fetched(self, checkpoint: str) -> Path | None:
        """A checkpoint of the trial here, by its name below the run's folder; None for none."""
        here = self._folder / checkpoint
        return here if self._place.fetch(checkpoint, here) else None

    def _follow(self) -> None:
        while not self._over.wait(SEND_S):
            # What is still wrong when the trial reports is told then.
            with suppress(PlaceError), self._sending:
                if self._over.is_set():
                    return
                here = self._here()
                settled = time.time_ns() - SETTLED_S * 10**9
                fresh = {name for name, (_, written) in here.items() if written > settled}
                self._courier.send(here, not_yet=fresh - {self._name(self._log)})

    def _here(self) -> dict[str, Stamp]:
        tree = self._tree
        folders = (tree.checkpoints, tree.model, tree.output) if self._is_script else (tree.base,)
        # Unlike a glob, this takes it that folders go away meanwhile.
        walked = (found for folder in folders for found in os.walk(folder))
        files = (Path(folder, name) for folder, _, names in walked for name in names)
        return self._courier.stamps([self._log, *files])

    def _wait_until_free(self) -> None:
        if self._is_script:
            wait_until_free(self._tree.lock)

    def _name(self, path: Path) -> str:
        return path.relative_to(self._folder).as_posix()
