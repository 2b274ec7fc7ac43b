"""The request log: its lines, and what becomes of those that cannot be written."""

import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from serve.http.app import create_app
from serve.rollout.registry import Registry
from serve.runtime.onnx_backend import OnnxBackend
from tests.support import ROOT
from tests.support.fake_model import DIGITS, Fake, image
from tests.support.serving import READY, Server
from tests.support.tiny_model import TinyModel
from tests.support.wire import Served, post, serving, status

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
DROPPED = re.compile(rb"\ntuneport_log_lines_dropped_total (\d+)")


def test_a_log_has_a_line_of_json_for_each_request() -> None:
    log = io.StringIO()
    client = TestClient(create_app(Registry(OnnxBackend(Fake())), log=log))
    body = json.dumps(image(1).tolist())
    headers = {"x-request-id": "mine", "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
    reply = client.post("/predict", content=body, headers={**headers, "content-type": "text/x"})
    client.get("/no%0Asuch%1b", headers={"traceparent": "no trace"})
    first, second = map(json.loads, log.getvalue().splitlines())
    assert first.pop("time") > 1e9
    assert first.pop("ms") > 0
    assert first == {
        "id": "mine",
        "trace": TRACE,
        "client": "testclient",
        "method": "POST",
        "path": "/predict",
        "status": 415,
        "version": DIGITS.version,
        "bytes_in": 0,
        "bytes_out": len(reply.content),
    }
    assert (second["status"], second["path"]) == (404, "/no\nsuch\x1b")
    assert (second["trace"], second["version"]) == (None, None)


def test_bytes_of_a_body_are_counted() -> None:
    log = io.StringIO()
    client = TestClient(create_app(Registry(OnnxBackend(Fake())), log=log))
    body = json.dumps(image(1).tolist())
    reply = client.post("/invocations", content=body, headers={"content-type": "application/json"})
    line = json.loads(log.getvalue())
    assert (line["bytes_in"], line["bytes_out"]) == (len(body), len(reply.content))


class FullDisk(io.StringIO):
    """A log that takes nothing."""

    def write(self, line: str, /) -> int:
        raise OSError("no space left")


def test_a_line_that_cannot_be_written_is_counted_and_its_request_answered() -> None:
    client = TestClient(create_app(Registry(OnnxBackend(Fake())), log=FullDisk()))
    assert client.post("/invocations", json=image(1).tolist()).status_code == 200
    assert "tuneport_log_lines_dropped_total 1.0" in client.get("/metrics").text


@pytest.mark.parametrize("arguments", [(), ("--workers", "2")])
def test_a_pipe_that_nobody_reads_costs_no_answer(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    request = post(str([0] * 784).encode(), f"x-request-id: {'a' * 128}")
    with serving(TinyModel.random().write(tmp_path / "model"), "--log-json", *arguments) as server:
        # A pipe holds 64 KiB, which these lines exceed.
        for _ in range(400):
            assert status(server.exchange(request)) == 200
        assert read_metric(server, "log_lines_dropped") > 0
        for child in children(server)[:1]:
            os.kill(child, signal.SIGKILL)
            while read_metric(server, "starts") < 3:
                pass  # What is said of the worker that was lost is dropped too.
        server.process.terminate()
        assert server.process.wait(60) == 0


def read_metric(server: Served, name: str) -> int:
    """Return a counter; 0 where the worker that was asked is killed."""
    reply = server.exchange(b"GET /metrics HTTP/1.0\r\nhost: localhost\r\n\r\n")
    found = re.search(rf"\ntuneport_{name}_total (\d+)", reply.decode())
    return int(found[1]) if found else 0


def children(server: Served) -> list[int]:
    files = Path(f"/proc/{server.process.pid}/task").glob("*/children")
    return [int(pid) for file in files for pid in file.read_text().split()]


def test_a_pipe_that_is_closed_costs_no_answer(tmp_path: Path) -> None:
    model = TinyModel.random().write(tmp_path / "model")
    process = subprocess.Popen(
        [sys.executable, "-m", "serve", str(model), "--port", "0", "--log-json"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stderr is not None
        ready = READY.fullmatch(process.stderr.readline())
        process.stderr.close()
        try:
            assert ready
            server = Server(process, int(ready[1]))
            for _ in range(3):
                assert server.ask("POST", "/invocations", str([0] * 784))[0] == 200
            found = DROPPED.search(server.ask("GET", "/metrics")[1])
            assert found
            assert int(found[1]) == 3
        finally:
            process.terminate()
        assert process.wait(60) == 0
