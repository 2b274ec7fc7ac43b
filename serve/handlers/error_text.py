"""Errors as one line of text."""

MAX_LENGTH = 300


def first_line(text: str) -> str:
    """Return the first line that is not blank, cut at `MAX_LENGTH`; empty if there is none."""
    return next((line.strip()[:MAX_LENGTH] for line in text.splitlines() if line.strip()), "")


def error_line(error: BaseException) -> str:
    """Return the first line of an error's text, or its class's name if it has none."""
    return first_line(str(error)) or type(error).__name__


def describe(error: BaseException) -> str:
    """Return an error's class and the first line of its text."""
    return f"{type(error).__name__}: {error_line(error)}"
