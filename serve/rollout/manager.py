"""Swap and rollback: the version that answers, the one before it, and the next."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from serve.models.manifest import ArtifactError
from serve.rollout.store import ModelStore, Version


class ModelHost(Protocol):
    """The process or processes in which models are loaded.

    `LoadedModels` is this process; a supervisor's workers and Ray Serve's replicas are others.
    """

    def load(self, folder: Path) -> None:
        """Verify and load a model beside the one that answers; raises `ArtifactError`."""

    def answer(self, folder: Path) -> None:
        """Let a loaded model answer every request from now on."""

    def drop(self, folder: Path) -> None:
        """Forget a loaded model when its requests have ended."""


class VersionManager:
    """Replaces the version that answers by another; a change that fails has no effect.

    The version before stays loaded, so that a rollback is immediate.
    """

    def __init__(
        self, store: ModelStore, host: ModelHost, first: Path | str, say: Callable[[str], None]
    ) -> None:
        self._store = store
        self._host = host
        self._say = say
        self._load_lock = threading.Lock()
        self._change_lock = threading.Lock()
        self.current = self._load(first)
        self.previous: Version | None = None
        host.answer(self.current.folder)

    def swap(self, source: Path | str) -> str:
        """Copy, verify and load the model of a folder or a URI, then let it answer.

        Returns one line about it. Raises ArtifactError if the model cannot be loaded; the current
        one goes on.
        """
        with self._load_lock:
            version = self._load(source)
            with self._change_lock:
                previous = self.current
                if version.manifest == previous.manifest:
                    self._drop(version)
                    return f"{previous.description} answers already"
                self._answer(version)
                stale, self.previous, self.current = self.previous, previous, version
        if stale is not None:
            self._drop(stale)
        return self._report(version, previous)

    def rollback(self) -> str:
        """Let the version before answer again, and drop the current one; returns one line about it.

        Raises ArtifactError if there is no version before.
        """
        with self._change_lock:
            current, previous = self.current, self.previous
            if previous is None:
                raise ArtifactError(
                    f"there is no version before {current.manifest.version} to return to"
                )
            self._answer(previous)
            self.current, self.previous = previous, None
        self._drop(current)
        return self._report(previous, current)

    def _load(self, source: Path | str) -> Version:
        version = self._store.add(source)
        try:
            self._host.load(version.folder)
        except ArtifactError as error:
            self._store.remove(version)
            # The user knows the folder by its own name, not by its copy's.
            raise ArtifactError(str(error).replace(str(version.folder), str(source))) from error
        return version

    def _answer(self, version: Version) -> None:
        try:
            self._host.answer(version.folder)
        except ArtifactError:
            self._drop(version)
            raise

    def _drop(self, version: Version) -> None:
        self._host.drop(version.folder)
        self._store.remove(version)

    def _report(self, current: Version, previous: Version) -> str:
        line = f"{current.description} answers now, {previous.manifest.version} until now"
        self._say(line)
        return line
