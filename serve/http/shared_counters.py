"""Numbers that several processes keep, each in a row of its own, and that all can read.

Shared memory outlives a process that is killed, so that no count is lost or begins anew.
"""

import mmap
import tempfile
from collections.abc import Mapping
from typing import IO

CELLS = 8192
"""Numbers of a row; what is not used takes no memory."""
NAME_BYTES = 120
NUMBER_BYTES = 8
ROW_BYTES = CELLS * (NAME_BYTES + NUMBER_BYTES)


class Row:
    """The named numbers of one process."""

    def __init__(self, memory: memoryview) -> None:
        self._names = memory[: CELLS * NAME_BYTES]
        self.numbers = memory[CELLS * NAME_BYTES :].cast("d")
        """The numbers, by their places; the first is how many there are."""
        self._places = {name: place for place, name in enumerate(self._known(), start=1)}

    def place(self, name: str) -> int:
        """Where the number of that name is; it begins as 0."""
        found = self._places.get(name)
        if found is None:
            found = self._places[name] = len(self._places) + 1
            content = name.encode()
            assert found < CELLS  # names are made of routes and statuses, which are few
            assert len(content) < NAME_BYTES
            start = found * NAME_BYTES
            self._names[start : start + NAME_BYTES] = content.ljust(NAME_BYTES, b"\0")
            self.numbers[0] = found
        return found

    def read(self) -> Mapping[str, float]:
        """All numbers by their names, also those that another process keeps."""
        return {name: self.numbers[place] for place, name in enumerate(self._known(), start=1)}

    def _known(self) -> list[str]:
        ends = range(2 * NAME_BYTES, (int(self.numbers[0]) + 2) * NAME_BYTES, NAME_BYTES)
        names = (bytes(self._names[end - NAME_BYTES : end]) for end in ends)
        return [name.rstrip(b"\0").decode() for name in names]


class Board:
    """A row for each process."""

    def __init__(self, rows: int, descriptor: int) -> None:
        memory = memoryview(mmap.mmap(descriptor, rows * ROW_BYTES))
        parts = (memory[start : start + ROW_BYTES] for start in range(0, len(memory), ROW_BYTES))
        self.rows = [Row(part) for part in parts]

    @classmethod
    def of_one(cls) -> "Board":
        """The board of a process that is alone."""
        return cls(1, -1)


def shared(rows: int) -> IO[bytes]:
    """A file without a name, in which processes that are given it have a board together."""
    file = tempfile.TemporaryFile(prefix="tuneport-")  # noqa: SIM115  # whoever asks closes it
    file.truncate(rows * ROW_BYTES)
    return file
