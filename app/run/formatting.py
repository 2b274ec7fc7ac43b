"""Format numbers, durations and configurations for commands."""

from typing import Any

from app.terminal import in_one_line


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


def duration(seconds: float) -> str:
    """Return seconds in hours, minutes and seconds: `2 min 5 s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
