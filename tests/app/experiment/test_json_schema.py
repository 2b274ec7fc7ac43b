"""The JSON Schema for editors is the model's, and accepts what can be read."""

import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from app.experiment import json_schema
from app.experiment.loading import BUILTIN, FOR_SCRIPTS
from app.experiment.parameter_tables import JSON_SCHEMA, KINDS

ROOT = Path(__file__).parents[3]


def check(table: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator(json_schema.json_schema()).validate(table)


def test_the_file_is_what_the_model_gives() -> None:
    text = json_schema.FILE.read_text(encoding="utf-8")
    assert text == json_schema.text(), "run `python -m app.experiment.json_schema` into the file"


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema.json_schema())


@pytest.mark.parametrize("path", [BUILTIN, FOR_SCRIPTS], ids=["mnist", "script"])
def test_it_accepts_the_built_in_experiments(path: Path) -> None:
    check(tomllib.loads(path.read_text()))


def test_it_accepts_the_experiment_of_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    check(tomllib.loads(readme.split("```toml")[1].split("```")[0]))


def test_it_knows_every_kind_of_parameter() -> None:
    kinds = JSON_SCHEMA["additionalProperties"]["anyOf"]
    assert [kind["properties"]["type"]["const"] for kind in kinds] == list(KINDS)


@pytest.mark.parametrize(
    "table",
    [
        {"epochs": 2},
        {"early_stopping": "asha"},
        {"early_stopping": {"name": "asha", "grace": 2}},
        {"space": {"layers": {"type": "integer", "low": 1, "high": 4, "when": {"kind": "a"}}}},
        {"script": {"source_dir": "src"}},
        {"inputs": {"training": "data"}},
    ],
)
def test_it_accepts_what_a_file_may_say(table: dict[str, Any]) -> None:
    check(table)


@pytest.mark.parametrize(
    "table",
    [
        {"epoch": 2},
        {"epochs": 0},
        {"epochs": "2"},
        {"mode": "least"},
        {"search": "best"},
        {"early_stopping": "soon"},
        {"early_stopping": {"name": "median", "keep": 0.5}},
        {"space": {}},
        {"space": {"lr": {"type": "continuous", "low": 0.1}}},
        {"resources": {"cpus": 1}},
        {"folder": "/elsewhere"},
    ],
)
def test_it_refuses_what_cannot_be_read(table: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        check(table)
