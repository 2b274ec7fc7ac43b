"""`python -m serve --ray`: the answers of `python -m serve`, from replicas that may be lost."""

import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from ipaddress import ip_address
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from urllib.request import urlopen

import numpy as np
import pytest

from serve.ray_serve.cluster import check_cpus, check_unused
from serve.ray_serve.deployment import MAX_ONGOING_REQUESTS
from serve.settings import RayOptions, SettingError
from tests.support import ROOT
from tests.support.attacks import ATTACKS, Attack, get
from tests.support.crowds import FORMATS, npy
from tests.support.replicas import descendants, replicas, serving
from tests.support.scripted import write_model
from tests.support.serving import fails
from tests.support.tiny_model import TinyModel
from tests.support.wire import Served, body, post

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]

NPY = "application/x-npy"
IMAGES = np.random.default_rng(3).integers(0, 256, (8, 28, 28)).astype(np.uint8)
OF_THE_SERVER = (b"connection", b"date", b"server", b"x-request-id")
"""Headers of a reply that differ from server to server, and from time to time."""
REQUESTS: dict[str, Attack] = {
    **{f"GET {path}": get(path) for path in ("/", "/ping", "/model", "/v2/models/tiny")},
    **{kind: FORMATS[kind][0](IMAGES[0]) for kind in ("bytes", "CSV", "labels", "tensors")},
    "a SageMaker client": post(b"[1]", "X-Amzn-SageMaker-Inference-Id: 7"),
    "no route": get("/nowhere"),
    "another host": ATTACKS["another host"][0],
    "a body too large": ATTACKS["20 MB are declared and sent"][0],
}
"""Requests whose replies are the application's, whatever is before it."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return TinyModel.random().write(tmp_path_factory.mktemp("deployed") / "model")


@pytest.fixture(scope="module")
def single(model: Path) -> Iterator[Served]:
    with serving(model) as served:
        yield served


@pytest.fixture(scope="module")
def on_ray(model: Path) -> Iterator[Served]:
    """Two replicas; what they have started is gone with them."""
    with serving(model, "--max-requests", "32", "--ray", "--workers", "2") as served:
        yield served
        started = descendants(served.process.pid)
    pause = Event()
    while any(Path(f"/proc/{pid}").exists() for pid in started):
        pause.wait(0.1)


def shape(reply: bytes) -> tuple[bytes, list[tuple[bytes, bytes]], bytes]:
    """Give the parts that two replies to the same request have in common: status, headers, body."""
    first, *lines = reply.partition(b"\r\n\r\n")[0].split(b"\r\n")
    headers = []
    for line in lines:
        name, _, value = line.partition(b": ")
        if name.lower() not in OF_THE_SERVER:
            headers.append((name.lower(), value))
    return first, sorted(headers), body(reply)


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
def test_replicas_answer_as_one_server_does(
    single: Served, on_ray: Served, request_: Attack
) -> None:
    parts = request_ if isinstance(request_, list) else [request_]
    assert shape(on_ray.exchange(*parts)) == shape(single.exchange(*parts))


def test_a_request_has_one_id_which_the_client_may_choose(on_ray: Served) -> None:
    reply = on_ray.exchange(get("/ping", "X-Request-Id: mine"))
    assert [line for line in reply.split(b"\r\n") if line.lower().startswith(b"x-request-id")] == [
        b"x-request-id: mine"
    ]


def test_the_endpoint_listens_on_loopback(on_ray: Served) -> None:
    # Ray's own ports listen everywhere, and ask for its token.
    found = listening({on_ray.process.pid, *descendants(on_ray.process.pid)})
    assert [address for address, port in found if port == on_ray.port] == ["127.0.0.1"]


def listening(pids: set[int]) -> list[tuple[str, int]]:
    """The addresses and ports on which these processes listen."""
    sockets = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            with suppress(OSError):
                sockets.add(str(link.readlink()))
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *rest = line.split()
            if state == "0A" and f"socket:[{rest[5]}]" in sockets:
                address, port = local.split(":")
                packed = b"".join(
                    bytes.fromhex(address[at : at + 8])[::-1] for at in range(0, len(address), 8)
                )
                found.append((str(ip_address(packed)).removeprefix("::ffff:"), int(port, 16)))
    return found


Answers = Counter[tuple[int, str | None]]
"""How often a status and a version came; 0 for a connection that broke."""


def ask(port: int, count: int, over: Event, answers: Answers) -> None:
    """Ask one request after the other, of so many images."""
    content, headers = npy(np.zeros((count, 28, 28), np.uint8)), {"content-type": NPY}
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    while not over.is_set():
        try:
            connection.request("POST", "/invocations", content, headers)
            reply = connection.getresponse()
            reply.read()
            answers[reply.status, reply.headers["x-model-version"]] += 1
        except (ConnectionError, HTTPException):
            connection.close()
            answers[0, None] += 1
    connection.close()


def under_load(
    port: int, act: Callable[[], object], *, clients: int = 8, count: int = 1
) -> Answers:
    """Give what clients get until something is done; they ask some more before and after."""
    answers, over, pause = Answers(), Event(), Event()

    def wait_for(total: int) -> None:
        while answers.total() < total:
            pause.wait(0.01)

    with ThreadPoolExecutor(clients) as threads:
        for _ in range(clients):
            threads.submit(ask, port, count, over, answers)
        wait_for(100)
        act()
        wait_for(answers.total() + 100)
        over.set()
    return answers


def test_an_overloaded_endpoint_refuses_requests(on_ray: Served) -> None:
    answers = under_load(on_ray.port, lambda: None, clients=64, count=500)
    assert {status for status, _ in answers} == {200, 503}


def test_a_replica_that_dies_loses_only_the_requests_that_it_has(on_ray: Served) -> None:
    before = replicas(on_ray)
    assert len(before) == 2
    pause = Event()

    def lose() -> None:
        os.kill(before[0], signal.SIGKILL)
        while len(set(replicas(on_ray)) - set(before)) < 1:
            pause.wait(0.1)

    answers = under_load(on_ray.port, lose)
    lost = sum(count for (status, _), count in answers.items() if status != 200)
    assert lost <= MAX_ONGOING_REQUESTS


def changed(on_ray: Served, *words: str) -> subprocess.CompletedProcess[str]:
    """Send an order to the running server by `python -m serve`, and give its result."""
    command = [sys.executable, "-m", "serve", "--port", str(on_ray.port), *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def version(on_ray: Served) -> str:
    return str(json.loads(body(on_ray.exchange(get("/model"))))["version"])


def test_no_request_is_lost_when_models_change(on_ray: Served, tmp_path: Path) -> None:
    weights = np.random.default_rng(5).normal(0, 0.05, (784, 10)).astype(np.float32)
    other = str(TinyModel(weights).write(tmp_path / "other"))
    first = version(on_ray)
    outputs = []

    def change() -> None:
        outputs.append(changed(on_ray, other, "--reload").stdout)

    before = replicas(on_ray)
    answers = under_load(on_ray.port, change)
    second = version(on_ray)
    assert answers.keys() == {(200, first), (200, second)}
    assert replicas(on_ray) == before
    assert outputs == [f"tiny {second} (run tiny-run, trial abc) answers now, {first} until now\n"]
    assert changed(on_ray, "--rollback").returncode == 0
    assert version(on_ray) == first


def test_a_model_that_is_not_sound_changes_nothing(on_ray: Served, tmp_path: Path) -> None:
    model = TinyModel.random().write(tmp_path / "broken")
    (model / "model.onnx").write_bytes(b"no network")
    first = version(on_ray)
    refused = changed(on_ray, str(model), "--reload")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert re.fullmatch(r"error: .*/broken/model\.onnx: its sha256 is .*\n", refused.stderr)
    assert version(on_ray) == first


SAYS = """
def model_fn(folder):
    return "a model"


