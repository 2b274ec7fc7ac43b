"""The process of a model's handlers: loaded before it is ready, restarted when it dies."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from serve.errors import DeadlineError, HandlerError, NotReadyError
from serve.ipc import Channel, Message
from serve.models.archive import write_handlers
from serve.models.artifact import ArtifactError
from serve.models.manifest import Manifest
from serve.runtime.script_backend import ScriptBackend
from tests.support import ROOT
from tests.support.scripted import write_model


def request(body: bytes = b"", content_type: str = "text/plain", accept: str = "") -> Message:
    return Message({"content_type": content_type, "accept": accept, "headers": {}}, body)


@contextmanager
def end_of(pid: int) -> Iterator[select.poll]:
    """Open a descriptor that tells when the process with that pid has ended."""
    descriptor = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    yield poll
    os.close(descriptor)


def ask_until_answered(backend: ScriptBackend) -> Message:
    """Return the first answer after a death that may not be noticed yet."""
    while True:
        try:
            backend.wait_until_loaded()
            return backend.request(request())
        except (HandlerError, NotReadyError):
            continue


@pytest.mark.parametrize("size", [0, 1, 6 * 2**20])
def test_bodies_pass_as_they_are(tmp_path: Path, size: int) -> None:
    body = os.urandom(size)
    with ScriptBackend(write_model(tmp_path / "model")) as backend:
        answer = backend.request(request(body))
    assert answer.body == body
    assert answer.values == {"status": 200, "content_type": "text/plain", "headers": {}}


ENVIRONMENT = """
import json, os, sys
import helper

print("said on stdout")

def model_fn(model_dir):
    return open(os.path.join(model_dir, "weights.txt")).read()

def transform_fn(model, body, content_type, accept):
    names = ("SM_MODEL_DIR", "SAGEMAKER_PROGRAM", "CUDA_VISIBLE_DEVICES", "SM_NUM_GPUS")
    return json.dumps({
        "model": model, "helper": helper.NAME, "path": sys.path[0], "argv": sys.argv[1:],
        "beside": open("train.py").read()[:7], "torch": "torch" in sys.modules,
        **{name: os.environ[name] for name in names},
    }), "application/json"
"""


def test_a_script_finds_its_files_and_variables(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    files = {"weights.txt": b"heavy", "code/helper.py": b"NAME = 'helper'"}
    folder = write_model(tmp_path / "model", ENVIRONMENT, files=files)
    with ScriptBackend(folder) as backend:
        found = json.loads(backend.request(request()).body)
    assert found == {
        "model": "heavy",
        "helper": "helper",
        "path": str(folder / "code"),
        "argv": [],
        "beside": "\nimport",
        "torch": False,
        "SM_MODEL_DIR": str(folder),
        "SAGEMAKER_PROGRAM": "train.py",
        "CUDA_VISIBLE_DEVICES": "",
        "SM_NUM_GPUS": "0",
    }
    out, err = capfd.readouterr()
    assert out == ""
    assert "said on stdout" in err


PROGRAMS = """
import shutil

def model_fn(model_dir):
    return shutil.which("python")

def transform_fn(model, body, content_type, accept):
    return model, "text/plain"
"""


def test_a_script_finds_the_programs_of_its_own_environment_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").write_text("another one")
    (tmp_path / "bin/python").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin")
    with ScriptBackend(write_model(tmp_path / "model", PROGRAMS)) as backend:
        found = backend.request(request()).body.decode()
    assert Path(found).parent == Path(sys.executable).parent


UNTIDY = """
import logging, pathlib
logging.FileHandler("train.log").emit(logging.makeLogRecord({"msg": "begun"}))
pathlib.Path("runs").mkdir()

def model_fn(model_dir):
    import helper

def transform_fn(model, body, content_type, accept):
    return b"done"
"""


def test_files_that_a_script_writes_do_not_change_the_model(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", UNTIDY, files={"code/helper.py": b""})
    for _ in range(2):
        with ScriptBackend(folder) as backend:
            assert backend.request(request()).body == b"done"


@pytest.mark.parametrize("entry_point", ["serve.py", "app.py", "package/train.py", "my-train.py"])
def test_a_script_may_have_any_name(tmp_path: Path, entry_point: str) -> None:
    with ScriptBackend(write_model(tmp_path / "model", entry_point=entry_point)) as backend:
        assert backend.request(request(b"echo")).body == b"echo"


TRAINING = """
import sagemaker_containers
from sagemaker_training import environment
from sagemaker_inference import content_types, decoder, encoder, errors

def model_fn(model_dir):
    return None

def input_fn(body, content_type):
    return decoder.decode(body, content_type)

