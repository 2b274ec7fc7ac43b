"""The statement of a script that raised an error, and the tests that led to it."""

import ast
import dis
import inspect
import linecache
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any

Handler = Callable[..., Any]


@dataclass(frozen=True)
class RaisingStatement:
    """The statement of a script that raised an error, with the statements around it."""

    parameters: tuple[str, ...]
    """Names of the handler's arguments."""
    path: tuple[ast.AST, ...]
    """Nodes from the statement's function to the statement itself."""
    is_handlers: bool
    """Whether that function is the handler."""

    @classmethod
    def find(cls, function: Handler, error: BaseException) -> "RaisingStatement | None":
        """Find the statement; None where it is not in the script's folder or cannot be read."""
        code = _code(function)
        frames = list(traceback.walk_tb(error.__traceback__))
        if code is None or not frames:
            return None
        frame, line = frames[-1]
        file = Path(frame.f_code.co_filename)
        if not file.is_relative_to(Path(code.co_filename).parent):
            return None
        path = _path_to(line, "".join(linecache.getlines(str(file))))
        return cls(_parameters(function), path, frame.f_code is code) if path else None

    @property
    def is_raise(self) -> bool:
        """Whether it is a `raise`."""
        return isinstance(self.path[-1], ast.Raise)

    def tests(self, position: int, body: int | None) -> bool:
        """Whether it raises because of a test of the argument at `position`, not of the body."""
        if not self.is_handlers:
            return False
        other = set() if body is None else {self.parameters[body]}
        names = _derived({self.parameters[position]}, other, self.path[0])

        def uses_argument(node: ast.AST) -> bool:
            used = _names(node)
            return bool(used & names) and not used & other

        *around, last = self.path
        if isinstance(last, ast.Assert):
            return uses_argument(last.test)
        return isinstance(last, ast.Raise) and any(map(uses_argument, _failed_tests(around, last)))


def _failed_tests(around: Sequence[ast.AST], last: ast.AST) -> Iterator[ast.AST]:
    """Yield the tests that led to a statement: around it, or above it in its block."""
    *_, block = around
    if isinstance(block, ast.If) and (last in block.orelse or _is_negative(block.test)):
        yield block.test
    if isinstance(block, ast.match_case) and _matches_the_rest(block.pattern):
        yield around[-2].subject  # type: ignore[attr-defined]  # a case stands in a match
    for siblings in (getattr(block, name, []) for name in ("body", "orelse", "finalbody")):
        if last in siblings:
            for sibling in siblings[: siblings.index(last)]:
                if isinstance(sibling, ast.If):
                    yield sibling.test
                elif isinstance(sibling, ast.Match):
                    yield sibling.subject


def _is_negative(test: ast.AST) -> bool:
    """Whether a test excludes some values: after one for certain values, any error may follow."""
    return any(isinstance(node, ast.NotEq | ast.NotIn | ast.Not) for node in ast.walk(test))


def _matches_the_rest(pattern: ast.pattern) -> bool:
    return isinstance(pattern, ast.MatchAs) and pattern.pattern is None


def _path_to(line: int, source: str) -> tuple[ast.AST, ...]:
    """Find the innermost statement at a line, and the nodes around it from its function on."""
    try:
        node: ast.AST = ast.parse(source)
    except (SyntaxError, ValueError):  # The file was changed after its import.
        return ()
    path = [node]
    while (inner := _child_at(line, node)) is not None:
        node = inner
        is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        path = [node] if is_function else [*path, node]
    return tuple(path) if len(path) > 1 else ()


def _child_at(line: int, node: ast.AST) -> ast.AST | None:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.match_case):
            first, last = child.pattern.lineno, child.body[-1].end_lineno
        elif isinstance(child, ast.stmt | ast.ExceptHandler):
            first, last = child.lineno, child.end_lineno
        else:
            continue
        if first <= line <= (last or first):
            return child
    return None


def _derived(names: set[str], other: set[str], function: ast.AST) -> set[str]:
    """Add the names that the function assigns from these and not from the other ones."""
    derived = set(names)
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            used = _names(node.value)
            if used & derived and not used & other:
                derived |= {name for target in node.targets for name in _names(target)}
    return derived


def _names(node: ast.AST) -> set[str]:
    return {child.id for child in ast.walk(node) if isinstance(child, ast.Name)}


def reads_argument(function: Handler, position: int) -> bool:
    """Whether a function reads an argument; True for one that has no Python code."""
    code = _code(function)
    if code is None:
        return True
    name = _parameters(function)[position]
    return any(
        name == instruction.argval
        or (isinstance(instruction.argval, tuple) and name in instruction.argval)
        for instruction in dis.get_instructions(code)
        if "LOAD" in instruction.opname
    )


def _parameters(function: Handler) -> tuple[str, ...]:
    return tuple(inspect.signature(function).parameters)


def _code(function: Handler) -> CodeType | None:
    return getattr(inspect.unwrap(function), "__code__", None)
