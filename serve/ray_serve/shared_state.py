"""State that the replicas of an endpoint share: model files, target state, metrics, log lines.

One small actor holds it. Every replica reports to it a few times a second.
"""

import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from prometheus_client import Metric

from serve.http.metrics import Families

LIVE_SECONDS = 5.0
"""How long a replica counts as live after its last report."""
MAX_LINES = 100_000
"""Log lines kept until the command prints them."""
_START_TIMES = ("_created", "process_start_time_seconds")
"""Name suffixes of samples that are times: their sum is the earliest."""

Files = dict[str, Any]
"""Object references to the contents of a model's files, by their paths in its folder."""


@dataclass(frozen=True)
class TargetState:
    """State that every replica is to reach."""

    current: str
    """Key of the model that is to answer."""
    models: frozenset[str]
    """Keys of the models that are to be loaded, the current one among them."""


@dataclass(frozen=True)
class ReplicaStatus:
    """State that a replica has reached."""

    answering: str
    """Key of the model that answers."""
    ready: frozenset[str]
    """Keys of the loaded models."""
    failures: dict[str, str]
    """Reasons why models could not be loaded, by key."""


class SharedState:
    """The shared state, as a Ray actor."""

    def __init__(self) -> None:
        self._incoming: dict[str, Files] = {}
        self._files: dict[str, Files] = {}
        self._current = ""
        self._reports: dict[str, tuple[float, ReplicaStatus]] = {}
        self._metrics: dict[str, tuple[float, Families]] = {}
        self._lines: deque[str] = deque(maxlen=MAX_LINES)

    def put_file(self, key: str, name: str, content: bytes) -> None:
        """Store a file of a model that is being added."""
        import ray

        # This actor owns the object, so that it outlives the process that sent it.
        self._incoming.setdefault(key, {})[name] = ray.put(content)

    def add_model(self, key: str) -> None:
        """Let every replica load a model whose files are stored."""
        self._files[key] = self._incoming.pop(key)

    def answer(self, key: str) -> None:
        """Let every replica switch to a model."""
        self._current = key

    def drop(self, key: str) -> None:
        """Let every replica unload a model."""
        del self._files[key]

    def files(self, key: str) -> Files:
        """Return the files of a model."""
        return self._files[key]

    def target(self) -> TargetState:
        """Return the state that every replica is to reach."""
        return TargetState(self._current, frozenset(self._files))

    def report(self, replica: str, status: ReplicaStatus) -> TargetState:
        """Record a replica's status, and return its target."""
        self._reports[replica] = time.monotonic(), status
        return self.target()

    def record_metrics(self, replica: str, families: Families) -> None:
        """Record a replica's metrics."""
        self._metrics[replica] = time.monotonic(), families

    def total_metrics(self) -> Families:
        """Add up the metrics of all replicas; of dead ones, those that are cumulative."""
        live_since = time.monotonic() - LIVE_SECONDS
        return add(
            families if recorded >= live_since else keep_cumulative(families)
            for recorded, families in self._metrics.values()
        )

    def log(self, lines: list[str]) -> None:
        """Add a replica's log lines."""
        self._lines.extend(lines)

    def pop_log(self) -> list[str]:
        """Return the log lines since the last call."""
        lines = list(self._lines)
        self._lines.clear()
        return lines

    def is_ready(self, key: str) -> bool:
        """Whether every replica has loaded a model."""
        return all(key in status.ready for status in self._live())

    def find_failure(self, key: str) -> str | None:
        """Return why a replica cannot load a model, if one cannot."""
        failures = (status.failures for status in self._live())
        return next((reasons[key] for reasons in failures if key in reasons), None)

    def is_settled(self) -> bool:
        """Whether every replica answers by the current model."""
        return all(status.answering == self._current for status in self._live())

    def _live(self) -> list[ReplicaStatus]:
        live_since = time.monotonic() - LIVE_SECONDS
        self._reports = {
            replica: report for replica, report in self._reports.items() if report[0] >= live_since
        }
        return [status for _, status in self._reports.values()]


def add(servers: Iterable[Families]) -> Families:
    """Add up the metrics of several servers."""
    sums: dict[str, Metric] = {}
    values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
    for family in (family for families in servers for family in families):
        sums.setdefault(family.name, Metric(family.name, family.documentation, family.type))
        samples = values.setdefault(family.name, {})
        for name, labels, value, *_ in family.samples:
            key = name, tuple(labels.items())
            combine = min if name.endswith(_START_TIMES) else float.__add__
            samples[key] = combine(samples[key], float(value)) if key in samples else float(value)
    for family_name, samples in values.items():
        for (name, pairs), value in samples.items():
            sums[family_name].add_sample(name, dict(pairs), value)
    return list(sums.values())


def keep_cumulative(families: Families) -> Families:
    """Keep the metrics that still count after their server has ended."""
    return [family for family in families if family.type in ("counter", "histogram")]
