"""MNIST's files: the packaged ones, folders as torchvision lays them, what is wrong with them."""

import gzip
import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from trainables import data
from trainables.contract import TrainableError
from trainables.data import PACKAGED, TEST, TRAIN

# As counted in the published files: 0 to 9.
TRAIN_COUNTS = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
TEST_COUNTS = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
TEST_LABELS = "t10k-labels-idx1-ubyte"


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """The archives as torchvision lays them."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in (*TRAIN, *TEST):
        shutil.copy(PACKAGED / f"{file.name}.gz", raw)
    return tmp_path


@pytest.fixture
def unpacked(packed: Path) -> Path:
    """The files as torchvision leaves them, without the archives."""
    for archive in (packed / "MNIST" / "raw").iterdir():
        archive.with_suffix("").write_bytes(gzip.decompress(archive.read_bytes()))
        archive.unlink()
    return packed


def test_the_packaged_digits_are_all_of_mnist() -> None:
    train, test = data.load()
    assert (train.images.shape, train.labels.shape) == ((60_000, 28, 28), (60_000,))
    assert (test.images.shape, test.labels.shape) == ((10_000, 28, 28), (10_000,))
    for array in (train.images, train.labels, test.images, test.labels):
        assert array.dtype == np.uint8
    assert np.bincount(train.labels).tolist() == TRAIN_COUNTS
    assert np.bincount(test.labels).tolist() == TEST_COUNTS
    assert (train.labels[:5].tolist(), test.labels[:5].tolist()) == (
        [5, 0, 4, 1, 9],
        [7, 2, 1, 0, 4],
    )


def test_the_packaged_digits_are_laid_out_as_torchvision_has_them(tmp_path: Path) -> None:
    from torchvision.datasets import MNIST  # Takes seconds, which no other file's tests need.

    folder = data.lay_out(tmp_path / "mnist")
    train, test = data.load(folder)
    assert (len(train.labels), len(test.labels)) == (60_000, 10_000)
    assert MNIST(folder, train=False).targets[:5].tolist() == [7, 2, 1, 0, 4]
    (tmp_path / "file").touch()
    with pytest.raises(TrainableError, match=r"^data: cannot write .*/file/MNIST/raw: Not a dir"):
        data.lay_out(tmp_path / "file")


def test_the_packaged_digits_have_the_mean_and_deviation_they_are_normalised_by() -> None:
    train, _ = data.load()
    assert round(float(train.images.mean()) / 255, 4) == 0.1307
    assert round(float(train.images.std()) / 255, 4) == 0.3081


def test_the_digests_are_those_of_the_files() -> None:
    for file in (*TRAIN, *TEST):
        archive = (PACKAGED / f"{file.name}.gz").read_bytes()
        assert hashlib.sha256(archive).hexdigest() == file.packed
        assert hashlib.sha256(gzip.decompress(archive)).hexdigest() == file.unpacked


@pytest.mark.parametrize("layout", ["packed", "unpacked"])
def test_a_folder_in_torchvisions_layout_gives_the_same_digits(
    layout: str, request: pytest.FixtureRequest
) -> None:
    folder: Path = request.getfixturevalue(layout)
    for mine, packaged in zip(data.load(folder), data.load(), strict=True):
        assert np.array_equal(mine.images, packaged.images)
        assert np.array_equal(mine.labels, packaged.labels)


def test_a_missing_file_is_named_with_what_would_do(packed: Path) -> None:
    (packed / "MNIST" / "raw" / f"{TEST_LABELS}.gz").unlink()
    message = (
        rf"^data: no file /.*/MNIST/raw/{TEST_LABELS} nor {TEST_LABELS}\.gz beside it;"
        " --download fetches what is missing, no --data-dir takes the packaged copy$"
    )
    with pytest.raises(TrainableError, match=message):
        data.load(packed)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainableError, match=r"^data: no file .*/absent/MNIST/raw/train-images"):
        data.load(tmp_path / "absent")


Spoil = Callable[[bytes], bytes]


@pytest.mark.parametrize(
    "spoil",
    [lambda content: content[:-100], lambda content: b"", lambda content: content[:-1] + b"x"],
    ids=["truncated", "empty", "foreign"],
)
@pytest.mark.parametrize("layout", ["packed", "unpacked"])
def test_a_file_that_is_not_mnists_is_named(
    layout: str, spoil: Spoil, request: pytest.FixtureRequest
) -> None:
    folder: Path = request.getfixturevalue(layout)
    (path,) = (folder / "MNIST" / "raw").glob(f"{TEST_LABELS}*")
    path.write_bytes(spoil(path.read_bytes()))
    message = rf"^data: {path} is not MNIST's \(or is cut short\): [0-9,]+ bytes .*; remove it and "
    with pytest.raises(TrainableError, match=message):
        data.load(folder)


def test_download_needs_a_folder_to_fetch_into() -> None:
    with pytest.raises(TrainableError, match=r"^--download needs --data-dir: the packaged copy is"):
        data.load(download=True)


def test_torchvision_takes_the_packaged_archives_for_its_own(
    packed: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from torchvision.datasets import MNIST

    train, test = data.load(packed, download=True)
    assert capfd.readouterr().out == ""  # which is for results
    for mine, theirs in (
        (train, MNIST(packed, train=True, download=True)),
        (test, MNIST(packed, train=False, download=True)),
    ):
        assert np.array_equal(mine.images, theirs.data.numpy())
        assert np.array_equal(mine.labels, theirs.targets.numpy())


def test_what_is_there_is_not_fetched_again(unpacked: Path) -> None:
    raw = unpacked / "MNIST" / "raw"
    before = {path: path.stat().st_mtime_ns for path in raw.iterdir()}
    data.load(unpacked, download=True)
    assert {path: path.stat().st_mtime_ns for path in raw.iterdir()} == before


def test_a_folder_that_cannot_be_fetched_into_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(TrainableError, match=r"^data: torchvision could not fetch MNIST: .*/file"):
        data.load(file, download=True)


def test_the_pixels_cannot_be_written_to_by_accident() -> None:
    images: NDArray[np.uint8] = data.load()[1].images
    with pytest.raises(ValueError, match="read-only"):
        images[0] = 0
