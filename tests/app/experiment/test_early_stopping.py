"""Early stopping by name or table."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from app.experiment import loading
from app.experiment.early_stopping import EarlyStopping
from app.experiment.errors import ExperimentError


def written(folder: Path, text: str) -> Path:
    path = folder / "experiment.toml"
    path.write_text(text)
    return path


def test_hyperband_brings_its_own_early_stopping() -> None:
    assert loading.load(None, {"search": "hyperband"}).early_stopping.name == "asha"
    message = "^early_stopping: hyperband search stops by asha itself; leave 'median' out$"
    with pytest.raises(ExperimentError, match=message):
        loading.load(None, {"search": "hyperband", "early_stopping": "median"})


def test_early_stopping_is_a_name_or_a_table(tmp_path: Path) -> None:
    inline = 'early_stopping = { name = "asha", grace = 2, keep = 0.5 }'
    table = '[early_stopping]\nname = "asha"\ngrace = 2\nkeep = 0.5'
    for text in (inline, table):
        loaded = loading.load(written(tmp_path, text), {})
        assert loaded.early_stopping == EarlyStopping("asha", {"grace": 2, "keep": 0.5})
    recorded = tmp_path / "experiment.json"
    recorded.write_text(json.dumps(loaded.as_json()))
    assert loading.load(recorded, {}) == loaded
    named = loading.load(written(tmp_path, 'early_stopping = "asha"'), {})
    assert named.as_json()["early_stopping"] == "asha"


@pytest.mark.parametrize(
    ("flag", "settings"),
    [("asha", {"grace": 2, "keep": 0.5}), ("median", {"grace": 2}), ("off", {})],
)
def test_a_flag_names_the_rule_and_keeps_the_settings_that_it_has(
    tmp_path: Path, flag: str, settings: dict[str, Any]
) -> None:
    text = 'early_stopping = { name = "asha", grace = 2, keep = 0.5 }'
    loaded = loading.load(written(tmp_path, text), {"early_stopping": flag})
    assert loaded.early_stopping == EarlyStopping(flag, settings)


def test_hyperband_takes_settings_of_its_rule(tmp_path: Path) -> None:
    text = 'search = "hyperband"\nearly_stopping = { grace = 1 }'
    loaded = loading.load(written(tmp_path, text), {})
    assert loaded.early_stopping == EarlyStopping("asha", {"grace": 1})


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('{ name = "soon" }', "unknown 'soon'; choose from off, median, asha"),
        ("{ grace = 1 }", ".name: is missing; choose from off, median, asha"),
        ("3", "needs a name or a table, got 3"),
        (
            '{ name = "asha", patience = 2 }',
            "unknown setting of asha 'patience'; choo",
        ),
        ('{ name = "off", grace = 2 }', ".grace: is no setting of 'off'; it has none"),
        ('{ name = "asha", grace = -1 }', ".grace: needs a whole number of epochs, 0 or more, got"),
        ('{ name = "asha", grace = true }', ".grace: needs a whole number of epochs, 0 or more, g"),
        ('{ name = "asha", grace = 6 }', ".grace: needs fewer epochs than a trial has, 6; got 6,"),
        ('{ name = "asha", keep = 1 }', ".keep: needs a number between 0 and 1, as 0.33, got 1"),
        (
            '{ name = "median", keep = 0.5 }',
            "unknown setting of median 'keep'; choos",
        ),
        ('{ name = "median", min_samples = 0 }', ".min_samples: needs a whole number of trials"),
    ],
)
def test_a_setting_of_early_stopping_that_cannot_be_is_a_mistake(
    tmp_path: Path, table: str, message: str
) -> None:
    path = written(tmp_path, f"early_stopping = {table}")
    with pytest.raises(ExperimentError, match=f"early_stopping:? ?{re.escape(message)}"):
        loading.load(path, {})