def predict_fn(data, model):
    if data.shape != (2,):
        raise errors.BaseInferenceToolkitError(418, "two numbers, please", "teapot")
    return data * 2

def output_fn(prediction, accept):
    return encoder.encode(prediction, accept), content_types.JSON
"""


def test_stubs_of_the_containers_modules_can_be_imported(tmp_path: Path) -> None:
    with ScriptBackend(write_model(tmp_path / "model", TRAINING)) as backend:
        answer = backend.request(request(b"[1, 2]", "application/json"))
        assert (answer.body, answer.values["status"]) == (b"[2, 4]", 200)
        answer = backend.request(request(b"[1]", "application/json"))
        assert answer.values == {"status": 418, "error": "two numbers, please"}
        answer = backend.request(request(b"", "image/gif"))
        assert answer.values["status"] == 415


OLD = """
from sagemaker_containers.beta.framework import content_types, encoders, errors, worker

def model_fn(model_dir):
    return None

def input_fn(body, content_type):
    return encoders.decode(body, content_type)

def predict_fn(data, model):
    return data

def output_fn(prediction, accept):
    return worker.Response(encoders.encode(prediction, accept), mimetype=content_types.CSV)
"""


def test_stubs_of_older_containers_modules_can_be_imported(tmp_path: Path) -> None:
    with ScriptBackend(write_model(tmp_path / "model", OLD)) as backend:
        answer = backend.request(request(b"[[1, 2]]", "application/json", "text/csv"))
        assert (answer.body, answer.values["content_type"]) == (b"1,2\n", "text/csv")


def test_a_scripts_module_comes_before_ours_of_that_name(tmp_path: Path) -> None:
    files = {"code/sagemaker_containers/__init__.py": b"MINE = b'mine'"}
    script = """
    import sagemaker_containers

    def model_fn(model_dir):
        return None

    def transform_fn(model, body, content_type, accept):
        return sagemaker_containers.MINE
    """
    with ScriptBackend(write_model(tmp_path / "model", script, files=files)) as backend:
        assert backend.request(request()).body == b"mine"


@pytest.mark.parametrize(
    ("script", "match"),
    [
        ("import no_such_module", r"train\.py cannot be imported: ModuleNotFoundError: No module"),
        ("def (", r"train\.py cannot be imported: SyntaxError"),
        ("import sys; sys.exit(2)", r"train\.py cannot be imported: SystemExit: 2"),
        ("def model_fn(model_dir): 1 / 0", "model_fn failed: ZeroDivisionError: division by zero"),
        ("import os; os._exit(3)", "the model's process ended with status 3 while it loaded"),
        ("import os; os.kill(os.getpid(), 9)", "process was killed by signal 9 while it loaded"),
        ("def model_fn(): pass", r"model_fn takes 0 arguments, but gets 1 \(model_dir\)"),
        ("def input_fn(a, b, c, d): pass", "input_fn takes 4 arguments, but gets 2"),
        ("def transform_fn(*a): pass", "transform_fn takes 1 arguments, but gets 4"),
        (
            "def transform_fn(a, b, c, d): pass\ndef output_fn(a, b): pass",
            "transform_fn replaces all steps; remove output_fn",
        ),
        ("x = 1", r"model_fn failed: ValueError: exactly one \.pth or \.pt file is served"),
    ],
)
def test_a_model_that_does_not_load_is_an_error_with_its_reason(
    tmp_path: Path, script: str, match: str
) -> None:
    folder = write_model(tmp_path / "model", script)
    with pytest.raises(ArtifactError, match=match), ScriptBackend(folder):
        pass


def test_a_model_without_code_has_the_default_handlers(tmp_path: Path) -> None:
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "model.pt").write_bytes(b"no network")
    write_handlers(tmp_path / "model", Manifest("mine"), tmp_path / "saved", {})
    match = r"model_fn failed: ValueError: model\.pt is not TorchScript; write a model_fn that"
    with pytest.raises(ArtifactError, match=match), ScriptBackend(tmp_path / "model"):
        pass


def test_it_is_not_ready_until_the_model_is_loaded(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    script = f"def model_fn(model_dir): return open({str(tmp_path / 'gate')!r}).read()"
    backend = ScriptBackend(write_model(tmp_path / "model", script))
    backend.start()
    try:
        for call in (backend.check, lambda: backend.request(request())):
            with pytest.raises(NotReadyError, match="the model is being loaded"):
                call()
        (tmp_path / "gate").write_text("go")
        backend.wait_until_loaded()
        backend.check()
    finally:
        backend.close()


DEADLY = """
import os

def model_fn(model_dir):
    return None

def transform_fn(model, body, content_type, accept):
    if body == b"die":
        os.kill(os.getpid(), 9)
    if body == b"leave":
        os._exit(0)
    return str(os.getpid())
