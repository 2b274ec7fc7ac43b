"""Imports among the entries of a package: `python -m tests.support.imports` prints the figures.

An entry is a file or a folder directly inside `app`, `serve` or `trainables`; depth is the number
of entries in the longest chain of imports.
"""

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.support import ROOT

PACKAGES = ("app", "serve", "trainables")
Imports = Mapping[str, frozenset[str]]
"""Entries that each entry imports."""


@dataclass(frozen=True)
class Figures:
    """Size of a package's graph of imports."""

    entries: int
    depth: int
    imports: int


@cache
def parsed(path: Path) -> ast.Module:
    """Parse a module, once."""
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(path: Path) -> Iterator[str]:
    """Give every module and name that a module imports at any depth, as `a` or `a.b`."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if "stubs" in path.parts and node.level == 1:  # scripts know these by another name
                continue
            assert node.level == 0, f"{path}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imports(package: str) -> Imports:
    """Map each entry of a package to the entries of it that it imports."""
    files = {_module(path): path for path in (ROOT / package).rglob("*.py")}
    graph: dict[str, set[str]] = defaultdict(set)
    for module, path in files.items():
        # A name that is no module is one within the module before its last dot.
        modules = {name if name in files else name.rpartition(".")[0] for name in imported(path)}
        graph[_entry(module)] |= {_entry(name) for name in modules & set(files)}
    return {entry: frozenset(targets - {entry}) for entry, targets in graph.items()}


def cycle(graph: Imports) -> list[str]:
    """Find entries that import one another in a circle; empty if there are none."""
    finished: set[str] = set()

    def visit(entry: str, chain: list[str]) -> list[str]:
        if entry in chain:
            return [*chain[chain.index(entry) :], entry]
        for target in sorted(graph[entry] - finished):
            found = visit(target, [*chain, entry])
            if found:
                return found
        finished.add(entry)
        return []

    return next((found for entry in sorted(graph) if (found := visit(entry, []))), [])


def longest_chain(graph: Imports) -> list[str]:
    """Find the longest chain of imports, from its first entry; the graph has no cycles."""
    chains: dict[str, list[str]] = {}

    def chain(entry: str) -> list[str]:
        if entry not in chains:
            chains[entry] = [entry, *max(map(chain, sorted(graph[entry])), key=len, default=[])]
        return chains[entry]

    return max(map(chain, sorted(graph)), key=len)


def figures(graph: Imports) -> Figures:
    """Count entries, depth and pairs of which one imports the other."""
    pairs = sum(len(targets) for targets in graph.values())
    return Figures(len(graph), len(longest_chain(graph)), pairs)


def _module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def _entry(module: str) -> str:
    """Name the entry of a module; a package's own file is its `__init__`."""
    package, _, rest = module.partition(".")
    return f"{package}.{rest.partition('.')[0] or '__init__'}"


if __name__ == "__main__":
    for package in PACKAGES:
        graph = imports(package)
        lines = [f"{package}: {figures(graph)}", f"  longest: {' > '.join(longest_chain(graph))}"]
        lines += [f"  {entry} > {', '.join(sorted(graph[entry]))}" for entry in sorted(graph)]
        sys.stdout.write("\n".join(lines) + "\n")
