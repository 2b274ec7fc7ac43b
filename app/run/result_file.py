"""`result.json` of a run: its record, replaced as a whole as the run goes on."""

import json
import time
from pathlib import Path

from app.run.record import Record
from app.storage.files import replace_file

RESULT = "result.json"
SMALL_BYTES = 2**15
"""A file up to this size is replaced at every event."""
TIME_SHARE = 0.05
"""The part of a run's time that replacing a larger file may take."""
MIN_INTERVAL_S = 0.5
"""The least time between replacements of a larger file."""


class ResultFile:
    """Writes a run's record to `result.json`, a large one less often than it changes.

    Trials that have finished are encoded once.
    """

    def __init__(self) -> None:
        self._finished: list[str] = []
        """The first trials, encoded, once they have all finished."""
        self._is_stale = False
        self._size = 0
        self._written_at = 0.0
        self._took_s = 0.0

    def update(self, folder: Path, record: Record, *, at_once: bool) -> None:
        """Write a record that has changed, unless the file is large and was just written.

        Raises OSError where it cannot be written.
        """
        self._is_stale = True
        self.flush(folder, record, at_once=at_once)

    def flush(self, folder: Path, record: Record, *, at_once: bool) -> None:
        """Write what an `update` put off, if it is time or is to be done at once."""
        if not self._is_stale or not (at_once or self._is_time()):
            return
        began = time.monotonic()
        text = self._encode(record)
        replace_file(folder / RESULT, text)
        self._is_stale = False
        self._size = len(text)
        self._written_at = time.monotonic()
        self._took_s = self._written_at - began

    def reset(self) -> None:
        """Encode all trials again: their record was built anew, or one of them goes on."""
        self._finished.clear()

    def _is_time(self) -> bool:
        interval = max(MIN_INTERVAL_S, self._took_s / TIME_SHARE)
        return self._size <= SMALL_BYTES or time.monotonic() >= self._written_at + interval

    def _encode(self, record: Record) -> str:
        ordered = record.in_order()
        for trial in ordered[len(self._finished) :]:
            # A trial with a lower number may still begin.
            if not trial.is_finished or trial.number() > len(self._finished) + 1:
                break
            self._finished.append(json.dumps(trial.as_json()))
        rest = (json.dumps(trial.as_json()) for trial in ordered[len(self._finished) :])
        trials = ",\n".join([*self._finished, *rest])
        head, tail = json.dumps(record.head()), json.dumps(record.tail())
        return f'{head[:-1]},\n"trials": [\n{trials}\n],\n{tail[1:]}\n'
