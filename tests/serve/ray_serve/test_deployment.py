"""`python -m serve --ray`: the answers of `python -m serve`, from replicas that may be lost."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from threading import Event

import numpy as np
import pytest

from tests.support import ROOT
from tests.support.attacks import ATTACKS, Attack, get
from tests.support.crowds import FORMATS, ask, crowd, npy
from tests.support.replicas import descendants, replicas, serving
from tests.support.scripted import write_model
from tests.support.serving import fails
from tests.support.tiny_model import TinyModel
from tests.support.wire import Served, body, post

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]

LIMITS = ("--read-timeout", "0.5", "--max-connections", "64", "--max-requests", "32")
READINGS = ("/", "/page.js", "/ping", "/model", "/docs", "/openapi.json", "/v2/models/tiny")
HOSTILE = (
    *("10 GB are declared", "20 MB are declared and sent", "chunks of a byte", "two lengths"),
    *("a length and chunks", "nothing", "a trillion numbers", "less than declared", "half a head"),
    *("no type", "a header of 8 MB", "101 short headers", "another host", "Accept of junk"),
    *("TRACE", "a path upwards in disguise", "NaN in JSON", "a form of another site"),
)
"""Requests that Ray's proxy or its queues may answer otherwise; all others reach the same code."""
IMAGES = np.random.default_rng(3).integers(0, 256, (8, 28, 28)).astype(np.uint8)
OF_EACH = (b"date", b"x-request-id")
"""Headers that are no two replies'."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return TinyModel.random().write(tmp_path_factory.mktemp("deployed") / "model")


@pytest.fixture(scope="module")
def single(model: Path) -> Iterator[Served]:
    with serving(model, *LIMITS) as served:
        yield served


@pytest.fixture(scope="module")
def on_ray(model: Path) -> Iterator[Served]:
    """Two replicas; what they have started is gone with them."""
    with serving(model, *LIMITS, "--ray", "--workers", "2") as served:
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
        headers.append((name.lower(), b"" if name.lower() in OF_EACH else value))
    return first, sorted(headers), body(reply)


REQUESTS: dict[str, Attack] = {
    **{f"GET {path}": get(path) for path in READINGS},
    **{kind: request(IMAGES[0]) for kind, (request, _) in FORMATS.items()},
    "an id": get("/ping", "X-Request-Id: mine"),
    "a SageMaker client": post(b"[1]", "X-Amzn-SageMaker-Inference-Id: 7"),
    **{name: ATTACKS[name][0] for name in HOSTILE},
}


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
def test_replicas_answer_as_one_server_does(
    single: Served, on_ray: Served, request_: Attack
) -> None:
    parts = request_ if isinstance(request_, list) else [request_]
    assert shape(on_ray.exchange(*parts)) == shape(single.exchange(*parts))


def test_metrics_are_those_of_all_replicas(on_ray: Served) -> None:
    def count() -> float:
        metrics = on_ray.exchange(get("/metrics")).decode()
        found = re.findall(r'total{route="/v2",status="200"} (.*)\n', metrics)
        return float(found[0]) if found else 0.0

    before = count()
    for _ in range(20):
        on_ray.exchange(get("/v2"))
    # A replica learns of the others' requests once a second.
    pause = Event()
    while count() < before + 20:
        pause.wait(0.1)
    assert count() == before + 20


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


def test_an_overloaded_endpoint_refuses_requests(on_ray: Served) -> None:
    requests = [post(npy(np.zeros((500, 784), np.uint8)), kind="application/x-npy")] * 200
    answers = asyncio.run(crowd(on_ray.port, requests, 40))
    assert {code for code, _, _ in answers} == {200, 503}
    for code, fields, content in answers:
        if code == 503:
            assert fields[b"retry-after"] == b"1"
            assert content.startswith(b'{"error": "')


async def under_load(on_ray: Served, act: Callable[[], None]) -> tuple[Counter[int], set[bytes]]:
    """The statuses that eight clients get, and the versions that answer, until something is done.

    It is done once they have had some answers, and they have some more afterwards.
    """
    request = post(npy(IMAGES[0]), kind="application/x-npy")
    codes: Counter[int] = Counter()
    versions = set()
    over, answered = False, asyncio.Event()

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", on_ray.port)
        while not over:
            code, fields, _ = await ask(reader, writer, request)
            codes[code] += 1
            versions.add(fields[b"x-model-version"])
            answered.set()
        writer.close()

    async def until(count: int) -> None:
        while codes.total() < count:
            await answered.wait()
            answered.clear()

    clients = [asyncio.create_task(client()) for _ in range(8)]
    await until(100)
    await asyncio.to_thread(act)
    await until(codes.total() + 100)
    over = True
    await asyncio.gather(*clients)
    return codes, versions


def test_no_request_is_lost_when_a_replica_dies(on_ray: Served) -> None:
    before = replicas(on_ray)
    assert len(before) == 2
    pause = Event()

    def lose() -> None:
        os.kill(before[0], signal.SIGKILL)
        while len(set(replicas(on_ray)) - set(before)) < 1:
            pause.wait(0.1)

    codes, _ = asyncio.run(under_load(on_ray, lose))
    assert list(codes) == [200]


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

    codes, versions = asyncio.run(under_load(on_ray, change))
    assert list(codes) == [200]
    second = version(on_ray)
    assert versions == {first.encode(), second.encode()}
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
    ("arguments", "message"),
    [
        (["--max-workers", "2"], "--max-workers: sets up Ray Serve; add --ray"),
        (["--ray", "--workers", "none"], "--workers: expected a number from 1 to .*, got 'none'"),
        (
            ["--ray", "--workers", "2", "--max-workers", "1"],
            "--max-workers: expected at least 2, as --workers, got 1",
        ),
        (["--ray", "--address", "127.0.0.1:1"], "--address: no Ray at 127.0.0.1:1: .*"),
        (["--ray", "--workers", "999"], "--workers: 999 replicas need a CPU each, .* has .*"),
    ],
)
def test_a_known_mistake_is_one_line(model: Path, arguments: list[str], message: str) -> None:
    code, err = fails(str(model), "--port", "0", *arguments, cwd=model)
    assert code == 1
    assert re.fullmatch(f"error: {message}\n", err)
