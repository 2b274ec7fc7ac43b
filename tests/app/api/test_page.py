"""docs/python.md: every block runs, in its order and in one session."""

import re
from pathlib import Path
from typing import Any

import pytest

from app.cluster.connection import ADDRESS
from tests.support import ROOT

PAGE = (ROOT / "docs/python.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.ray
@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_every_block_of_the_page_runs(
    tmp_path: Path,
    ray_address: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(ADDRESS, ray_address)
    trainable, *blocks = BLOCKS
    Path("line.py").write_text(trainable)
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, "docs/python.md", "exec"), names)
    printed = capsys.readouterr().out
    assert "trial 001  epoch 2/2  loss " in printed
    assert "--name: there is a run 'first' in " in printed
    assert "first completed None" in printed
    assert names["trials"].shape == (3, 6)
    assert names["epochs"].columns.tolist() == ["trial_id", "epoch", "metrics.loss", "seconds"]
    assert names["epochs"]["seconds"].notna().all()
    assert Path("second/model.json").is_file()
    assert "{'outputs': " in printed
    assert repr(names["endpoint"]).endswith(", stopped>")
    assert repr(names["again"]) == "<Run first: completed>"
