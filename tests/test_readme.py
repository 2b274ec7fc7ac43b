"""The README promises what is there, and all of it."""

import re
import tomllib
from contextlib import suppress
from pathlib import Path

import pytest
from PIL import Image

from app.experiment import early_stopping, parameter_tables, schema, search_algorithms
from tests.support import ROOT
from trainables.check.__main__ import main

PAGES = [ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXPERIMENTS = (ROOT / "docs/experiments.md").read_text(encoding="utf-8")
SEARCH = (ROOT / "docs/search.md").read_text(encoding="utf-8")


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= 130


@pytest.mark.parametrize("last", ["python -m app.tune --serve", "python -m pytest -n 2"])
def test_each_of_its_two_commands_does_all_its_own_setting_up(last: str) -> None:
    line = next(line for line in README.splitlines() if line.endswith(last))
    assert line.startswith("python3 -m venv .venv && .venv/bin/pip install -q -c constraints.txt")


def test_the_gate_runs_the_test_command_that_contributing_quotes() -> None:
    command = next(line for line in README.splitlines() if "-m pytest" in line)
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    gate = (ROOT / ".ci/run").read_text(encoding="utf-8")
    assert command in contributing
    assert "grep -m 1 -- '-m pytest' README.md" in gate
    for command in ("ruff format --check .", "ruff check .", "mypy .", "codespell README.md"):
        assert f".venv/bin/{command}" in contributing
        assert f"'{command}" in gate


def test_every_algorithm_rule_and_kind_of_parameter_is_explained() -> None:
    names = [*search_algorithms.ALGORITHMS, *early_stopping.RULES, "convergence", "retries"]
    names += ["step_timeout", "repeats = 3"]
    assert [name for name in names if f"`{name}" not in SEARCH] == []
    assert [kind for kind in parameter_tables.KINDS if f"| `{kind}` |" not in EXPERIMENTS] == []


def test_its_experiment_is_accepted_and_its_function_trains(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = check(README, tmp_path, capsys)
    assert lines[0] == "holds   tune.report() reports loss, a finite number"
    table = schema.from_table(tomllib.loads(README.split("```toml")[1].split("```")[0]))
    assert (table.num_samples, len(table.parameters.parameters)) == (9, 2)


def test_the_documented_function_keeps_all_promises(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    section = EXPERIMENTS.split("## A function")[1]
    lines = check(section, tmp_path, capsys)
    assert len(lines) == 5
    assert "holds   the network of load_model() takes 1, 2 and 3 examples, and gives an" in lines[3]


def check(page: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Check the function and the experiment that a page shows first; return what is said."""
    (folder / "my_file.py").write_text(page.split("```python\n")[1].split("```")[0])
    (folder / "mine.toml").write_text(page.split("```toml")[1].split("```")[0])
    with suppress(SystemExit):
        main(["--experiment", str(folder / "mine.toml")])
    return capsys.readouterr().out.splitlines()


def test_its_pictures_and_files_are_there() -> None:
    linked = re.findall(r"\]\(([^)#:]+)\)", README)
    assert [name for name in linked if not (ROOT / name).exists()] == []


def test_its_comparison_links_what_is_here_and_has_one_word_for_what_others_have() -> None:
    section = README.split("## Compared")[1].split("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line[:1] == "|"]
    for _, ours, *others in rows[2:]:
        assert re.fullmatch(r"no|\[yes\]\(docs/[\w.#-]+\)", ours)
        assert set(others) <= {"yes", "no", "by hand"}
        assert len(others) == 3


def test_its_pictures_are_small_and_of_the_run_whose_output_it_shows() -> None:
    terminal, *screens = (ROOT / name for name in re.findall(r"!\[.*?\]\((.*?)\)", README))
    assert len(screens) == 2
    assert sum(path.stat().st_size for path in (terminal, *screens)) < 400_000
    (run,) = {read_source(path) for path in screens}
    assert terminal.read_text(encoding="utf-8").endswith(f"<!-- {run} -->\n")
    _, trial, model = run.split(", ")
    assert f"best: {trial} " in README
    assert f"{model.removeprefix('model ')} " in README


def read_source(path: Path) -> str:
    """Return the run and the model that a picture is of."""
    with Image.open(path) as picture:
        return str(picture.info["Source"])


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
