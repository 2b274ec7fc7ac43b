"""The state that replicas share: targets, reports, metrics and log lines."""

import pytest

from serve.http.metrics import Families, Metrics, encode
from serve.ray_serve import shared_state
from serve.ray_serve.shared_state import ReplicaStatus, SharedState, TargetState
from tests.support.tiny_model import TinyModel


def status(answering: str, *ready: str, **failed: str) -> ReplicaStatus:
    return ReplicaStatus(answering, frozenset(ready), failed)


@pytest.fixture
def two() -> SharedState:
    """Two replicas that answer by `a`, and `b` to be made ready."""
    state = SharedState()
    state._incoming = {"a": {"model.json": "a's"}, "b": {"model.json": "b's"}}
    state.add_model("a")
    state.answer("a")
    for name in ("one", "two"):
        state.report(name, status("a", "a"))
    state.add_model("b")
    return state


def test_a_report_returns_the_target_state(two: SharedState) -> None:
    assert two.report("one", status("a", "a")) == TargetState("a", frozenset("ab"))
    assert two.files("b") == {"model.json": "b's"}


def test_a_model_is_ready_once_every_replica_has_loaded_it(two: SharedState) -> None:
    two.report("one", status("a", "a", "b"))
    assert not two.is_ready("b")
    two.report("two", status("a", "a", "b"))
    assert two.is_ready("b")
    assert two.find_failure("b") is None


def test_a_model_that_one_replica_cannot_load_has_failed(two: SharedState) -> None:
    two.report("one", status("a", "a", "b"))
    two.report("two", status("a", "a", b="no memory"))
    assert two.find_failure("b") == "no memory"
    two.drop("b")
    assert two.target() == TargetState("a", frozenset("a"))


def test_a_switch_is_settled_once_every_replica_answers_by_it(two: SharedState) -> None:
    two.answer("b")
    two.report("one", status("b", "a", "b"))
    assert not two.is_settled()
    two.report("two", status("b", "a", "b"))
    assert two.is_settled()


def test_a_replica_that_stops_reporting_is_not_waited_for(
    two: SharedState, monkeypatch: pytest.MonkeyPatch
) -> None:
    two.report("one", status("a", "a", "b"))
    monkeypatch.setattr(shared_state, "LIVE_SECONDS", 0.0)
    assert two.is_ready("b")


def counts(requests: int, *, now: int = 0) -> Families:
    """The numbers of a replica that answered so many requests, and has so many in work."""
    metrics = Metrics()
    metrics.add_routes(["/ping"])
    for _ in range(requests):
        metrics.start_request()
        metrics.finish_request("/ping", 200, 0.002)
    for _ in range(now):
        metrics.start_request()
    return metrics.families(TinyModel.random().manifest())


REQUESTS = 'tuneport_requests_total{route="/ping",status="200"}'


def test_metrics_of_replicas_are_added_up(two: SharedState) -> None:
    two.record_metrics("one", counts(3, now=1))
    two.record_metrics("two", counts(4))
    two.record_metrics("two", counts(5, now=2))
    lines = encode(two.total_metrics()).decode().splitlines()
    assert f"{REQUESTS} 8.0" in lines
    assert "tuneport_active_requests 3.0" in lines
    assert 'tuneport_request_seconds_bucket{le="0.0025",route="/ping"} 8.0' in lines
    assert 'tuneport_model{name="tiny",version=""} 2.0' in lines
    (start,) = (line for line in lines if line.startswith("process_start_time_seconds"))
    assert float(start.split()[1]) == pytest.approx(start_time(), abs=1)


def start_time() -> float:
    (family,) = (metric for metric in counts(0) if metric.name == "process_start_time_seconds")
    return float(family.samples[0].value)


def test_cumulative_metrics_of_a_dead_replica_still_count(
    two: SharedState, monkeypatch: pytest.MonkeyPatch
) -> None:
    two.record_metrics("one", counts(3, now=1))
    monkeypatch.setattr(shared_state, "LIVE_SECONDS", 0.0)
    lines = encode(two.total_metrics()).decode()
    assert f"{REQUESTS} 3.0" in lines
    assert "active" not in lines


def test_log_lines_are_returned_once(two: SharedState) -> None:
    two.log(["a\n", "b\n"])
    two.log(["c\n"])
    assert two.pop_log() == ["a\n", "b\n", "c\n"]
    assert two.pop_log() == []
