"""What the replicas of an endpoint share: models' files, which of them is to answer, and counts.

One small process holds it, and every replica asks it a few times a second what it is to do.
"""

import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from serve.http.metrics import Families, add, keep_cumulative

LIVE_S = 5.0
"""How long a replica counts after it was heard last."""
LINES = 100_000
"""How many lines of a log are kept for who is to print them."""

Files = dict[str, Any]
"""References to the contents of a model's files, by their paths in its folder."""


@dataclass(frozen=True)
class Orders:
    """What a replica is to do."""

    current: str
    """The model that is to answer."""
    held: frozenset[str]
    """The models that are to be ready, this one among them."""


@dataclass(frozen=True)
class Standing:
    """How far a replica is."""

    answering: str
    """The model that answers there."""
    ready: frozenset[str]
    """The models that are ready there, this one among them."""
    failed: dict[str, str]
    """Those that could not be loaded there, each with the reason."""


class Depot:
    """The process, as a Ray actor."""

    def __init__(self) -> None:
        self._coming: dict[str, Files] = {}
        self._files: dict[str, Files] = {}
        self._current = ""
        self._heard: dict[str, tuple[float, Standing]] = {}
        self._counts: dict[str, tuple[float, Families]] = {}
        self._lines: deque[str] = deque(maxlen=LINES)

    def take(self, key: str, name: str, content: bytes) -> None:
        """Take a file of a model that is to be held."""
        import ray

        # This process owns it, so that it stays when the one that brought it is gone.
        self._coming.setdefault(key, {})[name] = ray.put(content)

    def keep(self, key: str) -> None:
        """Hold a model whose files were taken, and let every replica make it ready."""
        self._files[key] = self._coming.pop(key)

    def answer(self, key: str) -> None:
        """Let every replica answer by that model."""
        self._current = key

    def drop(self, key: str) -> None:
        """Let every replica forget that model."""
        del self._files[key]

    def files(self, key: str) -> Files:
        """The files of a model."""
        return self._files[key]

    def orders(self) -> Orders:
        """What a replica is to do."""
        return Orders(self._current, frozenset(self._files))

    def report(self, name: str, standing: Standing) -> Orders:
        """Hear how far a replica is; gives what it is to do next."""
        self._heard[name] = time.monotonic(), standing
        return self.orders()

    def count(self, name: str, families: Families) -> None:
        """Take down the numbers of a replica."""
        self._counts[name] = time.monotonic(), families

    def counted(self) -> Families:
        """The numbers of all replicas together; of those that are gone, what they had done."""
        since = time.monotonic() - LIVE_S
        return add(
            families if heard >= since else keep_cumulative(families)
            for heard, families in self._counts.values()
        )

    def log(self, lines: list[str]) -> None:
        """Take what a replica has to say of its requests."""
        self._lines.extend(lines)

    def logged(self) -> list[str]:
        """What replicas have said since this was asked last."""
        lines = list(self._lines)
        self._lines.clear()
        return lines

    def ready(self, key: str) -> bool:
        """Whether every replica has that model ready."""
        return all(key in standing.ready for standing in self._live())

    def failure(self, key: str) -> str | None:
        """Why a replica cannot load that model."""
        return next((each.failed[key] for each in self._live() if key in each.failed), None)

    def settled(self) -> bool:
        """Whether every replica answers by the model of now."""
        return all(standing.answering == self._current for standing in self._live())

    def _live(self) -> list[Standing]:
        since = time.monotonic() - LIVE_S
        self._heard = {name: heard for name, heard in self._heard.items() if heard[0] >= since}
        return [standing for _, standing in self._heard.values()]
