"""Full disks, in whatever words an exception tells of them."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trainables.errors import disk_full


def caught(act: Callable[[], Any]) -> BaseException:
    try:
        act()
    except BaseException as error:
        return error
    raise AssertionError("it raised nothing")


def raises(error: BaseException) -> None:
    raise error


def hides(error: Exception) -> None:
    try:
        raise error
    except Exception:
        raise ValueError("cannot save") from None


def writes_on_a_full_disk() -> None:
    with open("/dev/full", "w") as file:  # noqa: PTH123
        file.write("x")


PLACE = Path("/runs/q")


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (writes_on_a_full_disk, "/runs/q: No space left on device"),
        (lambda: raises(OSError(errno.EDQUOT, "voll", "/mnt/a")), "/mnt/a: Disk quota exceeded"),
        (lambda: hides(OSError(errno.ENOSPC, "voll")), "/runs/q: No space left on device"),
        (
            lambda: raises(
                RuntimeError('IoError(Os { code: 28, kind: StorageFull, message: "" })')
            ),
            "/runs/q: No space left on device",
        ),
    ],
)
def test_a_disk_that_takes_no_more_is_known_however_it_is_told(
    act: Callable[[], Any], message: str
) -> None:
    assert str(disk_full.find_disk_full(caught(act), PLACE)) == message


def test_other_errors_are_not_taken_for_a_full_disk() -> None:
    for error in (ValueError("28"), OSError(errno.EACCES, "denied"), RuntimeError("code: 280")):
        assert disk_full.find_disk_full(error, PLACE) is None


def full(place: Path) -> OSError:
    return OSError(errno.ENOSPC, "voll", str(place))


@pytest.mark.parametrize(
    "words",
    [
        # As torch 2 has them, for a path and for a file, and numpy.
        "basic_ios::clear: iostream error",
        "[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598",
        "[enforce fail at inline_container.cc:603] . PytorchStreamWriter failed writing file d/0: ",
        "1000 requested and 0 written",
    ],
)
def test_a_failed_write_without_its_reason_is_asked_for_by_another_one(words: str) -> None:
    error = RuntimeError(words)
    assert str(disk_full.find_disk_full(error, PLACE, full)) == "/runs/q: No space left on device"
    assert disk_full.find_disk_full(error, PLACE, lambda place: None) is None


def test_a_folder_that_takes_more_is_not_full(tmp_path: Path) -> None:
    assert disk_full.probe_disk(tmp_path) is None
    assert disk_full.probe_disk(tmp_path / "gone") is None
    assert not list(tmp_path.iterdir())


def test_torch_fails_to_write_in_words_that_are_known() -> None:
    import torch

    error = caught(lambda: torch.save({"w": torch.zeros(100_000)}, "/dev/full"))
    assert disk_full.find_disk_full(error, PLACE, full) is not None
