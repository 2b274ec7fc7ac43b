"""Files of a trial on its node: checkpoints, its log, and what it makes in a folder of its own.

Behind a URI they are sent to the run's place before the event that tells of them is written, and
fetched from there when the trial goes on on another node.
"""

import os
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Protocol

from app.storage.remote_folder import RemoteFolder, StorageError
from app.storage.trial_files import log_path, trial_folder
from app.storage.uploader import Stamp, Uploader
from trainables.script.process import wait_until_free
from trainables.script.tree import Tree

SEND_S = 10.0
"""Interval at which files that grow or are made are sent."""
SETTLED_S = 1.0
"""Age below which a file may not be whole: it is sent the next time, or with the next report."""


class TrialArtifacts(Protocol):
    """The files of one trial, as its process has them."""

    def open(self) -> None:
        """Have what the trial left before, and keep it up to date from now on."""
        ...

    def leave_process(self) -> None:
        """Leave the files as the process ends, or goes on with another trial."""
        ...

    def stop_sending(self) -> None:
        """Send nothing more from this process."""
        ...

    def send_last(self) -> None:
        """Send the last of them, once nothing of the trial runs any more."""
        ...

    def keep_checkpoint(self, folder: Path, *, is_counted: bool) -> None:
        """Let a checkpoint survive a loss of power, or of this node.

        `is_counted` says whether an epoch was reported with it.
        """
        ...

    def checkpoint_name(self, folder: Path) -> str:
        """The name by which `checkpoint` finds the checkpoint that Tune has in a folder."""
        ...

    def checkpoint(self, name: str) -> AbstractContextManager[Path | None]:
        """Open a checkpoint by its name below the run's folder; None where there is none."""
        ...


class LocalArtifacts:
    """Files that stay where they are written: all nodes share the run's folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self) -> None:
        """Do nothing."""

    def leave_process(self) -> None:
        """Do nothing."""

    def stop_sending(self) -> None:
        """Do nothing."""

    def send_last(self) -> None:
        """Do nothing."""

    def keep_checkpoint(self, folder: Path, *, is_counted: bool) -> None:
        """Wait until a checkpoint's files, and their names, are on the disk."""
        for path in (*folder.rglob("*"), folder):
            file = os.open(path, os.O_RDONLY)
            try:
                os.fsync(file)
            finally:
                os.close(file)

    def checkpoint_name(self, folder: Path) -> str:
        """The folder itself."""
        return str(folder)

    @contextmanager
    def checkpoint(self, name: str) -> Iterator[Path | None]:
        """Give the folder, if it is there."""
        folder = self._folder / name
        yield folder if folder.is_dir() else None


class RemoteArtifacts:
    """Files of a class or function, sent to the run's place: its log and its folder."""

    def __init__(self, place: RemoteFolder, folder: Path, trial_id: str) -> None:
        """Work in `folder`, which is the run's on this node."""
        self._place = place
        self._folder = folder
        self._log = log_path(folder, trial_id)
        self._tree = Tree(trial_folder(folder, trial_id))
        self._uploader = Uploader(folder, place)
        self._sending = threading.Lock()
        self._over = threading.Event()

    def open(self) -> None:
        """Fetch what the trial left anywhere, and send now and then what has changed."""
        self.fetch()
        threading.Thread(target=self._follow, daemon=True).start()

    def fetch(self) -> None:
        """Fetch what the trial left anywhere, in place of what it left here."""
        self._wait_until_free()
        base, log = self._name(self._tree.base), self._name(self._log)
        there = [f"{base}/{name}" for name in self._place.subfolder(base).names()]
        shutil.rmtree(self._tree.base, ignore_errors=True)
        self._log.unlink(missing_ok=True)
        needed = self._needed()
        self._place.download(self._name(needed), needed)
        printed = self._place.read(log)
        if printed is not None:
            self._log.parent.mkdir(parents=True, exist_ok=True)
            self._log.write_bytes(printed)
        self._uploader.assume(there, self._stamps())

    def leave_process(self) -> None:
        """Send the last of them."""
        self.send_last()

    def stop_sending(self) -> None:
        """Send nothing more from this process."""
        with self._sending:
            self._over.set()

    def keep_checkpoint(self, folder: Path, *, is_counted: bool) -> None:
        """Send a checkpoint, which does not stay here, and what has changed beside the log."""
        if not is_counted:
            shutil.rmtree(folder)
            return
        with self._sending:
            uploader = Uploader(self._folder, self._place)
            uploader.upload(uploader.stamps(folder.rglob("*")))
            shutil.rmtree(folder, ignore_errors=True)
            self._uploader.upload(self._stamps(), postponed=[self._name(self._log)])

    def send_last(self) -> None:
        """Send the last of them once nothing of the trial runs any more; nothing stays here."""
        if self._over.is_set():
            return
        self._wait_until_free()
        with self._sending:
            self._over.set()
            self._uploader.upload(self._stamps())
            shutil.rmtree(self._tree.base, ignore_errors=True)
            self._log.unlink(missing_ok=True)

    def send_log(self) -> None:
        """Send what the trial printed before its process was lost; it does not stay here.

        Nor does what a class wrote since its files were last sent.
        """
        self._uploader.upload(self._uploader.stamps([self._log]))
        self._log.unlink(missing_ok=True)
        shutil.rmtree(self._tree.base, ignore_errors=True)

    def checkpoint_name(self, folder: Path) -> str:
        """The part of the path below the run's folder."""
        return str(Path(*folder.parts[-3:]))

    @contextmanager
    def checkpoint(self, name: str) -> Iterator[Path | None]:
        """Fetch the checkpoint for as long as it is open."""
        folder = self._folder / name
        if not self._place.download(name, folder):
            yield None
            return
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _follow(self) -> None:
        while not self._over.wait(SEND_S):
            # An error that lasts is raised when the trial reports.
            with suppress(StorageError), self._sending:
                if self._over.is_set():
                    return
                stamps = self._stamps()
                settled = time.time_ns() - SETTLED_S * 10**9
                fresh = {name for name, (_, written) in stamps.items() if written > settled}
                self._uploader.upload(stamps, postponed=fresh - {self._name(self._log)})

    def _stamps(self) -> dict[str, Stamp]:
        # Unlike a glob, a walk does not mind folders that go away meanwhile.
        walked = (found for folder in self._sent() for found in os.walk(folder))
        files = (Path(folder, name) for folder, _, names in walked for name in names)
        return self._uploader.stamps([self._log, *files])

    def _needed(self) -> Path:
        """The folder that the trial needs to go on."""
        return self._tree.base

    def _sent(self) -> Sequence[Path]:
        """The folders whose files are sent."""
        return (self._tree.base,)

    def _wait_until_free(self) -> None:
        """Wait until nothing of the trial runs any more: a class has ended by now."""

    def _name(self, path: Path) -> str:
        return path.relative_to(self._folder).as_posix()


class RemoteScriptArtifacts(RemoteArtifacts):
    """Files of a script: its checkpoints, its model and its output.

    What is left of a script may go on for a while after its trial has ended.
    """

    def leave_process(self) -> None:
        """Let another process send the last of them, when the script has ended."""
        self.stop_sending()

    def send_log(self) -> None:
        """Send what the script printed before its process was lost; its files stay."""
        self._uploader.upload(self._uploader.stamps([self._log]))
        self._log.unlink(missing_ok=True)

    def _needed(self) -> Path:
        return self._tree.checkpoints

    def _sent(self) -> Sequence[Path]:
        return (self._tree.checkpoints, self._tree.model, self._tree.output)

    def _wait_until_free(self) -> None:
        wait_until_free(self._tree.lock)
