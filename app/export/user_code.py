"""Calls of a user's methods during an export: whatever they raise becomes one sentence."""

from collections.abc import Iterator
from contextlib import contextmanager

from trainables.contract import TrainableError
from trainables.errors.disk_full import str_of
from trainables.errors.printable import COLOURS, printable

MESSAGE_CHARACTERS = 300
"""The most characters of an exception's message that are shown."""


class ExportError(Exception):
    """A trial that cannot be exported, in one sentence."""


@contextmanager
def wrap_errors(method: str) -> Iterator[None]:
    """Turn whatever the block raises into an ExportError that begins with the method's name.

    Ctrl-C and ExportErrors pass unchanged; a TrainableError is a sentence already.
    """
    try:
        yield
    except ExportError:
        raise
    except TrainableError as error:
        raise ExportError(str(error)) from error
    except (Exception, SystemExit) as error:
        raise ExportError(f"{method} raised {describe_error(error)}") from error


def describe_error(error: BaseException) -> str:
    """Return the exception's class and the first line of its message, in printable characters."""
    first = COLOURS.sub("", str_of(error)).strip().partition("\n")[0].strip()
    message = printable(first, MESSAGE_CHARACTERS)
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
