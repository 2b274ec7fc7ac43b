"""Folders of a script's trial, laid out as SageMaker's `/opt/ml`, below the trial's own folder."""

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

GROUP_MARK = "input/.met"
"""File that `startup/sitecustomize.py` makes when a script begins a process group."""
LARGE = 2**24
"""Size in bytes from which trials share a file instead of copying it."""


@dataclass(frozen=True)
class Tree:
    """The folders of a trial on one of its hosts."""

    base: Path

    @property
    def code(self) -> Path:
        """The copy of the script and its neighbours; the working directory."""
        return self.base / "code"

    @property
    def config(self) -> Path:
        """JSON files with hyperparameters, channels and hosts."""
        return self.base / "input/config"

    @property
    def data(self) -> Path:
        """Channels of data, by name."""
        return self.base / "input/data"

    @property
    def model(self) -> Path:
        """The model that the script saves."""
        return self.base / "model"

    @property
    def output(self) -> Path:
        """The script's output, and its file `failure`."""
        return self.base / "output"

    @property
    def checkpoints(self) -> Path:
        """The script's checkpoints, kept however often it is started."""
        return self.base / "checkpoints"

    @property
    def stubs(self) -> Path:
        """Stubs of SageMaker's modules that are not installed here."""
        return self.base / "stubs"

    @property
    def group_mark(self) -> Path:
        """File that is there once a script on several hosts has begun a process group."""
        return self.base / GROUP_MARK

    @property
    def home(self) -> Path:
        """A home folder, for a user who has none to write in."""
        return self.base / "home"

    @property
    def lock(self) -> Path:
        """File that is locked for as long as anything of the script runs."""
        return self.base / "lock"

    def of_host(self, host: str) -> "Tree":
        """Return the folders of another host of the trial; this is called on the first host's."""
        return Tree(self.base / "hosts" / host)

    def make(self, code: Path, inputs: Mapping[str, str]) -> None:
        """Make the folders anew, but for the checkpoints.

        Args:
            code: The run's copy of the script and its neighbours.
            inputs: Folders or files of the channels, by name.
        """
        for stale in (self.code, self.base / "input", self.model, self.output):
            shutil.rmtree(stale, ignore_errors=True)
        for folder in (self.config, self.data, self.model, self.checkpoints, self.home):
            folder.mkdir(parents=True, exist_ok=True)
        for name in ("data", "intermediate"):
            (self.output / name).mkdir(parents=True)
        # A copy, since a script may write beside its code and into files that came with it.
        shutil.copytree(code, self.code, symlinks=True, copy_function=_copy)
        for name, path in inputs.items():
            channel = self.data / name
            if Path(path).is_file():  # a channel of one file, as an object in S3 is
                channel.mkdir()
                channel /= Path(path).name
            channel.symlink_to(path)

    def link_stubs(self, source: Path) -> None:
        """Link those packages of a folder whose names nothing that is installed has."""
        shutil.rmtree(self.stubs, ignore_errors=True)
        self.stubs.mkdir(parents=True)
        for init in source.glob("*/__init__.py"):
            if find_spec(init.parent.name) is None:
                (self.stubs / init.parent.name).symlink_to(init.parent)


def _copy(source: str, target: str) -> str:
    """Copy a file; link one that is too large to be code, since scripts only read such files."""
    if Path(source).stat().st_size > LARGE:
        with suppress(OSError):  # a file system without links
            os.link(source, target)
            return target
    return str(shutil.copy2(source, target))
