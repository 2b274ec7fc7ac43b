"""Several workers on one address: they change together, are replaced alone, and add up."""

import json
import os
import re
import select
import signal
from pathlib import Path

import numpy as np
import pytest

from serve.rollout import admin, run_dir
from tests.support.scripted import write_model
from tests.support.serving import fails
from tests.support.tiny_model import TinyModel
from tests.support.wire import Served, answer, body, post, serving, status

GOOD = post(json.dumps([0] * 784).encode())
METRICS = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
ENOUGH = 24
"""Connections enough for two workers to get at least one, but for a chance in eight million."""


@pytest.fixture
def models(tmp_path: Path) -> tuple[Path, Path]:
    draws = (np.random.default_rng(seed).normal(0, 0.05, (784, 10)) for seed in (1, 2))
    one, two = (TinyModel(draw.astype(np.float32)) for draw in draws)
    return one.write(tmp_path / "one"), two.write(tmp_path / "two")


def version_of(folder: Path) -> str:
    return str(json.loads((folder / "model.json").read_text())["version"])


def workers(server: Served) -> list[int]:
    children = Path(f"/proc/{server.process.pid}/task").glob("*/children")
    return sorted(int(pid) for path in children for pid in path.read_text().split())


def versions(server: Served) -> set[str]:
    found = set()
    for _ in range(ENOUGH):
        reply = server.exchange(GOOD)
        assert status(reply) == 200
        found |= set(re.findall(r"x-model-version: ([0-9a-f]{12})", reply.decode()))
    return found


def numbers(server: Served) -> dict[str, float]:
    """The metrics, by name and labels."""
    lines = body(server.exchange(METRICS)).decode().splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


def order(server: Served, command: str, model: Path | None = None) -> str:
    place = run_dir.find("127.0.0.1", server.port)
    assert place is not None
    return admin.send_request(place.socket, command, model=str(model))


def kill(pid: int) -> None:
    """End a process at once, and wait until it has gone."""
    descriptor = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    assert select.select([descriptor], [], [], 60)[0]
    os.close(descriptor)


def read_line(server: Served) -> str:
    assert server.process.stderr is not None
    return server.process.stderr.readline()


def test_all_workers_switch_or_none_and_a_killed_one_is_replaced_with_the_same_model(
    models: tuple[Path, Path],
) -> None:
    one, two = models
    with serving(one, "--workers", "2") as server:
        assert versions(server) == {version_of(one)}
        order(server, "reload", two)
        assert read_line(server).startswith(f"tiny {version_of(two)}")
        assert versions(server) == {version_of(two)}

        first, second = workers(server)
        kill(first)
        # Who comes meanwhile waits for the next worker.
        assert versions(server) == {version_of(two)}
        assert re.fullmatch(
            r"worker \d was killed by signal 9; it is restarted\n", read_line(server)
        )
        assert workers(server)[0] == second

        (one / "model.onnx").write_bytes(b"")
        with pytest.raises(admin.AdminError, match=f"{one}/model.onnx: its sha256 is"):
            order(server, "reload", one)
        assert versions(server) == {version_of(two)}

        order(server, "rollback")
        assert versions(server) == {version_of(one)}

        found = numbers(server)
        # The last answer of the one that was killed may have been sent, and not counted yet.
        answered = found['tuneport_requests_total{route="/invocations",status="200"}']
        assert answered in (5 * ENOUGH - 1, 5 * ENOUGH)
        assert found['tuneport_request_seconds_count{route="/invocations"}'] == answered
        assert found["tuneport_inputs_total"] in (answered, answered + 1)
        assert found["tuneport_starts_total"] == 3
        assert found["tuneport_active_requests"] == 1
        assert found['process_resident_memory_bytes{worker="2"}'] > 0

        server.process.terminate()
        assert server.process.wait(60) == 0
        heard_last = server.process.stderr.read() if server.process.stderr else None
        assert heard_last is not None
        assert "worker" not in heard_last


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_workers_answer_pending_connections(
    models: tuple[Path, Path], number: int
) -> None:
    with serving(models[0], "--workers", "2") as server:
        clients = [server.connect() for _ in range(ENOUGH)]
        pids = workers(server)
        server.process.send_signal(number)
        for client in clients:
            client.sendall(GOOD)
        assert [status(answer(client)) for client in clients] == [200] * ENOUGH
        for client in clients:
            client.close()
        assert server.process.wait(60) == 0
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []


def test_workers_end_with_their_supervisor(models: tuple[Path, Path]) -> None:
    with serving(models[0], "--workers", "2") as server:
        descriptors = [os.pidfd_open(pid) for pid in workers(server)]
        server.process.kill()
        for descriptor in descriptors:
            assert select.select([descriptor], [], [], 60)[0]
            os.close(descriptor)


def test_handlers_run_in_every_worker_and_are_switched(
    tmp_path: Path, models: tuple[Path, Path]
) -> None:
    handlers = write_model(tmp_path / "handlers")
    with serving(models[0], "--workers", "2") as server:
        order(server, "reload", handlers)
        for _ in range(ENOUGH):
            assert body(server.exchange(post(b"as it comes"))) == b"as it comes"
        broken = write_model(tmp_path / "broken", "def model_fn(model_dir):\n    exit(3)\n")
        with pytest.raises(admin.AdminError, match="broken: model_fn failed: SystemExit: 3"):
            order(server, "reload", broken)
        order(server, "rollback")
        assert versions(server) == {version_of(models[0])}


@pytest.mark.parametrize("count", ["0", "two", "1000"])
def test_an_impossible_number_of_workers_is_refused(models: tuple[Path, Path], count: str) -> None:
    code, err = fails(str(models[0]), "--workers", count, cwd=models[0])
    assert code == 1
    assert err == f"error: --workers: expected a number from 1 to 256, got {count!r}\n"


def test_a_port_that_has_workers_already_is_in_use(models: tuple[Path, Path]) -> None:
    with serving(models[0], "--workers", "2") as server:
        arguments = (str(models[0]), "--workers", "2", "--port", str(server.port))
        code, err = fails(*arguments, cwd=models[0])
    assert (code, err) == (
        1, f"error: --port: {server.port} is in use on 127.0.0.1; choose another with --port\n"
    )  # fmt: skip


def test_a_bad_model_ends_the_command_with_one_line(models: tuple[Path, Path]) -> None:
    (models[0] / "model.onnx").write_bytes(b"")
    code, err = fails(str(models[0]), "--workers", "2", "--port", "0", cwd=models[0])
    assert code == 1
    assert re.fullmatch(rf"error: {models[0]}/model\.onnx: its sha256 is .*\n", err)
