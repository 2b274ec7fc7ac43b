"""docs/architecture.md names every file, and nothing that is not there."""

import ast
import re

import pytest

from tests.support import ROOT
from tests.support.tree import files, paths

PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
PROSE, TREE = PAGE.split("## Tree")
TREE_PATHS = paths(TREE.split("```")[1])
NAMES = re.findall(r"`((?:app|serve|trainables|tests)/[\w/.]*)(?::([\w.]+))?`", PROSE)


def definitions(tree: ast.Module | ast.ClassDef) -> dict[str, ast.stmt]:
    """Map the names that a module or class defines to where it does."""
    found: dict[str, ast.stmt] = {}
    for statement in tree.body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found[statement.name] = statement
        elif isinstance(statement, ast.Assign | ast.AnnAssign):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            found.update({ast.unparse(target): statement for target in targets})
    return found


def test_its_tree_has_every_file() -> None:
    shown, there = (
        {p.relative_to(ROOT).as_posix() for p in found} for found in (TREE_PATHS, files())
    )
    renew = "renew it: python -m tests.support.tree"
    assert sorted(there - shown) == [], f"not in the tree of docs/architecture.md; {renew}"
    assert sorted(shown - there) == [], f"only in the tree of docs/architecture.md; {renew}"


@pytest.mark.parametrize("path", sorted({path for path, _ in NAMES}))
def test_its_prose_names_what_is_there(path: str) -> None:
    assert (ROOT / path).exists(), f"docs/architecture.md names {path}"
    for name in (name for named, name in NAMES if named == path and name):
        found: ast.AST = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        for part in name.split("."):
            assert isinstance(found, ast.Module | ast.ClassDef)
            names = definitions(found)
            assert part in names, f"docs/architecture.md names {path}:{name}"
            found = names[part]
