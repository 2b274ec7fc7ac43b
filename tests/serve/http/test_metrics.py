"""Metrics of several workers, and the pace at which they are read."""

import asyncio
import tempfile

from serve.http.metrics import Families, Metrics
from serve.models.manifest import Manifest
from tests.support.tiny_model import TinyModel


def worker(descriptor: int, number: int) -> Metrics:
    metrics = Metrics(descriptor, workers=2, worker=number)
    metrics.add_routes(["/ping", "/predict"])
    return metrics


def test_counts_outlive_their_worker() -> None:
    manifest = TinyModel.random().manifest()
    with tempfile.TemporaryFile() as file:
        first = worker(file.fileno(), 0)
        first.start_request()
        first.finish_request("/predict", 200, 0.003)
        first.start_request()
        second = worker(file.fileno(), 1)
        second.start_request()
        second.finish_request("/predict", 503, 7.0)

        again = worker(file.fileno(), 0)
        again.start_request()
        again.finish_request("/predict", 200, 0.5)
        again.count_inputs(3)
        lines = again.encode(manifest).decode().splitlines()
        assert second.encode(manifest).decode().splitlines()[-5:] == lines[-5:]
    for expected in (
        'tuneport_requests_total{route="/predict",status="200"} 2.0',
        'tuneport_requests_total{route="/predict",status="503"} 1.0',
        'tuneport_request_seconds_bucket{le="0.0025",route="/predict"} 0.0',
        'tuneport_request_seconds_bucket{le="0.005",route="/predict"} 1.0',
        'tuneport_request_seconds_bucket{le="1.0",route="/predict"} 2.0',
        'tuneport_request_seconds_bucket{le="+Inf",route="/predict"} 3.0',
        'tuneport_request_seconds_count{route="/predict"} 3.0',
        'tuneport_request_seconds_sum{route="/predict"} 7.503',
        "tuneport_active_requests 0.0",
        "tuneport_inputs_total 3.0",
        "tuneport_starts_total 3.0",
        "tuneport_log_lines_dropped_total 0.0",
    ):
        assert expected in lines


def test_requests_to_a_route_that_is_not_known_are_counted_as_others() -> None:
    metrics = Metrics()
    metrics.start_request()
    metrics.finish_request("/wp-login.php", 404, 0.001)
    text = metrics.encode(TinyModel.random().manifest()).decode()
    assert 'tuneport_requests_total{route="other",status="404"} 1.0' in text
    assert "wp-login" not in text


class CountedMetrics(Metrics):
    """Metrics that count how often they are read."""

    reads = 0

    def families(self, manifest: Manifest) -> Families:
        self.reads += 1
        return super().families(manifest)


def test_readers_at_once_share_a_text_that_is_not_older_than_their_request() -> None:
    manifest = TinyModel.random().manifest()

    async def read() -> None:
        metrics = CountedMetrics()
        texts = await asyncio.gather(*(metrics.text(manifest) for _ in range(100)))
        assert len(texts) == 100
        assert metrics.reads <= 2
        metrics.count_inputs(7)
        assert b"tuneport_inputs_total 7.0" in await metrics.text(manifest)

    asyncio.run(read())