"""


@pytest.mark.parametrize("way", [b"die", b"leave"])
def test_a_process_that_dies_fails_its_request_and_is_restarted(tmp_path: Path, way: bytes) -> None:
    with ScriptBackend(write_model(tmp_path / "model", DEADLY)) as backend:
        first = backend.request(request()).body
        with pytest.raises(
            HandlerError, match="ended during this request; it is restarted"
        ) as raised:
            backend.request(request(way))
        assert raised.value.status == 500
        backend.wait_until_loaded()
        assert backend.request(request()).body != first


def test_a_process_that_dies_between_requests_is_restarted(tmp_path: Path) -> None:
    with ScriptBackend(write_model(tmp_path / "model", DEADLY)) as backend:
        pid = int(backend.request(request()).body)
        with end_of(pid) as ended:
            os.kill(pid, signal.SIGKILL)
            assert ended.poll(60_000)
        assert int(ask_until_answered(backend).body) != pid


def test_a_changed_model_is_not_restarted(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", DEADLY)
    with ScriptBackend(folder) as backend:
        (folder / "code" / "train.py").write_text("import os; os.kill(os.getppid(), 9)")
        with pytest.raises(HandlerError):
            backend.request(request(b"die"))
        with pytest.raises(ArtifactError, match=r"train\.py: its sha256 is"):
            backend.wait_until_loaded()
        with pytest.raises(NotReadyError, match=r"cannot be started: .*train\.py: its sha256 is"):
            backend.request(request())


def test_another_model_in_the_folder_is_not_loaded(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", DEADLY)
    with ScriptBackend(folder) as backend:
        write_model(folder)
        with pytest.raises(HandlerError):
            backend.request(request(b"die"))
        with pytest.raises(ArtifactError, match="its folder has another model now; restart"):
            backend.wait_until_loaded()


def test_a_late_answer_ends_the_request_and_the_process(tmp_path: Path) -> None:
    script = """
    import os, signal

    def model_fn(model_dir):
        return None

    def transform_fn(model, body, content_type, accept):
        if body == b"hang":
            signal.pause()
        return b"here"
    """
    with ScriptBackend(write_model(tmp_path / "model", script), answer_s=0.5) as backend:
        with pytest.raises(DeadlineError, match=r"did not answer within 0\.5 seconds"):
            backend.request(request(b"hang"))
        backend.wait_until_loaded()
        assert backend.request(request()).body == b"here"


def test_requests_at_the_same_time_each_get_their_own_answer(tmp_path: Path) -> None:
    bodies = [str(number).encode() * 1000 for number in range(50)]
    with ScriptBackend(write_model(tmp_path / "model")) as backend, ThreadPoolExecutor(8) as pool:
        answers = pool.map(backend.request, map(request, bodies))
        assert [answer.body for answer in answers] == bodies


FAMILY = """
import os, subprocess

def model_fn(model_dir):
    return subprocess.Popen(["sleep", "600"])

def transform_fn(model, body, content_type, accept):
    return f"{os.getpid()} {model.pid}"
"""


def test_closing_ends_the_process_and_its_children(tmp_path: Path) -> None:
    backend = ScriptBackend(write_model(tmp_path / "model", FAMILY))
    with backend:
        pids = [int(pid) for pid in backend.request(request()).body.split()]
        with end_of(pids[0]) as parent, end_of(pids[1]) as child:
            backend.close()
            assert parent.poll(60_000)
            assert child.poll(60_000)
    with pytest.raises(NotReadyError, match="the model's process was ended"):
        backend.check()


SERVER = """
import sys
from pathlib import Path
from serve.ipc import Message
from serve.models.manifest import Manifest
from serve.runtime.script_backend import ScriptBackend

with ScriptBackend(Path(sys.argv[1])) as backend:
    request = Message({"content_type": "", "accept": "", "headers": {}})
    print(backend.request(request).body.decode(), flush=True)
    sys.stdin.read()
"""


def test_the_process_ends_with_a_killed_server(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", DEADLY)
    command = [sys.executable, "-c", SERVER, str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as server:
        assert server.stdout is not None
        with end_of(int(server.stdout.readline())) as ended:
            server.kill()
            assert ended.poll(60_000)


def test_messages_pass_a_channel_whole() -> None:
    here, there = socket.socketpair()
    with here, there:
        Channel(here).send(Message({"a": [1, "ä"]}, b"body"))
        assert Channel(there).receive() == Message({"a": [1, "ä"]}, b"body")
        here.sendall(b"\0")
        Channel(here).hang_up()
        with pytest.raises(EOFError):
            Channel(there).receive()
    Channel(here).hang_up()
