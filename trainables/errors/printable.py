"""Text that can be printed, on one line and not too long."""

import re

LONGEST = 1000
"""Characters of a sentence about a failure; the trial's log has the rest."""
COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
"""Escape sequences for colours."""


def one_line(text: str) -> str:
    """Put text into one printable line of at most `LONGEST` characters."""
    # The text may have hundreds of megabytes; a part beyond the limit is enough to cut it.
    return printable(" ".join(COLOURS.sub("", text[: 4 * LONGEST]).split()), LONGEST)


def printable(text: str, longest: int) -> str:
    """Escape characters that cannot be printed, and cut the text after so many characters."""
    bare = COLOURS.sub("", text[: 4 * longest]).expandtabs()
    shown = "".join(one if one.isprintable() else _escape(one) for one in bare)
    return shown if len(shown) <= longest else f"{shown[:longest]}…"


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
