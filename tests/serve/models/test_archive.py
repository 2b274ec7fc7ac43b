"""The folder of a model with handlers: whole or not at all, with nothing that is not listed."""

import hashlib
import json
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serve.models.archive import model_dir, read_handlers, write_handlers
from serve.models.artifact import ArtifactError, read, read_manifest
from serve.models.manifest import Manifest
from tests.support.scripted import write_model

MANIFEST = Manifest("mine", entry_point="train.py", labels=("a", "b"), run="r", config={"lr": 0.1})
CODE = {"train.py": b"x = 1\n", "package/net.py": b"y = 2\n"}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A folder with the files that a script saved."""
    folder = tmp_path / "saved"
    (folder / "vocabulary").mkdir(parents=True)
    (folder / "model.pth").write_bytes(b"weights")
    (folder / "vocabulary" / "words of it.txt").write_bytes(b"words")
    return folder


@pytest.fixture
def folder(tmp_path: Path, saved: Path) -> Path:
    write_handlers(tmp_path / "model", MANIFEST, saved, CODE)
    return tmp_path / "model"


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "model.json"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def names(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir()}


def test_a_written_model_is_read_back(folder: Path, saved: Path) -> None:
    listed = {"model.pth", "vocabulary/words of it.txt", "code/train.py", "code/package/net.py"}
    manifest = read_handlers(folder)
    assert manifest == write_handlers(folder, MANIFEST, saved, CODE) == read_manifest(folder)
    assert (manifest.format, manifest.entry_point) == ("handlers", "train.py")
    assert (manifest.labels, manifest.run, manifest.inputs) == (("a", "b"), "r", ())
    assert set(manifest.sha256) == listed
    assert names(folder) == {*listed, "model.json"}
    assert manifest.sha256["model.pth"] == hashlib.sha256(b"weights").hexdigest()
    assert manifest.public()["entry_point"] == "train.py"


def test_the_version_is_of_all_files(folder: Path, saved: Path) -> None:
    manifest = read_handlers(folder)
    lines = "".join(f"{manifest.sha256[name]}  {name}\n" for name in sorted(manifest.sha256))
    assert manifest.version == hashlib.sha256(lines.encode()).hexdigest()[:12]
    (saved / "model.pth").write_bytes(b"other weights")
    assert write_handlers(folder, MANIFEST, saved, CODE).version != manifest.version


def test_hidden_and_compiled_files_of_the_code_are_left_out(tmp_path: Path, saved: Path) -> None:
    code = tmp_path / "program"
    for name in ("train.py", "net/a.py", "net/__pycache__/a.pyc", ".git/config", ".env"):
        (code / name).parent.mkdir(parents=True, exist_ok=True)
        (code / name).write_text(name)
    write_handlers(tmp_path / "model", MANIFEST, saved, code)
    assert {name for name in names(tmp_path / "model") if name.startswith("code/")} == {
        "code/train.py",
        "code/net/a.py",
    }


def test_code_that_the_script_saved_itself_stays_unless_the_program_has_it(
    tmp_path: Path, saved: Path
) -> None:
    (saved / "code").mkdir()
    (saved / "code" / "train.py").write_text("old")
    (saved / "code" / "inference.py").write_text("kept")
    write_handlers(tmp_path / "model", MANIFEST, saved, CODE)
    assert (tmp_path / "model" / "code" / "train.py").read_bytes() == CODE["train.py"]
    assert (tmp_path / "model" / "code" / "inference.py").read_text() == "kept"


def test_a_link_within_the_saved_files_becomes_a_copy(tmp_path: Path, saved: Path) -> None:
    (saved / "best.pth").symlink_to("model.pth")
    write_handlers(tmp_path / "model", MANIFEST, saved, CODE)
    copy = tmp_path / "model" / "best.pth"
    assert (copy.is_symlink(), copy.read_bytes()) == (False, b"weights")


def _outside(saved: Path) -> None:
    (saved / "passwd").symlink_to("/etc/passwd")


def _looping(saved: Path) -> None:
    (saved / "loop").symlink_to(saved)


def _piped(saved: Path) -> None:
    os.mkfifo(saved / "pipe")


def _ours(saved: Path) -> None:
    (saved / "saved").mkdir()
    (saved / "saved/model.json").touch()


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (_outside, "passwd: is not a file of this folder"),
        (_looping, "loop: is not a file of this folder"),
        (_piped, "pipe: is not a file of this folder"),
        (_ours, r"saved/model\.json: this name is reserved; choose another"),
    ],
)
def test_a_file_that_cannot_be_copied_leaves_the_old_model(
    folder: Path, saved: Path, change: Callable[[Path], None], match: str
) -> None:
    before = read_handlers(folder)
    change(saved)
    with pytest.raises(ArtifactError, match=match):
        write_handlers(folder, MANIFEST, saved, CODE)
    assert read_handlers(folder) == before
    assert sorted(path.name for path in folder.parent.iterdir()) == ["model", "saved"]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path, saved: Path) -> None:
    for files, code in ((tmp_path / "none", saved), (saved, tmp_path / "none")):
        with pytest.raises(ArtifactError, match="none: no such folder"):
            write_handlers(tmp_path / "model", MANIFEST, files, code)


@pytest.mark.parametrize("name", ["../train.py", "/train.py", "a/../b", "", "a//b", "a\0b"])
def test_code_stays_below_its_folder(tmp_path: Path, saved: Path, name: str) -> None:
    with pytest.raises(ArtifactError, match="is not the path of a file in it"):
        write_handlers(tmp_path / "model", MANIFEST, saved, {**CODE, name: b""})


@pytest.mark.parametrize("entry", ["other.py", "../train.py", "train.sh", "package"])
def test_the_entry_point_is_a_script_of_the_code(tmp_path: Path, saved: Path, entry: str) -> None:
    manifest = Manifest("mine", entry_point=entry)
    with pytest.raises(ArtifactError, match=r"entry_point: expected a \.py file of code/, got"):
        write_handlers(tmp_path / "model", manifest, saved, {**CODE, "train.sh": b""})


@pytest.mark.parametrize("name", ["model.pth", "code/train.py", "vocabulary/words of it.txt"])
def test_a_changed_byte_is_found(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"other")
    with pytest.raises(ArtifactError, match=rf"{name}: its sha256 is .* model\.json says"):
        read_handlers(folder)


@pytest.mark.parametrize(
    "name", ["extra.pth", "code/extra.py", "code/__pycache__/train.cpython-311.pyc", "code/.hidden"]
)
def test_a_file_that_is_not_listed_is_refused(folder: Path, name: str) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"")
    with pytest.raises(ArtifactError, match=rf"{name}: model\.json does not list it"):
        read_handlers(folder)


def test_no_link_is_followed_to_a_file_or_to_a_folder(folder: Path) -> None:
    for name in ("code/train.py", "vocabulary"):
        moved = folder.parent / Path(name).name
        (folder / name).rename(moved)
        (folder / name).symlink_to(moved)
        with pytest.raises(ArtifactError, match=rf"{name}: is a symbolic link"):
            read_handlers(folder)
        (folder / name).unlink()
        moved.rename(folder / name)
    (folder / "code" / "more").symlink_to(folder / "vocabulary")
    with pytest.raises(ArtifactError, match=r"code/more: model\.json does not list it"):
        read_handlers(folder)


@pytest.mark.parametrize("name", ["../saved/model.pth", "/etc/passwd", "code/../model.pth", "."])
def test_listed_files_stay_in_the_folder(folder: Path, name: str) -> None:
    edit(folder, lambda values: values["sha256"].update({name: "0" * 64}))
    with pytest.raises(ArtifactError, match="not the path of a file in it"):
        read_handlers(folder)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"version": "0" * 12}, "version is '000000000000', but its files make it"),
        ({"format": "onnx", "inputs": [], "outputs": []}, "inputs: expected a list of objects"),
        ({"entry_point": 7}, "entry_point: expected text, got 7"),
        ({"entry_point": "net.py"}, r"entry_point: expected a \.py file of code/, got 'net\.py'"),
        ({"inputs": [1]}, r"inputs\[0\]: expected an object, got 1"),
    ],
)
def test_a_wrong_field_is_named(folder: Path, changes: dict[str, Any], match: str) -> None:
    edit(folder, lambda values: values.update(changes))
    with pytest.raises(ArtifactError, match=match):
        read_handlers(folder)


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "model.pth").unlink()
    with pytest.raises(ArtifactError, match=r"model\.pth: no such file"):
        read_handlers(folder)


def test_each_format_is_read_by_its_own_reader(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    with pytest.raises(ArtifactError, match="format: expected onnx, got 'handlers'"):
        read(folder)


def test_large_files_are_not_held_in_memory(tmp_path: Path, saved: Path) -> None:
    size = 32 * 2**20
    with (saved / "large.pth").open("wb") as file:
        file.truncate(size)
    tracemalloc.start()
    write_handlers(tmp_path / "model", MANIFEST, saved, CODE)
    read_handlers(tmp_path / "model")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < size / 4


def test_a_script_may_save_a_file_of_our_descriptions_name(saved: Path, tmp_path: Path) -> None:
    (saved / "model.json").write_text("the script's")
    (saved / "code").mkdir(exist_ok=True)
    (saved / "code/labels.json").touch()
    manifest = write_handlers(tmp_path / "model", MANIFEST, saved, CODE)
    assert "saved/model.json" in manifest.sha256
    assert {"code/train.py", "code/labels.json"} < set(manifest.sha256)
    place = model_dir(tmp_path / "model", manifest)
    assert place == tmp_path / "model/saved"
    assert (place / "model.json").read_text() == "the script's"
    assert {name for name in manifest.sha256 if not name.startswith("code/")} == {
        f"saved/{path.relative_to(saved)}"
        for path in saved.rglob("*")
        if path.is_file() and "code" not in path.parts and "__pycache__" not in path.parts
    }
