"""Whether a handler refused the type of a body or of an answer, which scripts say in many ways.

SageMaker's toolkit has an exception for it; most scripts raise one of Python's, assert, or give
nothing. What is raised by an `input_fn` (its `content_type`), an `output_fn` (its `accept`) or a
`transform_fn` (both) is a refusal of the type, the first that holds:

- its text has the type that the client chose, as a `KeyError` of a table has it;
- the script's `assert` asks about the type, or its `raise` is what is left after an `if` or `match`
  that asks about the type and not about the body;
- the script's `raise` says that something about a type is not supported.

A handler that looks at the type and gives None has no answer for it. Everything else is an error of
the body or of the handler itself.
"""

import ast
import dis
import inspect
import linecache
import re
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any

from serve.errors import NotAcceptableError, RequestError, UnsupportedTypeError

_SHOWN = 300
_WORDS = re.compile(
    r"(content|media|mime|accept)[ _-]?type|\b(type|format)\b.*support|support.*\b(type|format)",
    re.IGNORECASE | re.DOTALL,
)
_OF_ANSWER = re.compile(r"accept|response|output", re.IGNORECASE)

Handler = Callable[..., Any]


@dataclass(frozen=True)
class Chosen:
    """A type that a client chooses, as one of a handler's arguments."""

    place: int
    """Where it stands among the arguments."""
    error: type[RequestError]
    """What refuses it."""
    does_not: str
    """What the handler does not do with it."""


CONTENT_TYPE = "does not take content type"
ACCEPT = "does not give"
CHOSEN: dict[str, tuple[Chosen, ...]] = {
    "input_fn": (Chosen(1, UnsupportedTypeError, CONTENT_TYPE),),
    "output_fn": (Chosen(1, NotAcceptableError, ACCEPT),),
    "transform_fn": (
        Chosen(2, UnsupportedTypeError, CONTENT_TYPE),
        Chosen(3, NotAcceptableError, ACCEPT),
    ),
}
_BODY = {"input_fn": 0, "transform_fn": 1}
"""Which argument is the body, of those that are given one."""


def first_line(error: BaseException) -> str:
    """What an error says, in a line; its name where it says nothing."""
    return sentence(str(error)) or type(error).__name__


def sentence(text: str) -> str:
    """The first line of a text that has something in it."""
    return next((line.strip()[:_SHOWN] for line in text.splitlines() if line.strip()), "")


def refused_type(
    name: str, function: Handler, arguments: Sequence[Any], error: BaseException
) -> RequestError | None:
    """Give the refusal that an error of a handler is, or None where it is another error.

    Args:
        name: Which handler it is, such as `input_fn`.
        function: The handler.
        arguments: What it was given.
        error: What it raised.
    """
    said = first_line(error)
    raised = _Raised.of(function, error)
    chosen = CHOSEN.get(name, ())
    for kind in chosen:
        if raised is not None and raised.asks(kind.place, _BODY.get(name)):
            return _refusal(name, kind, arguments, str(error), said)
    for kind in chosen:
        if arguments[kind.place] and arguments[kind.place] in str(error):
            return _refusal(name, kind, arguments, str(error), said)
    if chosen and raised is not None and raised.is_raise and _WORDS.search(str(error)):
        of_answer = len(chosen) > 1 and _OF_ANSWER.search(str(error))
        kind = chosen[-1 if of_answer else 0]
        return _refusal(name, kind, arguments, str(error), said)
    return None


def given_nothing(name: str, function: Handler, arguments: Sequence[Any]) -> RequestError | None:
    """Give the refusal that None is where a handler looks at the type that the client chose."""
    for kind in CHOSEN.get(name, ()):
        if _looks_at(function, kind.place):
            return _refusal(name, kind, arguments, "", "")
    return None


