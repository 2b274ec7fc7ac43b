"""Private copies of model folders, so that changes to the originals do no harm."""

import contextlib
import itertools
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from serve.models.artifact import read_manifest
from serve.models.files import check_listed, list_files, open_regular
from serve.models.manifest import MANIFEST, ArtifactError, Manifest
from serve.models.storage import open_model

ATTEMPTS = 3
PAUSE_SECONDS = 0.02


@dataclass(frozen=True)
class Version:
    """One version of an endpoint's model, copied to the store."""

    folder: Path
    """The copy, which only its store changes."""
    manifest: Manifest
    source: str
    """The folder or URI that was copied."""

    @property
    def description(self) -> str:
        """Name and version, with the run and trial where they are known."""
        manifest = self.manifest
        trial = f", trial {manifest.trial_id}" if manifest.trial_id else ""
        run = f" (run {manifest.run}{trial})" if manifest.run else ""
        return f"{manifest.name} {manifest.version}{run}"


class ModelStore:
    """A folder of copies."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count(1)
        self._sources: dict[Path, str] = {}

    def add(self, source: Path | str) -> Version:
        """Copy the model of a folder or a URI; the caller loads the copy, which verifies it.

        Raises:
            ArtifactError: The model cannot be read, or changes each time it is copied.
        """
        with open_model(str(source)) as folder:
            for _ in range(ATTEMPTS - 1):
                # An export may be replacing this model by a newer one.
                with contextlib.suppress(ArtifactError):
                    return self._copy_model(folder, str(source))
                time.sleep(PAUSE_SECONDS)
            return self._copy_model(folder, str(source))

    def find_source(self, copy: Path) -> str:
        """Return the folder or URI of which a folder here is a copy."""
        return self._sources[copy]

    def remove(self, version: Version) -> None:
        """Delete a copy."""
        self._sources.pop(version.folder, None)
        shutil.rmtree(version.folder, ignore_errors=True)

    def _copy_model(self, folder: Path, source: str) -> Version:
        manifest = read_manifest(folder)
        copy = self._folder / str(next(self._numbers))
        try:
            for name in (MANIFEST, *_file_names(folder, manifest)):
                _copy_file(folder, copy, name)
            if read_manifest(copy) != manifest or read_manifest(folder) != manifest:
                raise ArtifactError(f"{source}: changes while it is copied; export the model again")
        except (ArtifactError, OSError) as error:
            shutil.rmtree(copy, ignore_errors=True)
            if isinstance(error, OSError):
                raise ArtifactError(f"{source}: cannot be copied: {error.strerror}") from error
            raise
        self._sources[copy] = source
        return Version(copy, manifest, source)


def _file_names(source: Path, manifest: Manifest) -> list[str]:
    """List the files to copy: with handlers every file, so that loading rejects unlisted ones."""
    names = list_files(source) if manifest.has_handlers else manifest.sha256
    return [name for name in names if name != MANIFEST]


def _copy_file(source: Path, copy: Path, name: str) -> None:
    check_listed(source / MANIFEST, name)
    target = copy / name
    target.parent.mkdir(parents=True, exist_ok=True)
    with open_regular(source / name) as original, target.open("xb") as file:
        shutil.copyfileobj(original, file)
