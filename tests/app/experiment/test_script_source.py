"""The files of a script: named, copied and hashed."""

from dataclasses import replace
from pathlib import Path

import pytest

from app.experiment.script_source import ScriptSource
from tests.support.script_experiments import source_tree
from trainables.contract import TrainableError


def test_the_code_is_copied_and_the_data_is_not(tmp_path: Path) -> None:
    source_tree(tmp_path).copy_to(tmp_path / "code")
    copied = {path.relative_to(tmp_path / "code").as_posix() for path in tmp_path.glob("code/**/*")}
    assert copied == {"train.py", "lib", "lib/part.py", "data", "link"}
    assert (tmp_path / "code/data").resolve() == tmp_path / "src/data"
    assert (tmp_path / "code/link/x.txt").read_text() == "elsewhere/x.txt"
    assert not (tmp_path / "code/train.py").samefile(tmp_path / "src/train.py")


def test_a_script_without_a_source_dir_is_all_there_is(tmp_path: Path) -> None:
    source_tree(tmp_path)
    alone = ScriptSource(tmp_path / "src/train.py")
    alone.copy_to(tmp_path / "code")
    assert [path.name for path in (tmp_path / "code").iterdir()] == ["train.py"]


def test_the_digest_is_of_the_code_alone(tmp_path: Path) -> None:
    script = source_tree(tmp_path)
    before = script.digest
    (tmp_path / "src/data/big.bin").write_text("other data")
    (tmp_path / "src/.hidden").write_text("other")
    assert replace(script).digest == before
    (tmp_path / "src/lib/part.py").write_text("other code")
    changed = replace(script).digest
    assert changed != before
    (tmp_path / "src/lib/more.py").touch()
    assert replace(script).digest not in (before, changed)


def test_code_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainableError, match=r"^script: cannot read /.*/x\.py: No such file or"):
        ScriptSource(tmp_path / "x.py").digest  # noqa: B018
