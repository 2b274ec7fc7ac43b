"""`python -m serve` on a model with handlers: a script's own network, as a process that is real."""

import io
import json
import os
import pickle
import re
import select
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.support.scripted import write_model
from tests.support.serving import fails, post, serving

JSON, NPY = "application/json", "application/x-npy"
NETWORK = """
import os

import sagemaker_containers
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.drop = nn.Dropout()

    def forward(self, x):
        return self.drop(self.layer(x))


def model_fn(model_dir):
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = torch.nn.DataParallel(Net())
    with open(os.path.join(model_dir, "model.pth"), "rb") as f:
        model.load_state_dict(torch.load(f))
    return model.to(device)


if __name__ == "__main__":
    raise SystemExit("nothing trains here")
"""


def npy(array: object, *, allow_pickle: bool = False) -> bytes:
    file = io.BytesIO()
    np.save(file, np.asarray(array), allow_pickle=allow_pickle)
    return file.getvalue()


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self._path),)


def test_a_script_with_only_a_model_fn_is_served(tmp_path: Path) -> None:
    layer = nn.Linear(3, 2)
    state = {f"module.layer.{name}": value for name, value in layer.state_dict().items()}
    weights = io.BytesIO()
    torch.save(state, weights)
    write_model(tmp_path / "model", NETWORK, files={"model.pth": weights.getvalue()})
    rows = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
    expected = layer(torch.from_numpy(rows)).tolist()
    alone = layer(torch.from_numpy(rows[0])).tolist()  # Its last bits may be others.
    with serving("model", cwd=tmp_path) as server:
        assert server.ask("GET", "/ping")[0] == 200
        status, kind, body = post(server, npy(rows), NPY, NPY)
        assert (status, kind, body) == (200, NPY, npy(np.array(expected, np.float64)))
        assert post(server, b"[1, 2, 3]", JSON, "*/*")[2] == json.dumps(alone).encode()
        assert post(server, b"1,2,3\n4,5,6", "text/csv", JSON)[2] == json.dumps(expected).encode()
        refused = post(server, b"[1, 2]", JSON, JSON)
        assert refused[0] == 422
        assert b"the model does not take torch.float32 of shape (2,): mat1 and" in refused[2]
        trap = Trap(tmp_path / "sprung")
        for body in (npy(np.array([trap], object), allow_pickle=True), pickle.dumps(trap)):
            assert post(server, body, NPY, JSON)[0] == 400
        assert not (tmp_path / "sprung").exists()
        server.process.terminate()
        assert server.process.wait(60) == 0


PID = """
import os

def model_fn(model_dir):
    return os.getpid()

def transform_fn(model, body, content_type, accept):
    return str(model)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_no_process_or_file_is_left_however_the_server_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    write_model(tmp_path / "model", PID)
    with serving("model", cwd=tmp_path) as server:
        descriptor = os.pidfd_open(int(post(server, b"", "text/plain", JSON)[2]))
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        server.process.send_signal(number)
        assert poll.poll(60_000)
        os.close(descriptor)
        out, err = server.process.communicate(timeout=60)
        assert (out, err) == ("", "")
        assert server.process.returncode == (-number if number == signal.SIGKILL else 0)


def test_a_request_in_work_is_answered_before_the_end(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    script = f"""{PID}
def transform_fn(model, body, content_type, accept):
    return open({str(gate)!r}).read()
"""
    write_model(tmp_path / "model", script)
    with serving("model", cwd=tmp_path) as server, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(post, server, b"", "text/plain", JSON)
        with gate.open("w") as line:  # Opens once the handler reads.
            server.process.terminate()
            line.write("done")
        assert answer.result(60) == (200, JSON, b"done")
        assert server.process.wait(60) == 0


def test_a_model_that_does_not_load_is_one_line_after_its_traceback(tmp_path: Path) -> None:
    write_model(tmp_path / "model", "def model_fn(model_dir): 1 / 0")
    status, err = fails("model", "--port", "0", cwd=tmp_path)
    assert status == 1
    last = err.splitlines()[-1]
    assert re.fullmatch(r"error: .*/model: model_fn failed: ZeroDivisionError: division.*", last)
    assert err.count("Traceback") == 1


def test_code_that_was_changed_is_never_run(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", PID)
    (folder / "code" / "train.py").write_text(f"open({str(tmp_path / 'run')!r}, 'w')\n{PID}")
    status, err = fails("model", "--port", "0", cwd=tmp_path)
    assert status == 1
    assert re.fullmatch(r"error: .*train\.py: its sha256 is .*\n", err)
    assert not (tmp_path / "run").exists()


PATIENT = """
import os

def model_fn(folder):
    return "a model"

def transform_fn(model, body, kind, accept):
    if body == b"wait":
        with open(os.environ["TURNSTILE"]) as turnstile:  # A pipe, which somebody is to write to.
            turnstile.read()
    return body, "text/plain"
"""


def test_a_request_waits_for_its_turn_no_longer_than_the_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turnstile = tmp_path / "turnstile"
    os.mkfifo(turnstile)
    monkeypatch.setenv("TURNSTILE", str(turnstile))
    model = write_model(tmp_path / "model", PATIENT)
    with (
        serving(str(model), "--deadline", "0.1", cwd=tmp_path) as server,
        ThreadPoolExecutor() as pool,
    ):
        first = pool.submit(post, server, b"wait", "text/plain", "text/plain")
        # Opened only once the handler reads, so that its turn is taken.
        with turnstile.open("w"):
            status, _, late = post(server, b"late", "text/plain", "text/plain")
        assert (status, json.loads(late)) == (
            504,
            {"error": "the request waited 0.1 seconds for its turn"},
        )
        assert first.result()[0] == 200
