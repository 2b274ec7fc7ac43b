"""The model folder: written whole or not at all, verified when read."""

import json
import math
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from serve.models.artifact import ArtifactError, Golden, Manifest, TensorSpec, find, read, write
from serve.models.files import exchange, put_in_place, replace_folder

FILES = {"model.onnx": b"network", "weights.safetensors": b"weights"}
MANIFEST = Manifest(
    name="mnist",
    inputs=(TensorSpec("image", "float32", (-1, 1, 28, 28), (0.0, 255.0), 0.1307, 0.3081),),
    outputs=(TensorSpec("log_probabilities", "float32", (-1, 10), meaning="log_probabilities"),),
    golden=Golden([[0]], [[0.5]]),
    labels=("0", "1"),
    run="r",
    trial_id="t",
    epoch=6,
    config={"lr": 0.1},
    metrics={"loss": 0.25},
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "model", MANIFEST, FILES)
    return tmp_path / "model"


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "model.json"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def test_a_written_model_is_read_back(tmp_path: Path) -> None:
    written = write(tmp_path / "new" / "model", MANIFEST, FILES)
    assert read(tmp_path / "new" / "model") == written
    assert written.onnx == b"network"
    assert replace(written.manifest, version="", sha256={}) == MANIFEST
    assert written.manifest.version == written.manifest.sha256["model.onnx"][:12]
    assert set(written.manifest.sha256) == set(FILES)


def test_optional_fields_may_be_absent(tmp_path: Path) -> None:
    bare = Manifest("m", MANIFEST.inputs, MANIFEST.outputs, MANIFEST.golden)
    manifest = write(tmp_path / "model", bare, FILES).manifest
    assert (manifest.labels, manifest.run, manifest.epoch, manifest.config) == (
        None,
        None,
        None,
        {},
    )


def test_golden_values_may_be_infinite_and_the_file_is_plain_json(folder: Path) -> None:
    golden = Golden([[1.0]], [[-math.inf, 0.5], [math.inf, -2.0]])
    write(folder, replace(MANIFEST, golden=golden), FILES)
    assert read(folder).manifest.golden == golden
    written = json.loads((folder / "model.json").read_text(), parse_constant=pytest.fail)
    assert written["golden"]["outputs"] == [["-Infinity", 0.5], ["Infinity", -2.0]]


def test_the_public_manifest_has_everything_but_the_golden_values(folder: Path) -> None:
    public = read(folder).manifest.public()
    whole = json.loads((folder / "model.json").read_text())
    assert whole.pop("golden") == {"inputs": [[0]], "outputs": [[0.5]]}
    assert json.loads(json.dumps(public)) == whole
    assert whole["inputs"] == [
        {"name": "image", "dtype": "float32", "shape": [-1, 1, 28, 28], "range": [0.0, 255.0],
         "mean": 0.1307, "std": 0.3081}
    ]  # fmt: skip


def test_writing_replaces_a_model_and_leaves_nothing_else(folder: Path) -> None:
    write(folder, MANIFEST, {"model.onnx": b"better"})
    assert read(folder).onnx == b"better"
    assert sorted(path.name for path in folder.iterdir()) == ["model.json", "model.onnx"]
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_there_is_a_model_at_every_moment_while_it_is_replaced(folder: Path) -> None:
    (folder.parent / "a").mkdir()
    (folder.parent / "b").mkdir()
    if not exchange(folder.parent / "a", folder.parent / "b"):
        pytest.skip("this file system cannot exchange two names")
    over, missing = threading.Event(), []

    def look() -> None:
        while not over.is_set():
            if not folder.is_dir():
                missing.append(1)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for number in range(50):
            write(folder, MANIFEST, {"model.onnx": str(number).encode()})
    finally:
        over.set()
        looking.join()
    assert not missing
    assert read(folder).onnx == b"49"


