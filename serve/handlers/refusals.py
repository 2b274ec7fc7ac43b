"""Refused types: whether an error of a handler means that it does not take or give a type.

SageMaker's toolkit has an exception for it, but most scripts raise one of Python's, assert, or
return None. An error of an `input_fn` (its `content_type`), an `output_fn` (its `accept`) or a
`transform_fn` (both) refuses the type if one of these holds, tried in this order:

- the script's `assert` tests the type, or its `raise` follows an `if` or `match` that tests the
  type and not the body;
- its text has the type that the client chose, as the text of a table's `KeyError`;
- the script's `raise` says that a type or format is not supported.

A handler that reads the type and returns None refuses it too. Every other error is one of the body
or of the handler itself.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from serve.errors import NotAcceptableError, RequestError, UnsupportedTypeError
from serve.handlers.error_text import error_line
from serve.handlers.raising_statement import Handler, RaisingStatement, reads_argument

_WORDS = re.compile(
    r"(content|media|mime|accept)[ _-]?type|\b(type|format)\b.*support|support.*\b(type|format)",
    re.IGNORECASE | re.DOTALL,
)
_OF_ANSWER = re.compile(r"accept|response|output", re.IGNORECASE)


@dataclass(frozen=True)
class TypeArgument:
    """An argument of a handler that is a type chosen by the client."""

    position: int
    """Position among the handler's arguments."""
    error: type[RequestError]
    """The error that refuses it."""
    verb: str
    """Beginning of the refusal's text."""


CONTENT_TYPE = "does not take content type"
ACCEPT = "does not give"
TYPE_ARGUMENTS: dict[str, tuple[TypeArgument, ...]] = {
    "input_fn": (TypeArgument(1, UnsupportedTypeError, CONTENT_TYPE),),
    "output_fn": (TypeArgument(1, NotAcceptableError, ACCEPT),),
    "transform_fn": (
        TypeArgument(2, UnsupportedTypeError, CONTENT_TYPE),
        TypeArgument(3, NotAcceptableError, ACCEPT),
    ),
}
_BODY = {"input_fn": 0, "transform_fn": 1}
"""Position of the body among the arguments of handlers that have it."""


def find_refusal(
    name: str, function: Handler, arguments: Sequence[Any], error: BaseException
) -> RequestError | None:
    """Return the refusal that an error of the handler `name` means, or None for another error."""
    text = str(error)
    statement = RaisingStatement.find(function, error)
    candidates = TYPE_ARGUMENTS.get(name, ())
    for argument in candidates:
        if statement is not None and statement.tests(argument.position, _BODY.get(name)):
            return _refuse(name, argument, arguments, error)
    for argument in candidates:
        if arguments[argument.position] and arguments[argument.position] in text:
            return _refuse(name, argument, arguments, error)
    if candidates and statement is not None and statement.is_raise and _WORDS.search(text):
        of_answer = len(candidates) > 1 and _OF_ANSWER.search(text)
        return _refuse(name, candidates[-1 if of_answer else 0], arguments, error)
    return None


def refuse_none(name: str, function: Handler, arguments: Sequence[Any]) -> RequestError | None:
    """Return the refusal that None means from a handler that reads the client's type."""
    for argument in TYPE_ARGUMENTS.get(name, ()):
        if reads_argument(function, argument.position):
            return _refuse(name, argument, arguments, None)
    return None


def _refuse(
    name: str, argument: TypeArgument, arguments: Sequence[Any], error: BaseException | None
) -> RequestError:
    value, text = arguments[argument.position], "" if error is None else str(error)
    line = "" if error is None else error_line(error)
    is_bare = line.strip("'") == value  # A KeyError's text is the type alone.
    if value and value in text and not is_bare:
        return argument.error(line)
    reason = f": {line}" if text.strip() and not is_bare else ""
    return argument.error(f"{name} {argument.verb} {value[:80]!r}{reason}")
