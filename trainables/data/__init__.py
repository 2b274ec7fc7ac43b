"""MNIST as arrays, from its four published files, which are checked by their digests.

The packaged copy is complete. Other datasets are a trainable's own, by `shared()`, or those of a
script's channels. For example:

    from trainables import data

    train, test = data.load()  # train.images: (60000, 28, 28) uint8, train.labels: (60000,) uint8
"""

import gzip
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainables.contract import TrainableError

PACKAGED = Path(__file__).parent

Images = NDArray[np.uint8]
"""Grey pixels, 0 (background) to 255 (ink), of shape (N, 28, 28)."""

Labels = NDArray[np.uint8]
"""Digits 0 to 9, of shape (N,)."""


@dataclass(frozen=True)
class Digits:
    """Images and their labels, in the order of the published files."""

    images: Images
    labels: Labels

    @property
    def digest(self) -> str:
        """SHA-256 of pixels and labels, in hex."""
        hashed = hashlib.sha256(np.ascontiguousarray(self.images).data)
        hashed.update(np.ascontiguousarray(self.labels).data)
        return hashed.hexdigest()


@dataclass(frozen=True)
class _File:
    """A published file: its name without `.gz`, and the SHA-256 of both of its forms."""

    name: str
    packed: str
    unpacked: str
    header: int


TRAIN = (
    _File(
        "train-images-idx3-ubyte",
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        header=16,
    ),
    _File(
        "train-labels-idx1-ubyte",
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        header=8,
    ),
)
TEST = (
    _File(
        "t10k-images-idx3-ubyte",
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        header=16,
    ),
    _File(
        "t10k-labels-idx1-ubyte",
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        header=8,
    ),
)


def load(data_dir: Path | None = None, *, download: bool = False) -> tuple[Digits, Digits]:
    """Load the training and the test set.

    Args:
        data_dir: A folder in torchvision's layout; None for the packaged copy.
        download: Whether torchvision fetches what is missing there.

    Returns:
        60,000 training and 10,000 test digits.

    Raises:
        TrainableError: A file is missing, truncated or not MNIST's.
    """
    if data_dir is None:
        if download:
            raise TrainableError("--download needs --data-dir: the packaged copy is complete")
        return _split(PACKAGED, TRAIN), _split(PACKAGED, TEST)
    raw = data_dir / "MNIST" / "raw"
    if download:
        _download(data_dir)
    return _split(raw, TRAIN), _split(raw, TEST)


def lay_out(folder: Path) -> Path:
    """Unpack the packaged files below a folder in torchvision's layout, and return the folder.

    Raises TrainableError where they cannot be written.
    """
    raw = folder / "MNIST" / "raw"
    try:
        raw.mkdir(parents=True, exist_ok=True)
        for file in (*TRAIN, *TEST):
            packed = _read_checked(PACKAGED / f"{file.name}.gz", file.packed)
            (raw / file.name).write_bytes(gzip.decompress(packed))
    except OSError as error:
        raise TrainableError(f"data: cannot write {raw}: {error.strerror}") from error
    return folder


def _split(folder: Path, files: tuple[_File, _File]) -> Digits:
    images, labels = (_read(folder, file) for file in files)
    return Digits(images.reshape(-1, 28, 28), labels)


def _read(folder: Path, file: _File) -> NDArray[np.uint8]:
    """Read a file's bytes after its header, from the unpacked file or else from its archive."""
    plain, archive = folder / file.name, folder / f"{file.name}.gz"
    if plain.is_file():
        content = _read_checked(plain, file.unpacked)
    elif archive.is_file():
        content = gzip.decompress(_read_checked(archive, file.packed))
    else:
        raise TrainableError(
            f"data: no file {plain} nor {archive.name} beside it;"
            " --download fetches what is missing, no --data-dir takes the packaged copy"
        )
    return np.frombuffer(content, np.uint8, offset=file.header)


def _read_checked(path: Path, sha256: str) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise TrainableError(f"data: cannot read {path}: {error.strerror}") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256:
        raise TrainableError(
            f"data: {path} is not MNIST's (or is cut short): {len(content):,} bytes with SHA-256"
            f" {digest[:12]}…, expected {sha256[:12]}…; remove it and fetch it again"
        )
    return content


def _download(data_dir: Path) -> None:
    """Let torchvision fetch, check and unpack the files that are missing."""
    from torchvision.datasets import MNIST  # takes seconds to import

    if not os.access(_nearest_existing(data_dir), os.W_OK):
        raise TrainableError(f"data: cannot write to {data_dir}; choose another --data-dir")
    try:
        MNIST(data_dir, download=True)
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise TrainableError(f"data: torchvision could not fetch MNIST: {reason}") from error


def _nearest_existing(path: Path) -> Path:
    return path if path.exists() else _nearest_existing(path.parent)
