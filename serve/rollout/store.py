"""Copies of model folders in a private place: what happens to the folders then does no harm."""

import contextlib
import itertools
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from serve.models.artifact import read_manifest
from serve.models.files import is_path, names_below, open_regular
from serve.models.manifest import HANDLERS_FORMAT, MANIFEST, ArtifactError, Manifest

ATTEMPTS = 3
PAUSE_SECONDS = 0.02


@dataclass(frozen=True)
class Version:
    """One version of an endpoint's model, on the shelf."""

    folder: Path
    """The copy, which nobody else changes."""
    manifest: Manifest
    source: Path
    """Where it was copied from."""

    @property
    def said(self) -> str:
        """What it is, in a few words."""
        manifest = self.manifest
        trial = f", trial {manifest.trial_id}" if manifest.trial_id else ""
        run = f" (run {manifest.run}{trial})" if manifest.run else ""
        return f"{manifest.name} {manifest.version}{run}"


class Shelf:
    """A folder of copies."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count(1)

    def put(self, source: Path) -> Version:
        """Copy a model folder; whoever loads the copy verifies it."""
        for _ in range(ATTEMPTS - 1):
            # What is wrong may be that a newer model just takes the place of this one.
            with contextlib.suppress(ArtifactError):
                return self._copied(source)
            time.sleep(PAUSE_SECONDS)
        return self._copied(source)

    def _copied(self, source: Path) -> Version:
        manifest = read_manifest(source)
        copy = self._folder / str(next(self._numbers))
        try:
            for name in (MANIFEST, *_files(source, manifest)):
                _copy(source, copy, name)
            if read_manifest(copy) != manifest or read_manifest(source) != manifest:
                raise ArtifactError(f"{source}: is changed over and over; export the model again")
        except OSError as error:
            shutil.rmtree(copy, ignore_errors=True)
            raise ArtifactError(f"{source}: cannot be copied: {error.strerror}") from error
        except ArtifactError:
            shutil.rmtree(copy, ignore_errors=True)
            raise
        return Version(copy, manifest, source)

    def remove(self, version: Version) -> None:
        """Give a copy's room back."""
        shutil.rmtree(version.folder, ignore_errors=True)


def _files(source: Path, manifest: Manifest) -> list[str]:
    """What belongs to a model; of a model with code everything, so that nothing goes unseen."""
    found = names_below(source) if manifest.format == HANDLERS_FORMAT else manifest.sha256
    return [name for name in found if name != MANIFEST]


def _copy(source: Path, copy: Path, name: str) -> None:
    if not is_path(name):
        raise ArtifactError(f"{source / MANIFEST}: sha256 lists {name!r}, no path of a file in it")
    target = copy / name
    target.parent.mkdir(parents=True, exist_ok=True)
    with open_regular(source / name) as original, target.open("xb") as file:
        shutil.copyfileobj(original, file)
