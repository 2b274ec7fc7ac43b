"""Files and folders that are written whole or not at all."""

from pathlib import Path

import pytest

from app.storage.files import new_folder, replace_file


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "result.json"
    for content, text in (("é", "é"), (b"bytes", "bytes")):
        replace_file(path, content, durable=durable)
        assert path.read_text(encoding="utf-8") == text
        assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_replaced_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "result.json").mkdir()
    with pytest.raises(IsADirectoryError):
        replace_file(tmp_path / "result.json", "")
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_a_folder_has_its_name_once_it_is_filled(tmp_path: Path) -> None:
    with new_folder(tmp_path / "r") as partial:
        (partial / "file").touch()
        assert not (tmp_path / "r").exists()
    assert [path.name for path in (tmp_path / "r").iterdir()] == ["file"]
    with pytest.raises(OSError, match="not empty"), new_folder(tmp_path / "r"):
        pass
    with pytest.raises(ValueError, match="half"), new_folder(tmp_path / "other"):
        raise ValueError("half")
    assert [path.name for path in tmp_path.iterdir()] == ["r"]
