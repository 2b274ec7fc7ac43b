"""Flags of the command are the marked fields of an experiment, and their help is the docstrings."""

import argparse

import pytest

from app.experiment.errors import ExperimentError
from app.experiment.flags import NAMES, OF_SCRIPTS, add_flags, typed_values
from app.experiment.schema import Experiment, ResourceTable
from app.experiment.script_table import ScriptTable


@pytest.fixture
def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="x")
    for model in (Experiment, ScriptTable, ResourceTable):
        add_flags(parser, model)
    return parser


def test_a_flag_that_is_not_typed_says_nothing(parser: argparse.ArgumentParser) -> None:
    assert typed_values(parser.parse_args([])) == {}


def test_a_flag_is_read_as_its_field_is(parser: argparse.ArgumentParser) -> None:
    words = ["--epochs", "2", "--patience", "4", "--target", "0.5", "--download", "--data-dir", "3"]
    lists = ["--input", "a=b", "--input", "c=d", "--early-stopping", "asha"]
    assert typed_values(parser.parse_args([*words, *lists])) == {
        "epochs": 2,
        "patience": 4,
        "target": 0.5,
        "download": True,
        "data_dir": "3",
        "inputs": ["a=b", "c=d"],
        "early_stopping": "asha",
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--epochs", "two"], r"^--epochs: needs a whole number, got 'two'$"),
        (["--cpus-per-trial", "all"], r"^--cpus-per-trial: needs a number, got 'all'$"),
    ],
)
def test_a_value_of_another_type_is_a_known_mistake(
    parser: argparse.ArgumentParser, words: list[str], message: str
) -> None:
    with pytest.raises(ExperimentError, match=message):
        parser.parse_args(words)


@pytest.mark.parametrize(
    ("flag", "text"),
    [
        ("--num-samples", "number of trials in all (9)"),
        ("--search", "search algorithm: bayesian, gp, tpe, random, grid, hyperband (bayesian)"),
        ("--early-stopping", "rule that stops trials early: off, median, asha (off)"),
        ("--cpus-per-trial", "CPUs of a trial, or of each of its workers (an equal share)"),
        ("--target", "value of the objective at which the run ends"),
    ],
)
def test_its_help_is_the_fields_sentence_with_the_default(
    parser: argparse.ArgumentParser, flag: str, text: str
) -> None:
    (help_text,) = (action.help for action in parser._actions if flag in action.option_strings)
    assert help_text == text


def test_every_flag_has_help(parser: argparse.ArgumentParser) -> None:
    assert [action.dest for action in parser._actions if not action.help] == []


def test_flags_of_scripts_are_known() -> None:
    assert OF_SCRIPTS == {
        "entry_point": "--entry-point",
        "source_dir": "--source-dir",
        "inputs": "--input",
    }
    assert OF_SCRIPTS.items() <= NAMES.items()
