"""docs/runs.md and docs/experiments.md: they name every field and method that there is."""

import re
from dataclasses import fields

from app.run import record, trial
from serve.models.manifest import Manifest, TensorSpec
from tests.support import ROOT
from trainables.contract import Exportable

RUNS = (ROOT / "docs/runs.md").read_text(encoding="utf-8")
EXPERIMENTS = (ROOT / "docs/experiments.md").read_text(encoding="utf-8")


def names(text: str) -> set[str]:
    """Names in the first column of the tables of a page's section."""
    return set(re.findall(r"^\| `([\w.]+)(?:\([\w, ]*\))?` \|", text, re.MULTILINE))


def section(page: str, heading: str) -> str:
    return page.split(f"\n{heading}\n")[1].split("\n## ")[0]


def test_every_field_of_the_outcome_has_its_line() -> None:
    outcome, trials = section(RUNS, "## `result.json`").split("\nEach of `trials`:\n")
    best = {f"best.{name}" for name in record.BEST}
    assert names(outcome) == {"name", *record.FIELDS, *best}
    assert names(trials.split("\n### ")[0]) == {"seed", *trial.FIELDS}


def test_every_field_of_a_model_has_its_line() -> None:
    model, tensors = section(RUNS, "## The model").split("\n### Inputs and outputs\n")
    assert {field.name for field in fields(Manifest)} <= names(model)
    assert names(tensors) == {field.name for field in fields(TensorSpec)}


def test_all_that_export_asks_of_a_class_has_its_line() -> None:
    asked = {name for name in vars(Exportable) if not name.startswith("_")}
    asked |= set(Exportable.__annotations__)
    assert asked <= names(section(EXPERIMENTS, "## A class"))