def test_where_names_cannot_be_exchanged_the_old_model_steps_aside(folder: Path) -> None:
    new = folder.with_name("new")
    write(new, MANIFEST, {"model.onnx": b"better"})
    put_in_place(new, folder, swap=lambda one, other: False)
    assert read(folder).onnx == b"better"
    assert [path.name for path in folder.parent.iterdir()] == ["model"]
    with pytest.raises(FileNotFoundError):
        put_in_place(new, folder, swap=lambda one, other: False)
    assert read(folder).onnx == b"better"


def test_leftovers_are_removed_and_folders_in_use_are_not(folder: Path) -> None:
    for name in (".model.0123abcd.partial", ".model.0123abcd.old", ".model.partial", ".other.old"):
        (folder.with_name(name) / "code").mkdir(parents=True)
    with replace_folder(folder) as first:
        write(folder, MANIFEST, {"model.onnx": b"better"})
        assert first.is_dir()
    left = {path.name for path in folder.parent.iterdir()}
    assert left == {"model", ".model.partial", ".other.old"}


def test_a_model_that_a_kill_left_aside_comes_back(folder: Path) -> None:
    folder.rename(folder.with_name(".model.0123abcd.old"))
    with pytest.raises(ArtifactError):
        write(folder, replace(MANIFEST, name=""), FILES)
    assert read(folder).onnx == FILES["model.onnx"]


@pytest.mark.parametrize(
    ("manifest", "files", "match"),
    [
        (MANIFEST, {"weights.safetensors": b""}, "a model needs model.onnx, got weights"),
        (MANIFEST, {**FILES, "../evil": b""}, "not a plain file name"),
        (replace(MANIFEST, metrics={"loss": float("nan")}), FILES, "cannot be written as JSON"),
        (replace(MANIFEST, config={"lr": object()}), FILES, "cannot be written as JSON"),
        (replace(MANIFEST, name=""), FILES, "name: expected text"),
    ],
)
def test_a_failed_write_leaves_the_old_model(
    folder: Path, manifest: Manifest, files: dict[str, bytes], match: str
) -> None:
    with pytest.raises(ArtifactError, match=match):
        write(folder, manifest, files)
    assert read(folder).onnx == b"network"
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_changed_byte_is_found(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"networK")
    with pytest.raises(ArtifactError, match=rf"{name}: its sha256 is .* model\.json says"):
        read(folder)


@pytest.mark.parametrize("name", [*sorted(FILES), "model.json"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ArtifactError, match=rf"{name}: no such file"):
        read(folder)


@pytest.mark.parametrize("name", [*sorted(FILES), "model.json"])
def test_a_link_is_not_followed(folder: Path, name: str) -> None:
    (folder / name).rename(folder.parent / name)
    (folder / name).symlink_to(folder.parent / name)
    with pytest.raises(ArtifactError, match=rf"{name}: is a symbolic link"):
        read(folder)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_only_regular_files_are_read(folder: Path, make: Callable[[Path], None]) -> None:
    (folder / "model.onnx").unlink()
    make(folder / "model.onnx")
    with pytest.raises(ArtifactError, match=r"model\.onnx: is not a regular file"):
        read(folder)


@pytest.mark.parametrize("name", ["../model.onnx", "/etc/passwd", "a/b", "", ".hidden"])
def test_listed_files_are_plain_names(folder: Path, name: str) -> None:
    edit(folder, lambda values: values["sha256"].update({name: "0" * 64}))
    with pytest.raises(ArtifactError, match="which is not a file name"):
        read(folder)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"format": "pickle"}, "format: expected one of onnx, handlers, got 'pickle'"),
        ({"format": "handlers"}, "format: expected onnx, got 'handlers'"),
        ({"format": None}, "format: expected text, got None"),
        ({"name": 7}, "name: expected text, got 7"),
        ({"version": "0" * 12}, "version is '000000000000', but model.onnx makes it"),
        ({"inputs": []}, "inputs: expected a list of objects"),
        ({"inputs": [{"name": "x"}]}, r"inputs\[0\]\.dtype: missing"),
        ({"outputs": [{"name": "x", "dtype": "f", "shape": [0]}]}, r"shape\[0\]: expected sizes"),
        (
            {"outputs": [{"name": "x", "dtype": "f", "shape": [True]}]},
            r"shape\[0\]: expected an in",
        ),
        ({"labels": [1, 2]}, r"labels\[0\]: expected text, got 1"),
        ({"epoch": "six"}, "epoch: expected an integer, got 'six'"),
        ({"epoch": True}, "epoch: expected an integer, got True"),
        ({"config": []}, "config: expected an object"),
        ({"sha256": {"model.onnx": "abc"}}, r"sha256\.model\.onnx: expected 64 hex digits"),
        ({"sha256": {}}, "sha256 lists no model.onnx"),
        ({"golden": {"inputs": []}}, r"golden\.outputs: missing"),
    ],
)
def test_a_wrong_field_is_named(folder: Path, changes: dict[str, Any], match: str) -> None:
    edit(folder, lambda values: values.update(changes))
    with pytest.raises(ArtifactError, match=match):
        read(folder)


