"""Beginning of a run whose name another one took meanwhile."""

from pathlib import Path

import pytest

from app.engine import attempt
from app.experiment import loading
from app.run.layout import EXPERIMENT
from app.run.store import StoreError


def test_a_name_that_is_taken_while_a_run_begins_is_told(tmp_path: Path) -> None:
    experiment, used = loading.load(None, {}), {"threads": 1, "data": {}}
    folder = tmp_path / "mnist"
    attempt.begin(folder, experiment, used).close()
    written = (folder / EXPERIMENT).read_bytes()
    sentence = r"^--name: there is a run 'mnist' in .*; choose another name, or .* --resume mnist$"
    with pytest.raises(StoreError, match=sentence):
        attempt.begin(folder, experiment, {**used, "threads": 2})
    assert (folder / EXPERIMENT).read_bytes() == written
    assert [path.name for path in tmp_path.iterdir()] == ["mnist"]
