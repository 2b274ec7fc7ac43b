"""The versions of an endpoint's model: the one that answers, the one before it, and the next."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from serve.models.manifest import ArtifactError
from serve.rollout.store import Shelf, Version


class Holder(Protocol):
    """Who holds loaded models: this process, or the workers of a fleet together."""

    def load(self, folder: Path) -> None:
        """Verify, load and warm a model beside what answers; an `ArtifactError` says why not."""

    def answer(self, folder: Path) -> None:
        """Let a loaded model answer every request from now on."""

    def drop(self, folder: Path) -> None:
        """Forget a loaded model, once it has answered what it has in hand."""


@dataclass(frozen=True)
class Change:
    """What a swap or a rollback came to."""

    now: Version
    before: Version

    @property
    def said(self) -> str:
        """It in one line."""
        if self.now is self.before:
            return f"{self.now.said} answers already"
        return f"{self.now.said} answers now, {self.before.manifest.version} until now"

    def as_json(self) -> dict[str, Any]:
        """It for who asked by HTTP."""
        return {
            "version": self.now.manifest.version,
            "before": self.before.manifest.version,
            "said": self.said,
        }


class Versions:
    """Puts one version in the place of another; what fails changes nothing.

    The version before stays loaded, so that going back to it takes no time.
    """

    def __init__(
        self, shelf: Shelf, holder: Holder, first: Path, say: Callable[[str], None]
    ) -> None:
        self._shelf = shelf
        self._holder = holder
        self._say = say
        self._loading = threading.Lock()
        self._changing = threading.Lock()
        self.current = self._loaded(first)
        self.earlier: Version | None = None
        holder.answer(self.current.folder)

    def swap(self, source: Path) -> Change:
        """Let the model of a folder answer; an `ArtifactError` says why it cannot."""
        with self._loading:
            version = self._loaded(source)
            with self._changing:
                before = self.current
                if version.manifest == before.manifest:
                    self._forget(version)
                    return Change(before, before)
                self._answer(version)
                stale, self.earlier, self.current = self.earlier, before, version
        if stale is not None:
            self._forget(stale)
        return self._told(Change(version, before))

    def rollback(self) -> Change:
        """Let the version before answer again, and forget the one that did until now."""
        with self._changing:
            before, back = self.current, self.earlier
            if back is None:
                raise ArtifactError(
                    f"there is no version before {before.manifest.version} to go back to"
                )
            self._answer(back)
            self.current, self.earlier = back, None
        self._forget(before)
        return self._told(Change(back, before))

    def as_json(self) -> dict[str, Any]:
        """Which versions there are."""
        earlier = self.earlier
        return {
            "version": self.current.manifest.version,
            "earlier": None if earlier is None else earlier.manifest.version,
            "model": self.current.manifest.public(),
        }

    def _loaded(self, source: Path) -> Version:
        """The model of a folder, copied and loaded."""
        version = self._shelf.put(source)
        try:
            self._holder.load(version.folder)
        except ArtifactError as error:
            self._shelf.remove(version)
            # Whoever reads it knows the folder by its own name, not by its copy's.
            raise ArtifactError(str(error).replace(str(version.folder), str(source))) from error
        return version

    def _answer(self, version: Version) -> None:
        try:
            self._holder.answer(version.folder)
        except ArtifactError:
            self._forget(version)
            raise

    def _forget(self, version: Version) -> None:
        self._holder.drop(version.folder)
        self._shelf.remove(version)

    def _told(self, change: Change) -> Change:
        self._say(change.said)
        return change