@pytest.mark.parametrize(
    ("field", "value", "match"),
    [
        ("range", [0], r"range\[1\]: missing"),
        ("range", [255, 0], "range: expected least below largest"),
        ("std", 0, "std: expected a number above 0"),
        ("mean", "0.1", "mean: expected a number, got"),
        ("meaning", "softmax", "meaning: expected one of logits, log_probabilities, prob"),
        ("meaning", ["logits"], "meaning: expected text, got"),
    ],
)
def test_a_wrong_tensor_field_is_named(folder: Path, field: str, value: object, match: str) -> None:
    edit(folder, lambda values: values["inputs"][0].update({field: value}))
    with pytest.raises(ArtifactError, match=rf"inputs\[0\]\.{match}"):
        read(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"format": NaN}', b"[" * 100_000])
def test_a_manifest_that_is_no_json_object_is_refused(folder: Path, content: bytes) -> None:
    (folder / "model.json").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"model\.json: (is not JSON|expected a JSON object)"):
        read(folder)


# --- Finding


def make_run(runs: Path, name: str, *, time: int, model: bool = True) -> Path:
    folder = runs / name
    folder.mkdir(parents=True)
    (folder / "experiment.json").write_text("{}")
    os.utime(folder / "experiment.json", (time, time))
    if model:
        write(folder / "model", MANIFEST, FILES)
    return folder / "model"


def test_the_newest_run_with_a_model_is_found(tmp_path: Path) -> None:
    make_run(tmp_path, "old", time=1)
    middle = make_run(tmp_path, "middle", time=2)
    make_run(tmp_path, "new", time=3, model=False)
    assert find(None, tmp_path) == middle


def test_a_model_is_found_by_run_or_by_folder(tmp_path: Path) -> None:
    model = make_run(tmp_path, "one", time=1)
    assert find("one", tmp_path) == model
    assert find(str(model), tmp_path / "elsewhere") == model
    assert find(str(model.parent), tmp_path / "elsewhere") == model


def test_a_relative_folder_becomes_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_run(tmp_path, "one", time=1)
    monkeypatch.chdir(model.parent)
    assert find("model", Path("runs")) == model


@pytest.mark.parametrize(
    ("model", "match"),
    [
        (None, r"no run to serve in .*; make one with `python -m app\.tune --runs /.*`, or "),
        ("none", "no run 'none' in .* known runs: going"),
        ("going", r"run 'going' has no model .*`python -m app\.runs export going --runs /.*`$"),
        ("no/such/folder", r"no model\.json in no/such/folder"),
        ("..", r"no model\.json in \.\."),
        ("", "no model.json in ;"),
    ],
)
def test_a_model_that_is_not_found_names_the_known_runs(
    tmp_path: Path, model: str | None, match: str
) -> None:
    make_run(tmp_path, "going", time=1, model=False)
    with pytest.raises(ArtifactError, match=match):
        find(model, tmp_path)


def test_the_suggested_command_can_be_pasted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = tmp_path / "my runs"
    make_run(runs, "going", time=1, model=False)
    with pytest.raises(ArtifactError, match=f"`python -m app.runs export going --runs '{runs}'`$"):
        find("going", runs)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArtifactError, match=r"make one with `python -m app\.tune`, or name"):
        find(None, Path("runs"))
