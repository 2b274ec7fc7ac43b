"""`python -m serve` as a process: what it prints, answers and exits with."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.support import ROOT
from tests.support.serving import READY, Server, fails, serving
from tests.support.tiny_model import TinyModel


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder that holds `runs/one`, with a model."""
    folder = tmp_path / "runs" / "one"
    folder.mkdir(parents=True)
    (folder / "experiment.json").write_text("{}")
    TinyModel.random().write(folder / "model")
    return tmp_path


@pytest.mark.parametrize("model", [[], ["one"], ["runs/one/model"]])
def test_a_model_is_served_by_default_by_run_and_by_folder(runs: Path, model: list[str]) -> None:
    with serving(*model, cwd=runs) as server:
        assert server.ask("GET", "/ping")[0] == 200
        status, body = server.ask("POST", "/predict", json.dumps({"instances": [[9] * 784]}))
        assert status == 200
        assert len(json.loads(body)["predictions"][0]["probabilities"]) == 10


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_command_silently_with_status_0(runs: Path, number: int) -> None:
    with serving(cwd=runs) as server:
        assert server.ask("GET", "/ping")[0] == 200
        server.process.send_signal(number)
        out, err = server.process.communicate(timeout=60)
        assert (server.process.returncode, out, err) == (0, "", "")


def test_a_request_in_work_is_answered_before_the_end(runs: Path) -> None:
    body = b"[" + b"0," * 783 + b"0]"
    head = b"POST /invocations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with serving(cwd=runs) as server, socket.create_connection(("127.0.0.1", server.port)) as line:
        line.settimeout(60)
        line.sendall(head + b"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n" % len(body))
        # The server asks for the body only once it works on the request.
        assert line.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        server.process.terminate()
        line.sendall(body)
        assert line.recv(12) == b"HTTP/1.1 200"
        assert server.process.wait(60) == 0


def test_other_hosts_are_refused_on_a_loopback_address(runs: Path) -> None:
    with serving(cwd=runs) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        connection.request("GET", "/ping", headers={"Host": "evil.example"})
        assert connection.getresponse().status == 421
        connection.close()


def test_standard_streams_may_be_closed(runs: Path) -> None:
    served = [sys.executable, "-m", "serve"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        ["sh", "-c", 'exec "$@" <&- >&-', "sh", *served, "--port", "0"],
        cwd=runs, env=environment, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        assert process.stderr is not None
        ready = READY.fullmatch(process.stderr.readline())
        process.stderr.close()  # What it says from now on reaches nobody.
        try:
            assert ready
            server = Server(process, int(ready[1]))
            TinyModel(np.zeros((784, 10), np.float32)).write(runs / "runs" / "one" / "model")
            reload = [*served, "--reload", "--port", ready[1]]
            assert subprocess.run(reload, cwd=runs, env=environment, check=False).returncode == 0
            assert server.ask("GET", "/ping")[0] == 200
        finally:
            process.terminate()
        assert process.wait(60) == 0


def test_the_key_of_a_file_is_required(runs: Path) -> None:
    key = runs / "key"
    key.write_text("a key of many letters\n")
    with serving("--api-key-file", str(key), cwd=runs) as server:
        assert server.ask("GET", "/ping")[0] == 200
        assert server.ask("GET", "/model")[0] == 401
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        connection.request("GET", "/model", headers={"X-Api-Key": "a key of many letters"})
        assert connection.getresponse().status == 200
        connection.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["two"], "model: no run 'two' in .*; known runs: one"),
        (["no/folder"], "model: no model.json in no/folder; name a model's folder or a run of"),
        (
            ["--runs", "none"],
            r"model: no run to serve in .*none; .*`python -m app\.tune --runs .*none`",
        ),
        (["no://bucket/x"], r"model: cannot read no://bucket/x: Unrecognized filesystem type in"),
        (["--port", "http"], "--port: expected a number from 0 to 65535, got 'http'"),
        (["--port", "65536"], "--port: expected a number from 0 to 65535, got '65536'"),
        (["--host", "no host"], "--host: 'no host' is no address of this machine"),
        (["--host", "192.0.2.1"], "--host: cannot listen on 192.0.2.1 port 8080"),
    ],
)
def test_a_known_mistake_is_one_line(runs: Path, arguments: list[str], message: str) -> None:
    status, err = fails(*arguments, cwd=runs)
    assert status == 1
    assert re.fullmatch(f"error: {message}.*\n", err)


def test_a_changed_byte_is_never_served(runs: Path) -> None:
    path = runs / "runs" / "one" / "model" / "model.onnx"
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    status, err = fails("--port", "0", cwd=runs)
    assert status == 1
    assert re.fullmatch(r"error: .*model\.onnx: its sha256 is .*\n", err)


def test_a_port_in_use_is_named(runs: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        status, err = fails("--port", str(port), cwd=runs)
    assert status == 1
    assert err == f"error: --port: {port} is in use on 127.0.0.1; choose another with --port\n"


def test_an_unknown_flag_is_status_2(runs: Path) -> None:
    status, err = fails("--no-such-flag", cwd=runs)
    assert status == 2
    assert "unrecognized arguments: --no-such-flag" in err


HELP = """
import sys
from serve.__main__ import main
try:
    main(["--help"])
except SystemExit:
    heavy = {"numpy", "fastapi", "starlette", "onnxruntime", "uvicorn", "PIL"} & set(sys.modules)
    sys.exit(f"loaded: {heavy}" if heavy else 0)
"""


def test_help_loads_nothing_heavy(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    child = subprocess.run(
        [sys.executable, "-c", HELP], env=environment, cwd=tmp_path, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert (child.returncode, child.stderr) == (0, "")
    for flag in ("MODEL", "--host", "--port", "--runs"):
        assert flag in child.stdout
