"""Paths of a script and its inputs, from files and flags."""

import json
from pathlib import Path

import pytest

from app.experiment.loading import load
from tests.support.script_experiments import METRIC, PARABOLA, Write, script_source, script_table


@pytest.mark.parametrize(
    ("entry_point", "source_dir", "name"),
    [
        ("src/train.py", None, "train.py"),
        ("train.py", "src", "train.py"),
        ("src/train.py", "src", "train.py"),
        ("src/train.py", ".", "src/train.py"),
    ],
)
def test_a_script_is_named_from_its_source_or_from_here(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    entry_point: str,
    source_dir: str | None,
    name: str,
) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/train.py").touch()
    monkeypatch.chdir(tmp_path)
    flags = {"entry_point": entry_point, "source_dir": source_dir}
    script = script_source(load(None, {key: value for key, value in flags.items() if value}))
    assert script.entry_point == tmp_path / "src/train.py"
    assert script.name == name


def test_paths_count_from_the_file_and_flags_go_over_it(write: Write, tmp_path: Path) -> None:
    file = write('source_dir = "."\nvalue = "first"\n' + METRIC + '[inputs]\ntraining = "data"')
    asked = load(file, {})
    assert (script_source(asked).folder, asked.kind.value) == (tmp_path, "first")
    assert asked.inputs == {"training": str(tmp_path / "data")}
    again = load(file, {"entry_point": PARABOLA, "inputs": [f"more=file://{tmp_path}"]})
    other = script_source(again)
    assert (str(other.entry_point), other.source_dir) == (PARABOLA, None)
    assert other.inputs == {"training": str(tmp_path / "data"), "more": str(tmp_path)}
    assert script_table(again).metrics == script_table(asked).metrics


def test_paths_in_a_record_count_from_the_folder_that_it_names(
    write: Write, tmp_path: Path
) -> None:
    table_of = load(write(), {}).as_json()
    script = {**table_of["script"], "entry_point": "train.py"}
    (tmp_path / "elsewhere").mkdir()
    record = tmp_path / "elsewhere/experiment.json"
    record.write_text(json.dumps({**table_of, "script": script, "inputs": {"a": "data"}}))
    script_of = script_source(load(record, {}))
    assert script_of.entry_point == tmp_path / "train.py"
    assert script_of.inputs == {"a": str(tmp_path / "data")}
