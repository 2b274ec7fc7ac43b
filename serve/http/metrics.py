"""What a server counts of itself, in the format that Prometheus reads; workers add up."""

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

from serve.http.shared_counters import Board
from serve.models.manifest import Manifest

CONTENT_TYPE = CONTENT_TYPE_LATEST
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
OTHER = "other"
"""The route of requests that have none, so that a scan makes no new series."""
Families = list[Metric]
"""Numbers by their name, each with its labels and values."""
_EARLIEST = ("_created", "process_start_time_seconds")
"""How the names end of times, which are not added up."""
PID = "pid"
_SEPARATOR = "\t"


class Metrics:
    """One server's numbers, in a row of a board that its fellow workers' are on too."""

    def __init__(self, board: Board | None = None, worker: int = 0) -> None:
        self._board = board or Board.of_one()
        self._row = self._board.rows[worker]
        self._numbers = self._row.numbers
        self._active = self._row.place("active")
        self._inputs = self._row.place("inputs")
        self._places: dict[tuple[str, int], tuple[int, int, tuple[int, ...]]] = {}
        # One that was killed over requests does not answer them any more.
        self._numbers[self._active] = 0
        self._numbers[self._row.place("starts")] += 1
        self._numbers[self._row.place(PID)] = os.getpid()

    def count_inputs(self, number: int) -> None:
        """Add inputs that the model has answered."""
        self._numbers[self._inputs] += number

    def started(self) -> None:
        """Note that a request is being answered."""
        self._numbers[self._active] += 1

    def ended(self, route: str, status: int, seconds: float) -> None:
        """Note how a request was answered."""
        places = self._places.get((route, status))
        if places is None:  # Looking them up by their names costs more than counting.
            places = self._places[route, status] = self._named(route, status)
        requests, total, buckets = places
        numbers = self._numbers
        numbers[self._active] -= 1
        numbers[requests] += 1
        numbers[total] += seconds
        numbers[buckets[bisect_left(SECONDS, seconds)]] += 1

    def families(self, manifest: Manifest) -> Families:
        """Everything, for a server that has this model now."""
        return list(_families(self._board, manifest))

    async def total(self, manifest: Manifest) -> Families:
        """The numbers of the endpoint: these, unless other servers answer for it too."""
        return self.families(manifest)

    def _named(self, route: str, status: int) -> tuple[int, int, tuple[int, ...]]:
        place = self._row.place
        bounds = [*map(str, SECONDS), "+Inf"]
        return (
            place(_SEPARATOR.join(("requests", route, str(status)))),
            place(_SEPARATOR.join(("seconds", route))),
            tuple(place(_SEPARATOR.join(("bucket", route, bound))) for bound in bounds),
        )


def text(families: Families) -> bytes:
    """Numbers as Prometheus reads them."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(families))
    return generate_latest(registry)


def added(servers: Iterable[Families]) -> Families:
    """The numbers of several servers as those of one."""
    sums: dict[str, Metric] = {}
    values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
    for family in (family for families in servers for family in families):
        sums.setdefault(family.name, Metric(family.name, family.documentation, family.type))
        found = values.setdefault(family.name, {})
        for name, labels, value, *_ in family.samples:
            key = name, tuple(labels.items())
            add = min if name.endswith(_EARLIEST) else float.__add__
            found[key] = add(found[key], float(value)) if key in found else float(value)
    for family_name, found in values.items():
        for (name, pairs), value in found.items():
            sums[family_name].add_sample(name, dict(pairs), value)
    return list(sums.values())


def lasting(families: Families) -> Families:
    """Of the numbers of a server those that count on when it has ended."""
    return [family for family in families if family.type in ("counter", "histogram")]


class _Collected(Collector):
    """Numbers that were collected before."""

    def __init__(self, families: Families) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        yield from self._families


def _families(board: Board, manifest: Manifest) -> Iterator[Metric]:
    """The sums over all workers, and what each process takes."""
    rows = [row.read() for row in board.rows]
    total: Counter[str] = Counter()
    for row in rows:
        total.update(row)
    yield from _processes([int(row.get(PID, 0)) for row in rows])
    yield _requests(total)
    yield _seconds(total)
    for name, said in (
        ("inputs", "Inputs the model has answered."),
        ("starts", "Times that a worker has started."),
    ):
        yield CounterMetricFamily(f"tuneport_{name}", said, value=total[name])
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
            family.add_metric(labels, _cumulated(labels[0], total), total[name])
    return family


def _cumulated(route: str, total: Mapping[str, float]) -> list[tuple[str, float]]:
    buckets, sum_so_far = [], 0.0
    for bound in (*map(str, SECONDS), "+Inf"):
        sum_so_far += total[_SEPARATOR.join(("bucket", route, bound))]
        buckets.append((bound, sum_so_far))
    return buckets


def _processes(pids: list[int]) -> Iterator[Metric]:
    """What each process takes of the machine, by worker where there are several."""
    families: dict[str, Metric] = {}
    for worker, pid in enumerate(pids, start=1):
        for found in ProcessCollector(pid=partial(int, pid), registry=None).collect():
            family = families.setdefault(
                found.name, Metric(found.name, found.documentation, found.type)
            )
            labels = {"worker": str(worker)} if len(pids) > 1 else {}
            for sample in found.samples:
                family.add_sample(sample.name, {**sample.labels, **labels}, sample.value)
    yield from families.values()
