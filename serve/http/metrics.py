"""Metrics of a server by `prometheus_client`, summed over its workers.

Requests add to numbers in memory that all workers share, which a custom collector reads: a killed
worker loses no count, and the library's own counters take ten to thirty times as long.
"""

import asyncio
import mmap
import os
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from functools import partial
from time import perf_counter as clock

import anyio.to_thread
import numpy as np
from numpy.typing import NDArray
from prometheus_client import CONTENT_TYPE_LATEST, Metric, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.registry import Collector

from serve.models.manifest import Manifest

CONTENT_TYPE = CONTENT_TYPE_LATEST
BUCKET_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
OTHER_ROUTE = "other"
"""Label of requests without a route, so that a scan creates no new series."""
MAX_SHARE = 0.1
"""Part of the time that may go into reading metrics, however often they are asked for."""
Families = list[Metric]
"""Metric families, each with its samples."""

# A worker's numbers are rows: one of the process, then one for each route.
_ACTIVE, _INPUTS, _STARTS, _DROPPED, _PID = range(5)
_STATUSES = 600
"""Columns of a route: a count for each status, the sum of seconds, a count for each bucket."""
_SUM = _STATUSES
_BUCKETS = _SUM + 1
_COLUMNS = _BUCKETS + len(BUCKET_SECONDS) + 1
_ROWS = 64
_WORKER_BYTES = _ROWS * _COLUMNS * 8


class Metrics:
    """Metrics of one server; its workers each have a part of the same memory."""

    def __init__(self, descriptor: int = -1, workers: int = 1, worker: int = 0) -> None:
        """Map the file that the workers share, or for -1 memory, and take a worker's part of it."""
        size = workers * _WORKER_BYTES
        if descriptor >= 0:
            os.ftruncate(descriptor, size)
        memory = memoryview(mmap.mmap(descriptor, size))
        self._all = np.frombuffer(memory).reshape(workers, _ROWS, _COLUMNS)
        start = worker * _WORKER_BYTES
        self._values = memory[start : start + _WORKER_BYTES].cast("d")
        self._starts = {OTHER_ROUTE: _COLUMNS}
        """Index of each route's first number."""
        self._lock = asyncio.Lock()
        self._text = b""
        self._read_at = self._next_at = 0.0
        # The requests of a worker that was killed are not active any more.
        self._values[_ACTIVE] = 0
        self._values[_STARTS] += 1
        self._values[_PID] = os.getpid()

    def add_routes(self, routes: Iterable[str]) -> None:
        """Count requests to these routes by themselves; every worker adds the same ones."""
        for route in routes:
            self._starts.setdefault(route, (len(self._starts) + 1) * _COLUMNS)
        assert len(self._starts) < _ROWS  # An application has few routes.

    def count_inputs(self, count: int) -> None:
        """Count inputs that the model has answered."""
        self._values[_INPUTS] += count

    def count_dropped(self, lines: int) -> None:
        """Count lines of the log that could not be written."""
        self._values[_DROPPED] += lines

    def start_request(self) -> None:
        """Count a request as active."""
        self._values[_ACTIVE] += 1

    def finish_request(self, route: str, status: int, seconds: float) -> None:
        """Count a request as answered."""
        values = self._values
        start = self._starts.get(route, _COLUMNS)
        values[_ACTIVE] -= 1
        values[start + status] += 1
        values[start + _SUM] += seconds
        values[start + _BUCKETS + bisect_left(BUCKET_SECONDS, seconds)] += 1

    def families(self, manifest: Manifest) -> Families:
        """Return all metric families of this server and its workers."""
        total = self._all[:, : len(self._starts) + 1].sum(axis=0)
        model = GaugeMetricFamily("tuneport_model", "The model served.", labels=("name", "version"))
        model.add_metric([manifest.name, manifest.version], 1)
        return [
            *_processes(self._all[:, 0, _PID].astype(int).tolist()),
            *self._requests(total),
            *_totals(total[0]),
            model,
        ]

    async def text(self, manifest: Manifest) -> bytes:
        """Return the endpoint's metrics in Prometheus's text format, as they are or will be soon.

        Requests that come while metrics are read wait, and share the next text.
        """
        asked_at = clock()
        async with self._lock:
            if self._read_at < asked_at:
                await asyncio.sleep(self._next_at - clock())
                self._read_at = clock()
                self._text = await anyio.to_thread.run_sync(self.encode, manifest)
                self._next_at = clock() + (clock() - self._read_at) / MAX_SHARE
            return self._text

    def encode(self, manifest: Manifest) -> bytes:
        """Encode the metrics as they are in Prometheus's text format."""
        return generate_latest(_FamilyCollector(self.families(manifest)))

    def _requests(self, total: NDArray[np.float64]) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "tuneport_requests", "Requests by route and status.", labels=("route", "status")
        )
        seconds = HistogramMetricFamily(
            "tuneport_request_seconds",
            "Time from a request's headers to the end of its reply.",
            labels=("route",),
        )
        bounds = [*map(str, BUCKET_SECONDS), "+Inf"]
        for route, start in sorted(self._starts.items()):
            row = total[start // _COLUMNS]
            for status in row[:_STATUSES].nonzero()[0]:
                requests.add_metric([route, str(status)], row[status])
            if row[_BUCKETS:].any():
                buckets = list(zip(bounds, row[_BUCKETS:].cumsum(), strict=True))
                seconds.add_metric([route], buckets, row[_SUM])
        yield requests
        yield seconds


class _FamilyCollector(list[Metric], Collector):
    """Custom collector of families that exist already."""

    def collect(self) -> Families:
        return self


def _totals(row: NDArray[np.float64]) -> Iterator[Metric]:
    for name, description, column in (
        ("inputs", "Inputs the model has answered.", _INPUTS),
        ("starts", "Times that a worker has started.", _STARTS),
        ("log_lines_dropped", "Lines of the log that could not be written.", _DROPPED),
    ):
        yield CounterMetricFamily(f"tuneport_{name}", description, value=row[column])
    yield GaugeMetricFamily(
        "tuneport_active_requests", "Requests being answered.", value=row[_ACTIVE]
    )


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
