"""Storage of a run, for the hosts of its trials on nodes that share no folder."""

from pathlib import Path
from typing import Protocol


class NodeStorage(Protocol):
    """The part of a run's storage that is on the node that calls."""

    def local_path(self, path: Path) -> Path:
        """Translate a path on the node of the trial's first process to one on this node."""
        ...

    def code_folder(self, digest: str) -> Path:
        """Return this node's copy of the run's script."""
        ...

    def fetch(self, path: Path, target: Path) -> None:
        """Fetch a folder as the trial's first process last sent it."""
        ...
