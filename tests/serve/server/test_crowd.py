"""Many requests at once: all get their own answers, and those over the limit are refused."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.support.crowds import FORMATS, crowd, npy
from tests.support.tiny_model import TinyModel
from tests.support.wire import Served, post, serving

CONNECTIONS = 64


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return TinyModel.random().write(tmp_path_factory.mktemp("crowd") / "model")


@pytest.mark.parametrize("count", [2_000, pytest.param(10_000, marks=pytest.mark.nightly)])
def test_thousands_of_requests_in_mixed_formats_get_their_own_answers(
    model: Path, count: int
) -> None:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (count, 28, 28)).astype(np.uint8)
    kinds = generator.choice(list(FORMATS), count)
    requests = [FORMATS[kind][0](image) for kind, image in zip(kinds, images, strict=True)]
    with serving(model) as served:
        answers = asyncio.run(crowd(served.port, requests, CONNECTIONS))
    assert Counter(status for status, _, _ in answers) == {200: count}
    read = [FORMATS[kind][1](body) for kind, (_, _, body) in zip(kinds, answers, strict=True)]
    found = np.array([np.reshape(one, 10) for one in read])
    expected = TinyModel.random().outputs(images[:, None].astype(np.float32))
    assert np.allclose(found, expected, atol=1e-3)


@pytest.fixture
def narrow(model: Path) -> Iterator[Served]:
    with serving(model, "--max-requests", "4") as served:
        yield served


def test_requests_over_the_limit_get_503_with_retry_after(narrow: Served) -> None:
    images = np.zeros((500, 784), np.uint8)  # It takes a thread, so that requests meet.
    requests = [post(npy(images), kind="application/x-npy")] * 300
    alias = post(npy(images), kind="application/x-npy", path="/endpoints/tiny/invocations")
    answers = asyncio.run(crowd(narrow.port, [*requests, *[alias] * 300], 32))
    counts = Counter(status for status, _, _ in answers)
    assert set(counts) == {200, 503}
    for at, (status, fields, body) in enumerate(answers):
        if status == 503:
            assert fields[b"retry-after"] == b"1"
            assert set(json.loads(body)) == {"error" if at < 300 else "Message"}
        else:
            assert len(json.loads(body)) == 500
    metrics = narrow.exchange(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").decode()
    assert 'tuneport_requests_total{route="/invocations",status="503"}' in metrics
    assert "tuneport_active_requests 1.0" in metrics
