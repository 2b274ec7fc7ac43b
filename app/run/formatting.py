"""Numbers, durations and configurations as commands print them."""

from typing import Any

from app.terminal import in_one_line


def count(number: int, noun: str) -> str:
    """A number of things in words."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def times(number: int) -> str:
    """How often something happened in words."""
    return {1: "once", 2: "twice"}.get(number, f"{number} times")


def configuration(config: dict[str, Any]) -> str:
    """A configuration in one line."""
    return in_one_line("  ".join(f"{name}={number(value)}" for name, value in config.items()))


def number(value: Any) -> str:
    """A value in as many digits as people compare."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def duration(seconds: float) -> str:
    """Seconds in the units that people say."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