def _refusal(
    name: str, kind: Chosen, arguments: Sequence[Any], text: str, said: str
) -> RequestError:
    value = arguments[kind.place]
    is_alone = said.strip("'") == value  # as a KeyError gives it, which is no sentence
    if value and value in text and not is_alone:
        return kind.error(said)
    reason = f": {said}" if text.strip() and not is_alone else ""
    return kind.error(f"{name} {kind.does_not} {value[:80]!r}{reason}")


@dataclass(frozen=True)
class _Raised:
    """The statement of the script that raised an error, with those around it."""

    parameters: tuple[str, ...]
    """What the handler calls its arguments."""
    path: tuple[ast.AST, ...]
    """From the function in which it stands to the statement itself."""
    is_handlers: bool
    """Whether that function is the handler."""

    @classmethod
    def of(cls, function: Handler, error: BaseException) -> "_Raised | None":
        """The statement, if it is one of the script's own that can be read."""
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
        """Whether it is there to raise."""
        return isinstance(self.path[-1], ast.Raise)

    def asks(self, place: int, body: int | None) -> bool:
        """Whether the handler raises since it asked about that argument, and not about the body."""
        if not self.is_handlers:
            return False
        other = set() if body is None else {self.parameters[body]}
        names = _derived({self.parameters[place]}, other, self.path[0])

        def about(node: ast.AST) -> bool:
            found = _names(node)
            return bool(found & names) and not found & other

        *around, last = self.path
        if isinstance(last, ast.Assert):
            return about(last.test)
        return isinstance(last, ast.Raise) and any(map(about, _questions(around, last)))


def _questions(around: Sequence[ast.AST], last: ast.AST) -> Iterator[ast.AST]:
    """The tests that failed before a statement was reached: around it, or above it in its block."""
    *_, block = around
    if isinstance(block, ast.If) and (last in block.orelse or _is_negative(block.test)):
        yield block.test
    if isinstance(block, ast.match_case) and _takes_the_rest(block.pattern):
        yield around[-2].subject  # type: ignore[attr-defined]  # a case stands in a match
    for siblings in (getattr(block, name, []) for name in ("body", "orelse", "finalbody")):
        if last in siblings:
            for sibling in siblings[: siblings.index(last)]:
                if isinstance(sibling, ast.If):
                    yield sibling.test
                elif isinstance(sibling, ast.Match):
                    yield sibling.subject


def _is_negative(test: ast.AST) -> bool:
    """Whether a test holds for all but some: one that holds for some may have any error."""
    return any(isinstance(node, ast.NotEq | ast.NotIn | ast.Not) for node in ast.walk(test))


def _takes_the_rest(pattern: ast.pattern) -> bool:
    return isinstance(pattern, ast.MatchAs) and pattern.pattern is None


def _path_to(line: int, source: str) -> tuple[ast.AST, ...]:
    """The innermost statement at a line and those around it, from its function on."""
    try:
        node: ast.AST = ast.parse(source)
    except (SyntaxError, ValueError):  # It was changed since it was imported.
        return ()
    path = [node]
    while (inner := _at(line, node)) is not None:
        node = inner
        is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        path = [node] if is_function else [*path, node]
    return tuple(path) if len(path) > 1 else ()


def _at(line: int, node: ast.AST) -> ast.AST | None:
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
    """The names, and those that the function assigns from them without the other ones."""
    found = set(names)
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            used = _names(node.value)
            if used & found and not used & other:
                found |= {name for target in node.targets for name in _names(target)}
    return found


def _names(node: ast.AST) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}


def _looks_at(function: Handler, place: int) -> bool:
    """Whether a function reads that argument; one without code of its own may."""
    code = _code(function)
    if code is None:
        return True
    name = _parameters(function)[place]
    return any(
        name == step.argval or (isinstance(step.argval, tuple) and name in step.argval)
        for step in dis.get_instructions(code)
        if "LOAD" in step.opname
    )


def _parameters(function: Handler) -> tuple[str, ...]:
    return tuple(inspect.signature(function).parameters)


def _code(function: Handler) -> CodeType | None:
    return getattr(inspect.unwrap(function), "__code__", None)
