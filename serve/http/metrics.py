"""Metrics of a server in the format of Prometheus, summed over its workers."""

import os
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import partial

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Metric,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.registry import Collector

from serve.http.shared_counters import SharedCounters
from serve.models.manifest import Manifest

CONTENT_TYPE = CONTENT_TYPE_LATEST
BUCKET_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
OTHER_ROUTE = "other"
"""Label of requests without a route, so that a scan creates no new series."""
Families = list[Metric]
"""Metric families, each with its samples."""
_START_TIMES = ("_created", "process_start_time_seconds")
"""Name suffixes of samples that are times: their sum is the earliest."""
PID = "pid"
_SEPARATOR = "\t"


class Metrics:
    """Metrics of one server; those of its workers are rows of the same shared counters."""

    def __init__(self, counters: SharedCounters | None = None, worker: int = 0) -> None:
        self._counters = counters or SharedCounters.create_private()
        self._row = self._counters.rows[worker]
        self._values = self._row.values
        self._active = self._row.index("active")
        self._inputs = self._row.index("inputs")
        self._indices: dict[tuple[str, int], tuple[int, int, tuple[int, ...]]] = {}
        # The requests of a worker that was killed are not active any more.
        self._values[self._active] = 0
        self._values[self._row.index("starts")] += 1
        self._values[self._row.index(PID)] = os.getpid()

    def count_inputs(self, count: int) -> None:
        """Count inputs that the model has answered."""
        self._values[self._inputs] += count

    def start_request(self) -> None:
        """Count a request as active."""
        self._values[self._active] += 1

    def finish_request(self, route: str, status: int, seconds: float) -> None:
        """Count a request as answered."""
        indices = self._indices.get((route, status))
        if indices is None:  # Looking up names costs more than counting.
            indices = self._indices[route, status] = self._find_indices(route, status)
        requests, total, buckets = indices
        values = self._values
        values[self._active] -= 1
        values[requests] += 1
        values[total] += seconds
        values[buckets[bisect_left(BUCKET_SECONDS, seconds)]] += 1

    def families(self, manifest: Manifest) -> Families:
        """Return all metric families of this server and its workers."""
        return list(_families(self._counters, manifest))

    async def total(self, manifest: Manifest) -> Families:
        """Return the metrics of the endpoint; a subclass adds those of other servers."""
        return self.families(manifest)

    def _find_indices(self, route: str, status: int) -> tuple[int, int, tuple[int, ...]]:
        index = self._row.index
        bounds = [*map(str, BUCKET_SECONDS), "+Inf"]
        return (
            index(_SEPARATOR.join(("requests", route, str(status)))),
            index(_SEPARATOR.join(("seconds", route))),
            tuple(index(_SEPARATOR.join(("bucket", route, bound))) for bound in bounds),
        )


def encode(families: Families) -> bytes:
    """Encode metrics in Prometheus's text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_FamilyCollector(families))
    return generate_latest(registry)


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


class _FamilyCollector(Collector):
    """Collector of families that exist already."""

    def __init__(self, families: Families) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        yield from self._families


def _families(counters: SharedCounters, manifest: Manifest) -> Iterator[Metric]:
    """Sum up the workers' counters, and add the resources of each process."""
    rows = [row.read() for row in counters.rows]
    total: Counter[str] = Counter()
    for row in rows:
        total.update(row)
    yield from _processes([int(row.get(PID, 0)) for row in rows])
    yield _requests(total)
    yield _seconds(total)
    for name, description in (
        ("inputs", "Inputs the model has answered."),
        ("starts", "Times that a worker has started."),
    ):
        yield CounterMetricFamily(f"tuneport_{name}", description, value=total[name])
    yield GaugeMetricFamily(
        "tuneport_active_requests", "Requests being answered.", value=total["active"]
    )
    model = GaugeMetricFamily("tuneport_model", "The model served.", labels=("name", "version"))
    model.add_metric([manifest.name, manifest.version], 1)
    yield model


def _requests(total: Mapping[str, float]) -> Metric:
    family = CounterMetricFamily(
        "tuneport_requests", "Requests by route and status.", labels=("route", "status")
    )
    for name in sorted(total):
        kind, *labels = name.split(_SEPARATOR)
        if kind == "requests":
            family.add_metric(labels, total[name])
    return family


def _seconds(total: Mapping[str, float]) -> Metric:
    family = HistogramMetricFamily(
        "tuneport_request_seconds",
        "Time from a request's headers to the end of its reply.",
        labels=("route",),
    )
    for name in sorted(total):
        kind, *labels = name.split(_SEPARATOR)
        if kind == "seconds":
            family.add_metric(labels, _cumulate(labels[0], total), total[name])
    return family


def _cumulate(route: str, total: Mapping[str, float]) -> list[tuple[str, float]]:
    buckets, sum_so_far = [], 0.0
    for bound in (*map(str, BUCKET_SECONDS), "+Inf"):
        sum_so_far += total[_SEPARATOR.join(("bucket", route, bound))]
        buckets.append((bound, sum_so_far))
    return buckets


def _processes(pids: list[int]) -> Iterator[Metric]:
    """Resources of each process, labelled by worker if there are several."""
    families: dict[str, Metric] = {}
    for worker, pid in enumerate(pids, start=1):
        for collected in ProcessCollector(pid=partial(int, pid), registry=None).collect():
            family = families.setdefault(
                collected.name, Metric(collected.name, collected.documentation, collected.type)
            )
            labels = {"worker": str(worker)} if len(pids) > 1 else {}
            for sample in collected.samples:
                family.add_sample(sample.name, {**sample.labels, **labels}, sample.value)
    yield from families.values()
