"""Storage of a run as its trials' processes see it: a folder that all nodes share, or a URI.

Behind a URI nodes share no folder: each works in one of its own, below `nodes_folder()`.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from app.storage.artifact_sync import (
    LocalArtifacts,
    RemoteArtifacts,
    RemoteScriptArtifacts,
    TrialArtifacts,
)
from app.storage.remote_folder import RemoteFolder
from app.storage.working_copy import nodes_folder, remote_run
from trainables.script.channels import locked
from trainables.script.placement_group import this_node_id

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem


class TrialStorage(Protocol):
    """Says where a run is on the node that calls."""

    is_shared: ClassVar[bool]
    """Whether all nodes have the run's folder."""
    outlives_trials: ClassVar[bool]
    """Whether a trial's files may change after the trial has ended."""

    @property
    def folder(self) -> Path:
        """The run's folder on this node."""
        ...

    @property
    def kept_by_node(self) -> "RemoteTrialStorage | None":
        """The storage for other processes of a trial that has its first one here."""
        ...

    def artifacts(self, trial_id: str) -> TrialArtifacts:
        """The files of a trial on this node."""
        ...

    def localize(self, shared: Mapping[str, Any]) -> dict[str, Any]:
        """Replace paths in what trials share by those on this node."""
        ...

    def redirect(self, context: Any) -> None:
        """Let Tune's storage context write below the folder on this node."""
        ...


@dataclass(frozen=True)
class SharedTrialStorage:
    """A folder that all nodes have."""

    is_shared: ClassVar[bool] = True
    outlives_trials: ClassVar[bool] = False

    folder: Path

    @property
    def kept_by_node(self) -> None:
        """None: the others have the same folder."""
        return None

    def artifacts(self, trial_id: str) -> LocalArtifacts:
        """Files that stay where they are written."""
        return LocalArtifacts(self.folder)

    def localize(self, shared: Mapping[str, Any]) -> dict[str, Any]:
        """Leave paths as they are."""
        return dict(shared)

    def redirect(self, context: Any) -> None:
        """Leave Tune's folder as it is."""


@dataclass(frozen=True)
class RemoteTrialStorage:
    """A place behind a URI, of which each node keeps a part."""

    is_shared: ClassVar[bool] = False
    outlives_trials: ClassVar[bool] = False

    place: RemoteFolder
    run: Path
    """The folder of the run's own process."""
    node: str
    """The ID of the node of that process."""
    code: str
    """The name of the folder with a script's code, in the run's."""
    origin: Path | None = None
    """The folder on the node of a trial's first process, for those that help it on others."""

    @property
    def folder(self) -> Path:
        """The folder of the node that this is called on."""
        within = hashlib.sha256(self.place.uri.encode()).hexdigest()[:16]
        return nodes_folder() / within / self.place.path.rpartition("/")[2]

    @property
    def kept_by_node(self) -> "RemoteTrialStorage":
        """The same, with this node as that of the trial's first process."""
        return replace(self, origin=self.folder)

    def artifacts(self, trial_id: str) -> RemoteArtifacts:
        """Files that are sent to the place."""
        return RemoteArtifacts(self.place, self.folder, trial_id)

    def localize(self, shared: Mapping[str, Any]) -> dict[str, Any]:
        """Leave data as it is: it comes from Ray's object store."""
        return dict(shared)

    def redirect(self, context: Any) -> None:
        """Let Tune's storage context write below the folder on this node."""
        # Tune's own check would look for the folder of the run's process.
        context.storage_fs_path = str(self.folder)
        context._create_validation_file()

    def open_folder(self, path: Path) -> tuple[str, "FileSystem"]:
        """Open, behind the URI, the folder for one below the run's folder on this node."""
        name = path.relative_to(self.folder).as_posix()
        return f"{self.place.path}/{name}", self.place.system

    def code_folder(self, digest: str) -> Path:
        """The run's copy of its script, on this node."""
        if this_node_id() == self.node:
            return self.run / self.code
        here = self.folder / f"{self.code}.{digest[:16]}"
        with locked(here):
            if not here.is_dir():
                self.place.download(self.code, here)
        return here

    def local_path(self, path: Path) -> Path:
        """The path on this node for one on the node of the trial's first process."""
        return self.folder / self._name(path)

    def fetch(self, path: Path, target: Path) -> None:
        """Fetch a folder as the trial's first process sent it, or began with it."""
        self.place.download(self._name(path), target)
        target.mkdir(exist_ok=True)

    def _name(self, path: Path) -> str:
        assert self.origin is not None  # a trial's first process says so
        return path.relative_to(self.origin).as_posix()


@dataclass(frozen=True)
class RemoteScriptStorage(RemoteTrialStorage):
    """A place behind a URI for trials of a script."""

    outlives_trials: ClassVar[bool] = True

    def artifacts(self, trial_id: str) -> RemoteScriptArtifacts:
        """Files of a script, which may write on when its trial has ended."""
        return RemoteScriptArtifacts(self.place, self.folder, trial_id)

    def localize(self, shared: Mapping[str, Any]) -> dict[str, Any]:
        """Let the script be started from this node's copy of its code."""
        script, here = shared["script"], self.kept_by_node
        return {
            **shared,
            "script": replace(script, code=here.code_folder(script.digest), storage=here),
        }


REMOTE = {"python": RemoteTrialStorage, "script": RemoteScriptStorage}
"""Remote storage by the name of the kind of trials."""


def trial_storage(folder: Path, kind: str, code: str) -> TrialStorage:
    """The storage of the run in this folder, called in the run's own process.

    Args:
        folder: The run's folder.
        kind: The name of the kind of its trials.
        code: The name of the folder with a script's code, in the run's.
    """
    place = remote_run(folder)
    if place is None:
        return SharedTrialStorage(folder)
    return REMOTE[kind](place.with_keys(), folder, this_node_id(), code)
