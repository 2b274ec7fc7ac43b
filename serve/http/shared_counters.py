"""Counters in shared memory: each process writes its own row, and every process reads all rows.

The memory outlives a process that is killed, so that no count is lost or starts anew.
"""

import mmap
import tempfile
from collections.abc import Mapping
from typing import IO

CELLS = 8192
"""Counters of a row; unused cells take no memory."""
NAME_BYTES = 120
NUMBER_BYTES = 8
ROW_BYTES = CELLS * (NAME_BYTES + NUMBER_BYTES)


class CounterRow:
    """Named counters of one process."""

    def __init__(self, memory: memoryview) -> None:
        self._names = memory[: CELLS * NAME_BYTES]
        self.values = memory[CELLS * NAME_BYTES :].cast("d")
        """Values by index; the first is the number of counters."""
        self._indices = {name: index for index, name in enumerate(self._read_names(), start=1)}

    def index(self, name: str) -> int:
        """Return the index of a counter, which is created as 0 on the first call."""
        index = self._indices.get(name)
        if index is None:
            index = self._indices[name] = len(self._indices) + 1
            content = name.encode()
            assert index < CELLS  # names consist of routes and statuses, which are few
            assert len(content) < NAME_BYTES
            start = index * NAME_BYTES
            self._names[start : start + NAME_BYTES] = content.ljust(NAME_BYTES, b"\0")
            self.values[0] = index
        return index

    def read(self) -> Mapping[str, float]:
        """Return all counters by name, also those that another process writes."""
        return {name: self.values[index] for index, name in enumerate(self._read_names(), start=1)}

    def _read_names(self) -> list[str]:
        ends = range(2 * NAME_BYTES, (int(self.values[0]) + 2) * NAME_BYTES, NAME_BYTES)
        names = (bytes(self._names[end - NAME_BYTES : end]) for end in ends)
        return [name.rstrip(b"\0").decode() for name in names]


class SharedCounters:
    """Counters of several processes, a row each."""

    def __init__(self, rows: int, descriptor: int) -> None:
        """Map the file of `create_file`; -1 maps memory of this process alone."""
        memory = memoryview(mmap.mmap(descriptor, rows * ROW_BYTES))
        parts = (memory[start : start + ROW_BYTES] for start in range(0, len(memory), ROW_BYTES))
        self.rows = [CounterRow(part) for part in parts]

    @classmethod
    def create_private(cls) -> "SharedCounters":
        """Create the counters of a process that shares them with no other."""
        return cls(1, -1)


def create_file(rows: int) -> IO[bytes]:
    """Create an unnamed file for `SharedCounters`, to be inherited by the processes."""
    file = tempfile.TemporaryFile(prefix="tuneport-")  # noqa: SIM115  # the caller closes it
    file.truncate(rows * ROW_BYTES)
    return file
