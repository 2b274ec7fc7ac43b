"""Remarks on a script before it runs."""

from dataclasses import replace
from pathlib import Path

import pytest

from app.experiment import script_remarks
from app.experiment.script_source import ScriptSource
from tests.support.script_experiments import source_tree


def test_requirements_are_not_installed_but_told(tmp_path: Path) -> None:
    script = source_tree(tmp_path)
    assert list(script_remarks.remarks(script, (), 1)) == []
    (tmp_path / "src/requirements.txt").write_text("torch")
    (remark,) = script_remarks.remarks(replace(script, inputs={}), (), 1)
    assert remark.startswith(f"{tmp_path}/src/requirements.txt is not installed by this")


def remarks(folder: Path, text: str, *parameters: str, workers: int = 1) -> list[str]:
    """Give the remarks on a script of that text, which is all there is."""
    (folder / "train.py").write_text(text)
    script = ScriptSource(folder / "train.py")
    return list(script_remarks.remarks(script, parameters, workers))


def test_what_a_script_imports_and_leaves_behind_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("my_layers.py", "json.py"):
        (tmp_path / name).touch()
    (tmp_path / "my_data").mkdir()
    text = "import json, sys\nimport my_data.points\ndef f():\n    from my_layers import Net\n"
    (remark,) = remarks(tmp_path, text)
    assert remark == (
        "train.py imports my_data, my_layers, which is beside it and does not go with it:"
        f" add --source-dir {tmp_path}"
    )
    monkeypatch.syspath_prepend(tmp_path)  # as for whoever types the command there
    assert remarks(tmp_path, text) == [remark]
    assert remarks(tmp_path, "from . import my_layers\nimport json") == []
    assert remarks(tmp_path, "import (") == []
    with_folder = ScriptSource(tmp_path / "train.py", tmp_path)
    assert script_remarks.modules_left_beside(with_folder) == []
    assert with_folder.left_beside == frozenset()


BACKEND = "import torch.distributed as dist\nparser.add_argument('--backend', default={default})"


@pytest.mark.parametrize(
    ("text", "parameters", "words"),
    [
        ("loss = 1", (), "begins no process group, so each of its 2 hosts trains by itself; sage"),
        ("loss = 1", ("sagemaker_torch_distributed_enabled",), ""),
        ("dist.init_process_group('gloo')", (), ""),
        (BACKEND.format(default="None"), (), "takes a --backend and is given none: without it ea"),
        (BACKEND.format(default="None"), ("backend",), ""),
        (BACKEND.format(default="'gloo'"), (), ""),
    ],
)
def test_hosts_that_would_train_alone_are_told(
    tmp_path: Path, text: str, parameters: tuple[str, ...], words: str
) -> None:
    told = remarks(tmp_path, text, *parameters, workers=2)
    assert bool(told) == bool(words)
    assert all(words in remark for remark in told)
    assert remarks(tmp_path, text, *parameters) == []