def transform_fn(model, body, kind, accept):
    return f"{model} of {len(body)} bytes", "text/plain"
"""


def test_handlers_answer_in_every_replica(on_ray: Served, tmp_path: Path) -> None:
    model = write_model(tmp_path / "handlers", SAYS)
    assert changed(on_ray, str(model), "--reload").stderr == ""
    replies = {body(on_ray.exchange(post(b"[1]", "Accept: text/plain"))) for _ in range(10)}
    assert replies == {b"a model of 3 bytes"}
    assert changed(on_ray, "--rollback").returncode == 0


@pytest.mark.parametrize(
    ("applications", "proxies", "message"),
    [
        (
            {"mnist": 1},
            {"a node": 1},
            "this cluster serves mnist already, and has one server; wait",
        ),
        ({}, {"a node": 1}, "this cluster serves by a Ray Serve of its own already, and has one"),
    ],
)
def test_a_cluster_that_serves_already_is_left_alone(
    applications: dict[str, int], proxies: dict[str, int], message: str
) -> None:
    check_unused(SimpleNamespace(applications={}, proxies={}))
    with pytest.raises(SettingError, match=message):
        check_unused(SimpleNamespace(applications=applications, proxies=proxies))


def test_a_cluster_that_cannot_be_reached_is_named(model: Path) -> None:
    code, err = fails(str(model), "--port", "0", "--ray", "--address", "127.0.0.1:1", cwd=model)
    assert code == 1
    assert re.fullmatch("error: --address: no Ray at 127.0.0.1:1: .*\n", err)


@pytest.mark.parametrize(
    ("workers", "message"),
    [
        ((3, 3), "--workers: 3 replicas need a CPU each, the cluster's nodes have 3.5 and room"),
        ((1, 9), "--max-workers: 9 replicas need a CPU each, the cluster's nodes have 3.5 and"),
    ],
)
def test_too_many_replicas_are_refused(workers: tuple[int, int], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        check_cpus(RayOptions(*workers), [2.0, 0.75, 0.75])


def test_metrics_are_where_the_endpoint_says(on_ray: Served) -> None:
    code, _, reply = on_ray.exchange(get("/metrics")).partition(b"\r\n")
    (address,) = re.findall(rb"http://\S+/metrics", reply)
    assert b"404" in code
    pause = Event()
    while b"ray_tuneport_requests" not in urlopen(address.decode()).read():  # Every ten seconds.
        pause.wait(0.2)
