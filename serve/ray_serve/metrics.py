"""Metrics of a replica by `ray.util.metrics`; the agent of each node offers them to Prometheus."""

import asyncio

from ray.util.metrics import Counter, Histogram

from serve.errors import NotFoundError
from serve.http.metrics import BUCKET_SECONDS, Metrics
from serve.models.manifest import Manifest
from serve.ray_serve.cluster import list_nodes


class RayMetrics(Metrics):
    """Counts in Ray; Ray Serve itself measures queues, replicas and proxies."""

    def __init__(self) -> None:
        super().__init__()
        self._input_counter = Counter("tuneport_inputs", "Inputs the model has answered.")
        self._request_counter = Counter(
            "tuneport_requests", "Requests by route and status.", tag_keys=("route", "status")
        )
        self._seconds = Histogram(
            "tuneport_request_seconds",
            "Time from a request's headers to the end of its reply.",
            boundaries=list(BUCKET_SECONDS),
            tag_keys=("route",),
        )

    def count_inputs(self, count: int) -> None:
        """Count inputs that the model has answered."""
        if count:  # Ray raises for none.
            self._input_counter.inc(count)

    def finish_request(self, route: str, status: int, seconds: float) -> None:
        """Count a request as answered."""
        super().finish_request(route, status, seconds)
        self._request_counter.inc(tags={"route": route, "status": str(status)})
        self._seconds.observe(seconds, {"route": route})

    async def text(self, manifest: Manifest) -> bytes:
        """Raise NotFoundError, which says where the metrics are."""
        addresses = await asyncio.to_thread(list_addresses)
        raise NotFoundError(f"metrics are Ray's here: ask {', '.join(addresses)}")


def list_addresses() -> list[str]:
    """List the address of each node's metrics."""
    return [
        f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
        for node in list_nodes()
    ]
