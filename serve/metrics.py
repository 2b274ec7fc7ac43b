"""What a server counts of itself, in the format that Prometheus reads."""

from collections.abc import Iterable, Iterator

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from serve.manifest import Manifest

CONTENT_TYPE = CONTENT_TYPE_LATEST
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
OTHER = "other"
"""The route of requests that have none, so that a scan makes no new series."""
Families = list[Metric]
"""Numbers by their name, each with its labels and values."""
_EARLIEST = ("_created", "process_start_time_seconds")
"""How the names end of times, which are not added up."""


class Metrics:
    """One server's numbers, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Counter(
            "tuneport_requests_total",
            "Requests by route and status.",
            ("route", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "tuneport_request_seconds",
            "Time from a request's headers to the end of its reply.",
            ("route",),
            buckets=SECONDS,
            registry=self._registry,
        )
        self._active = Gauge(
            "tuneport_active_requests", "Requests being answered.", registry=self._registry
        )
        self._inputs = Counter(
            "tuneport_inputs_total", "Inputs the model has answered.", registry=self._registry
        )
        labels = ("name", "version")
        self._model = Gauge("tuneport_model", "The model served.", labels, registry=self._registry)

    def count_inputs(self, number: int) -> None:
        """Add inputs that the model has answered."""
        self._inputs.inc(number)

    def started(self) -> None:
        """Note that a request is being answered."""
        self._active.inc()

    def ended(self, route: str, status: int, seconds: float) -> None:
        """Note how a request was answered."""
        self._active.dec()
        self._requests.labels(route, status).inc()
        self._seconds.labels(route).observe(seconds)

    def families(self, manifest: Manifest) -> Families:
        """Everything, for a server that has this model now."""
        self._model.clear()
        self._model.labels(manifest.name, manifest.version).set(1)
        return list(self._registry.collect())

    async def total(self, manifest: Manifest) -> Families:
        """The numbers of the endpoint: these, unless other servers answer for it too."""
        return self.families(manifest)


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
