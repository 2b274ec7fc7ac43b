"""Checkpoints on their way to other workers, and digests by which weights are compared."""

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True)
class _Files:
    """The files of a folder by their paths in it."""

    contents: dict[str, bytes]


def pack_checkpoint(checkpoint: Any) -> Any:
    """Make a checkpoint that can be pickled: its dictionary, or the files of its folder."""
    if isinstance(checkpoint, dict):
        return checkpoint
    folder = Path(checkpoint)
    files = (path for path in folder.rglob("*") if path.is_file())
    return _Files({str(path.relative_to(folder)): path.read_bytes() for path in files})


@contextlib.contextmanager
def unpack_checkpoint(packed: Any) -> Iterator[Any]:
    """Yield the checkpoint that was packed: the dictionary, or a folder with the same files."""
    if not isinstance(packed, _Files):
        yield packed
        return
    with tempfile.TemporaryDirectory(prefix="tuneport-") as folder:
        for name, content in packed.contents.items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        yield folder


def hash_weights(trial: Any) -> str:
    """Return the SHA-256 of a trial's weights, in hex; that of nothing without a `model()`."""
    digest = hashlib.sha256()
    if hasattr(type(trial), "model"):
        for name, value in trial.model().state_dict().items():
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
