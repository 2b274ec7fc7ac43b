"""Annotated tree of the packages for docs/architecture.md: `python -m tests.support.tree`.

A file's line is the first sentence of its docstring or first comment; of `tests` only folders are
listed.
"""

import ast
import re
import sys
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

from tests.support import ROOT

PACKAGES = ("app", "serve", "trainables")
COMMENTS = {
    ".js": re.compile(r"// *(.+)"),
    ".css": re.compile(r"/\* *(.+?) *\*/"),
    ".html": re.compile(r"<!-- *(.+?) *-->"),
    ".toml": re.compile(r"# *(.+)"),
}
WIDTH = 28
"""Columns of a name, with its indent."""


def files() -> list[Path]:
    """List the files of the packages and the folders of the tests, each after its folder."""
    found = [path for name in PACKAGES for path in _below(ROOT / name)]
    return [*found, *(path for path in _below(ROOT / "tests") if path.is_dir())]


def tree() -> str:
    """Write the tree, a line for each file and folder."""
    return "".join(f"{_line(path)}\n" for path in files())


def paths(text: str) -> list[Path]:
    """Read a tree's paths back from its lines."""
    found: list[Path] = []
    parents = {0: ROOT}
    for line in filter(None, text.splitlines()):
        depth = (len(line) - len(line.lstrip())) // 2
        found.append(parents[depth] / line.split()[0].rstrip("/"))
        parents[depth + 1] = found[-1]
    return found


def _below(folder: Path) -> Iterator[Path]:
    """Give a folder, its files and then its folders."""
    yield folder
    inside = sorted(path for path in folder.iterdir() if _is_listed(path))
    yield from (path for path in inside if path.is_file())
    for path in inside:
        if path.is_dir():
            yield from _below(path)


def _is_listed(path: Path) -> bool:
    return not path.name.startswith((".", "_")) or path.name == "__main__.py"


def _depth(path: Path) -> int:
    return len(path.relative_to(ROOT).parts)


def _line(path: Path) -> str:
    name = "  " * (_depth(path) - 1) + path.name + ("/" if path.is_dir() else "")
    return f"{name:{WIDTH}} {_summary(path)}".rstrip()


def _summary(path: Path) -> str:
    file = path / "__init__.py" if path.is_dir() else path
    if not file.exists():
        return ""
    if file.suffix != ".py":
        return _comment(file)
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return _first_sentence(docstring)


def _first_sentence(text: str) -> str:
    paragraph = " ".join(text.split("\n\n")[0].split())
    return re.split(r"(?<=[.])\s", paragraph)[0].removesuffix(".")


def _comment(file: Path) -> str:
    """Join the comment lines at the start of a file; empty if it starts otherwise."""
    pattern = COMMENTS.get(file.suffix)
    if pattern is None:
        return ""
    lines = map(pattern.fullmatch, file.read_text(encoding="utf-8").splitlines())
    return _first_sentence(" ".join(line[1] for line in takewhile(bool, lines) if line))


if __name__ == "__main__":
    sys.stdout.write(tree())
