"""The files of a training script: what is copied into a run's folder, and its digest."""

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path

from app.experiment.run_folder import JOURNAL
from trainables.contract import TrainableError

ENVIRONMENT = "pyvenv.cfg"
"""The file that a virtual environment has."""
LISTED = 1000
"""The most names beside a script that are looked at."""


@dataclass(frozen=True)
class ScriptSource:
    """A script, the folder that goes with it, and its data."""

    entry_point: Path
    source_dir: Path | None = None
    """The folder that goes with the script; None where the script is all there is."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Folders or files of data, or their URIs, by channel."""

    @property
    def folder(self) -> Path:
        """The folder from which the script is named."""
        return self.entry_point.parent if self.source_dir is None else self.source_dir

    @property
    def name(self) -> str:
        """The script's path within its folder."""
        return self.entry_point.relative_to(self.folder).as_posix()

    @cached_property
    def files(self) -> tuple[Path, ...]:
        """Paths within the folder that are copied; folders among them are linked to."""
        if self.source_dir is None:
            return (Path(self.name),)
        return tuple(sorted(self._walk(self.source_dir)))

    @property
    def digest(self) -> str:
        """The SHA-256 of all the code; raises TrainableError where it cannot be read."""
        content = hashlib.sha256()
        try:
            for name in self.files:
                path = self.folder / name
                size = 0 if path.is_dir() else path.stat().st_size
                content.update(f"{name.as_posix()}\0{size}\0".encode())
                if not path.is_dir():
                    content.update(path.read_bytes())
        except OSError as error:
            raise TrainableError(
                f"script: cannot read {error.filename}: {error.strerror}"
            ) from error
        return content.hexdigest()

    def copy_to(self, folder: Path) -> None:
        """Copy the code into a new folder; data and links out of the folder become links."""
        folder.mkdir()
        for name in self.files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            if (self.folder / name).is_dir():
                (folder / name).symlink_to((self.folder / name).resolve(), target_is_directory=True)
            else:
                shutil.copy2(self.folder / name, folder / name)

    def check_files(self) -> None:
        """Raise TrainableError for files that are not there."""
        if self.source_dir is not None and not self.source_dir.is_dir():
            raise TrainableError(f"script.source_dir: no folder at {self.source_dir}")
        if not (self.entry_point.is_file() or (self.source_dir and self.entry_point.is_dir())):
            raise TrainableError(f"script.entry_point: no file at {self.entry_point}")
        if not self.entry_point.is_relative_to(self.folder):
            raise TrainableError(
                f"script.entry_point: {self.entry_point} is not below the source_dir {self.folder}"
            )
        for name, place in self.inputs.items():
            if "://" not in place and not Path(place).exists():
                raise TrainableError(f"inputs.{name}: nothing at {place}")

    @cached_property
    def left_beside(self) -> frozenset[str]:
        """Names in the script's folder that are not copied with it."""
        if self.source_dir is not None:
            return frozenset()
        with suppress(OSError):
            found = islice(self.entry_point.parent.iterdir(), LISTED)
            return frozenset(path.name for path in found) - {self.entry_point.name}
        return frozenset()

    def _walk(self, source: Path) -> Iterator[Path]:
        data = {Path(path) for path in self.inputs.values()}
        for folder, folders, files in os.walk(source):
            here = Path(folder)
            kept = [name for name in folders if _is_code(here / name)]
            linked = {name for name in kept if here / name in data or (here / name).is_symlink()}
            folders[:] = [name for name in kept if name not in linked]
            plain = [name for name in files if name[0] != "." and (here / name).is_file()]
            yield from ((here / name).relative_to(source) for name in (*plain, *linked))


def _is_code(folder: Path) -> bool:
    """Tell code from what is hidden, compiled, a virtual environment or a run's folder."""
    if folder.name[0] == "." or folder.name == "__pycache__":
        return False
    return not any((folder / name).exists() for name in (JOURNAL, ENVIRONMENT))
