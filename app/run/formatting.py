"""Format numbers, durations and configurations for commands."""

from collections.abc import Sequence
from math import isfinite
from typing import Any

from app.terminal import in_one_line

UNITS = ("KB", "MB", "GB", "TB")
"""Units of sizes, each 1,000 of the one before."""
BLOCKS = "▁▂▃▄▅▆▇█"
"""Characters of a curve, from its lowest value to its highest."""


def count(number: int, noun: str) -> str:
    """Return a number of things in words: `3 trials`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def times(number: int) -> str:
    """Return how often something happened in words: `twice`."""
    return {1: "once", 2: "twice"}.get(number, f"{number} times")


def configuration(config: dict[str, Any]) -> str:
    """Return a configuration in one line."""
    return in_one_line("  ".join(f"{name}={number(value)}" for name, value in config.items()))


def number(value: Any) -> str:
    """Return a value with four significant digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def shorten(text: str, width: int) -> str:
    """Cut a text that is longer than so many characters, and say so by an ellipsis."""
    return text if len(text) <= width else f"{text[: max(width - 1, 0)]}…"


def sparkline(values: Sequence[float | None], width: int) -> str:
    """Draw values as blocks from low to high, the last of several where they are more than `width`.

    A value that is not finite is a blank.
    """
    size = max(-(-len(values) // width), 1)
    parts = [values[start : start + size] for start in range(0, len(values), size)]
    # Halves, as the difference of two large numbers may be infinite.
    levels = [
        [value / 2 for value in part if value is not None and isfinite(value)][-1:]
        for part in parts
    ]
    known = [level for found in levels for level in found]
    low, high = min(known, default=0.0), max(known, default=0.0)
    scale = (len(BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(BLOCKS[round((found[0] - low) * scale)] if found else " " for found in levels)


def size(number: int) -> str:
    """Return a number of bytes in words: `1.2 MB`."""
    if number < 1000:
        return count(number, "byte")
    power = min(len(str(number)) // 3 - (len(str(number)) % 3 == 0), len(UNITS))
    return f"{number / 1000**power:.1f} {UNITS[power - 1]}"


def duration(seconds: float) -> str:
    """Return seconds in hours, minutes and seconds: `2 min 5 s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
