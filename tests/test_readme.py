"""The README promises what is there, and all of it."""

import re
import tomllib
from pathlib import Path

import pytest

from app import runs, tune
from app.experiment import early_stopping, parameter_tables, schema, search_algorithms
from tests.support import ROOT
from trainables.check.__main__ import main

PAGES = [ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FLAGS = (ROOT / "docs/flags.md").read_text(encoding="utf-8")


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= 150


@pytest.mark.parametrize("last", ["python -m app.tune --serve", "python -m pytest -n 2 --cov"])
def test_each_of_its_two_commands_does_all_its_own_setting_up(last: str) -> None:
    line = next(line for line in README.splitlines() if line.endswith(last))
    assert line.startswith("python3 -m venv .venv && .venv/bin/pip install -q -c constraints.txt")


def test_the_gate_runs_the_test_command_that_contributing_quotes() -> None:
    command = next(line for line in README.splitlines() if "-m pytest" in line)
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    gate = (ROOT / ".ci/run").read_text(encoding="utf-8")
    assert command in contributing
    assert "grep -m 1 -- '-m pytest' README.md" in gate
    for check in ("ruff format --check .", "ruff check .", "mypy ."):
        assert f".venv/bin/{check}" in contributing
        assert f"'{check}'" in gate


def test_every_flag_is_in_its_table_and_no_other() -> None:
    table = FLAGS.split("| flag |")[1]
    assert set(re.findall(r"--[a-z][a-z-]*", table)) == {
        option for action in tune.parser()._actions for option in action.option_strings
    } - {"-h", "--help", "--version"}


def test_every_sub_command_and_every_name_is_there() -> None:
    names = [f"app.runs {command}" for command in runs.COMMANDS]
    names += [
        f"`{name}`"
        for table in (search_algorithms.ALGORITHMS, early_stopping.RULES)
        for name in table
    ]
    names += [f'type = "{kind}"' for kind in parameter_tables.KINDS]
    names += [f"`{key}`" for key in ("convergence", "retries", "step_timeout", "repeats = 3")]
    assert [name for name in names if name not in README + FLAGS] == []


def test_its_experiment_file_is_one() -> None:
    text = README.split("```toml")[1].split("```")[0]
    table = schema.from_table(tomllib.loads(text))
    assert (table.num_samples, len(table.parameters.parameters)) == (9, 4)


def test_its_function_keeps_its_promises(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my_file.py").write_text(README.split("```python\n")[1].split("```")[0])
    (tmp_path / "mine.toml").write_text(README.split("```toml")[1].split("```")[0])
    main(["--experiment", str(tmp_path / "mine.toml")])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert "holds   the network of load_model() takes 1, 2 and 3 examples, and gives an" in lines[3]


def test_its_pictures_and_files_are_there() -> None:
    linked = re.findall(r"\]\(([^)#:]+)\)", README)
    assert [name for name in linked if not (ROOT / name).exists()] == []


def test_the_index_of_decisions_links_every_one_of_them() -> None:
    folder = ROOT / "docs/decisions"
    linked = re.findall(r"\]\((\d{4}-[^)]+)\)", (folder / "README.md").read_text(encoding="utf-8"))
    assert linked == sorted(path.name for path in folder.glob("0*.md"))


def test_links_between_decisions_lead_to_one() -> None:
    folder = ROOT / "docs/decisions"
    for path in folder.glob("*.md"):
        for name in re.findall(r"\]\(([^)#:]+)\)", path.read_text(encoding="utf-8")):
            assert (folder / name).exists(), f"{path.name} links {name}"


def test_files_that_pages_name_are_there() -> None:
    named = re.compile(r"`((?:app|serve|trainables|tests)/[\w/]*[./]\w*)`")
    for page in (README, *(path.read_text(encoding="utf-8") for path in PAGES)):
        assert [name for name in named.findall(page) if not (ROOT / name).exists()] == []
