"""A run whose folder was moved: the error names its new place, and nothing stays at the old."""

from pathlib import Path

import pytest

from app.engine.run_cleanup import remedy_named
from app.run.errors import JournalError, MovedError, RefusedError
from app.run.layout import TUNE
from app.storage.trial_files import LOGS


def tell(folder: Path, now: Path | None) -> None:
    with remedy_named(folder, None):
        raise MovedError(folder, now)


def test_a_run_that_was_moved_goes_on_from_where_it_is(tmp_path: Path) -> None:
    folder, now = tmp_path / "runs/q", tmp_path / "new/q"
    for name in (TUNE, LOGS, ".0123.partial"):
        (folder / name).mkdir(parents=True)
    on = rf"; go on by: python -m app\.tune --resume q --runs {tmp_path}/new$"
    with pytest.raises(
        JournalError, match=rf"^{folder} was moved to {now} while its run went on" + on
    ):
        tell(folder, now)
    assert not folder.exists()


def test_a_removed_run_names_the_remedies(tmp_path: Path) -> None:
    told = r" was removed while its run went on; put it back, go on by --resume where it was copied"
    with pytest.raises(JournalError, match=told):
        tell(tmp_path / "q", None)


def test_other_files_where_the_run_was_stay(tmp_path: Path) -> None:
    (tmp_path / "q/tune").mkdir(parents=True)
    (tmp_path / "q/notes.txt").touch()
    with pytest.raises(JournalError, match=r" was moved to "):
        tell(tmp_path / "q", tmp_path / "new/q")
    assert (tmp_path / "q/notes.txt").exists()


def test_a_run_that_could_not_be_saved_names_the_whole_command(tmp_path: Path) -> None:
    on = rf"^no room; go on by: python -m app\.tune --resume q --runs '{tmp_path}/my runs'"
    with (
        pytest.raises(JournalError, match=on + r" --address head:6379$"),
        remedy_named(tmp_path / "my runs/q", "head:6379"),
    ):
        raise RefusedError("no room")
