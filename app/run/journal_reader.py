"""Reading of journals: their events in order, and the record that they add up to."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from app.run.errors import DamagedError
from app.run.events import Event, parse_event
from app.run.record import APPLY, Record


def read_events(path: Path) -> Iterator[Event]:
    """Read the events of a journal that this version knows; raises DamagedError."""
    for number, line in lines(path.read_bytes()):
        event = _event(line, number, path)
        if event["event"] in APPLY:
            yield event


def replay(record: Record, content: bytes, path: Path) -> Counter[str]:
    """Apply a journal's events to a record; raises DamagedError.

    Returns how often each kind of event came that this version does not know.
    """
    unknown: Counter[str] = Counter()
    for number, line in lines(content):
        event = _event(line, number, path)
        try:
            if not record.apply_known(event):
                unknown[event["event"]] += 1
        except ValueError as error:
            raise DamagedError(f"{path}, line {number}: {error}") from error
    return unknown


def lines(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Return the lines of a journal with their numbers, but not one that a crash cut short."""
    return enumerate(content.split(b"\n")[:-1], 1)


def _event(line: bytes, number: int, path: Path) -> Event:
    try:
        return parse_event(line)
    except ValueError as error:
        raise DamagedError(f"{path}, line {number}: {error}") from error
