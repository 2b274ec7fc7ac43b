"""What a server counts of itself, in the format that Prometheus reads."""

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from serve.manifest import Manifest

CONTENT_TYPE = CONTENT_TYPE_LATEST
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
OTHER = "other"
"""The route of requests that have none, so that a scan makes no new series."""


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

    def text(self, manifest: Manifest) -> bytes:
        """Everything, as Prometheus reads it, for a server that has this model now."""
        self._model.clear()
        self._model.labels(manifest.name, manifest.version).set(1)
        return generate_latest(self._registry)
