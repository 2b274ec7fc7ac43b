"""What a user's code raises while its trial is exported, as one sentence."""

from collections.abc import Iterator
from contextlib import contextmanager

from trainables.errors.reason import COLOURS

MOST = 300
"""Characters that are told of an exception."""


class ExportError(Exception):
    """A trial that gives no model, or a model that does not give what was recorded."""


@contextmanager
def promised(method: str) -> Iterator[None]:
    """Raise ExportError, beginning with the method's name, for whatever the block raises.

    Ctrl-C passes, as do ExportErrors.
    """
    try:
        yield
    except ExportError:
        raise
    except (Exception, SystemExit) as error:
        raise ExportError(f"{method} raised {told(error)}") from error


def told(error: BaseException) -> str:
    """The exception's class and the first line of what it says, without colours."""
    try:
        text = COLOURS.sub("", str(error)).strip()
    except Exception:  # Its own __str__ may fail as well.
        text = ""
    first = text.partition("\n")[0].strip()
    shown = first if len(first) <= MOST else f"{first[:MOST]}…"
    return f"{type(error).__name__}: {shown}" if shown else type(error).__name__
