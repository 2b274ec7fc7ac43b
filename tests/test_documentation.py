"""The pages of documentation are made from the code where they can be, and answer newcomers."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from app import sagemaker
from app.experiment import schema
from app.sagemaker import pytorch, tuner
from tests.support import ROOT
from tests.support.documentation import (
    CLI,
    EXPERIMENTS,
    SAGEMAKER,
    cli_page,
    with_ignored_arguments,
    with_key_tables,
)

DOCS = sorted((ROOT / "docs").glob("*.md"))
INDEX = (ROOT / "docs/README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS]
ANSWERS = {
    "How do I install it?": ("README.md", "## Install", "pip install -q -c constraints.txt -e ."),
    "What does one run cost in time and disk?": ("README.md", "## Install", "MB of disk"),
    "How do I search my own model?": (
        "README.md",
        "## An experiment of your own",
        "python -m app.tune mine.toml",
    ),
    "Which parameters can I declare?": ("docs/experiments.md", "## `[space]`", "`continuous`"),
    "How do I resume?": ("docs/search.md", "## Resume", "python -m app.tune --resume NAME"),
    "How do I get a data frame?": ("docs/python.md", "### Data frames", "to_pandas()"),
    "How do I serve, and what do I send?": ("docs/serving.md", "## `/predict`", "curl -F file="),
    "How do I put it behind a proxy with a key?": (
        "docs/proxies.md",
        "## A path beside other services, with a key",
        "--api-key-file",
    ),
    "What happens when a machine dies?": (
        "docs/cluster.md",
        "## Losses and recovery",
        "each trial resumes elsewhere",
    ),
    "Where do I add a sampler?": (
        "docs/architecture.md",
        "## To add a sampler",
        "app/search/samplers.py:SAMPLERS",
    ),
}
"""Questions of newcomers, each with the page, the heading and the words that answer it."""
SCREEN = 40
"""Lines of a section that are seen at once."""


def ids(path: Path) -> str:
    return path.name


@pytest.mark.parametrize("question", ANSWERS)
def test_a_newcomers_question_is_answered_on_the_first_screen_of_a_section(question: str) -> None:
    page, heading, words = ANSWERS[question]
    _, section = (ROOT / page).read_text(encoding="utf-8").split(f"\n{heading}\n")
    assert words in "\n".join(section.splitlines()[:SCREEN])
    assert page == "README.md" or f"({Path(page).name})" in INDEX


def test_the_page_of_commands_is_what_their_help_says() -> None:
    assert CLI.read_text(encoding="utf-8") == cli_page()


def test_the_tables_of_keys_are_the_schemas() -> None:
    page = EXPERIMENTS.read_text(encoding="utf-8")
    assert page == with_key_tables(page)


def test_every_argument_that_only_aws_uses_is_named() -> None:
    page = SAGEMAKER.read_text(encoding="utf-8")
    assert page == with_ignored_arguments(page)


def test_calls_of_sagemakers_are_here() -> None:
    rows = re.findall(r"^\| (`.*) \| (.*) \|$", SAGEMAKER.read_text(encoding="utf-8"), re.MULTILINE)
    names = {"Session", "PyTorch", "HyperparameterTuner", "Predictor"}
    for cell, here in rows:
        found = re.match(r"`(\w+)\.\w+", cell)
        if found is None or found[1] not in names or here.startswith("not here"):
            continue
        kind = getattr(
            {"PyTorch": pytorch, "HyperparameterTuner": tuner}.get(found[1], sagemaker), found[1]
        )
        for method in re.findall(r"`(?:\w+\.)?([a-z]\w*)", cell):
            assert hasattr(kind, method), (found[1], method)


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_links_lead_to_a_page_and_a_heading(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        path = page if not name else (page.parent / name)
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), target
        assert "--" not in anchor, f"{target}: MkDocs makes one dash of two, GitHub does not"


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_a_cell_of_a_table_holds_one_value(page: Path) -> None:
    rows = [line for line in prose(page).splitlines() if line.startswith("|")]
    assert [row for row in rows if ";" in re.sub(r"`[^`]*`", "", row)] == []
    assert [row for row in rows if re.search(r"`(,|,? and|,? or) `", row)] == []


@pytest.mark.parametrize("page", [ROOT / "README.md", *DOCS], ids=ids)
def test_experiment_files_are_accepted(page: Path) -> None:
    for block in re.findall(r"```toml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        table = tomllib.loads(block)
        if "space" in table and "metric" in table:
            schema.from_table(table)


def test_every_page_is_in_the_table_of_pages_and_in_the_site() -> None:
    names = {path.name for path in DOCS} - {"README.md"}
    assert "(docs/README.md)" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\((\w+\.md)\) \|$", INDEX, re.MULTILINE)) == names
    site = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert set(re.findall(r"^  - \w+: (\w+\.md)$", site, re.MULTILINE)) == {*names, "README.md"}


def prose(page: Path) -> str:
    """Return a page without its blocks of code."""
    return re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and MkDocs make them."""
    return set(_anchors(page))


def _anchors(page: Path) -> Iterator[str]:
    for heading in re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE):
        yield re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
