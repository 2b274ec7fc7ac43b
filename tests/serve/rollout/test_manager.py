"""Swap and rollback of versions; a change that fails has no effect."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from serve.models.artifact import ArtifactError, write
from serve.rollout import admin, run_dir
from serve.rollout.admin import AdminError
from serve.rollout.loaded_models import LoadedModels
from serve.rollout.manager import VersionManager
from serve.rollout.store import ModelStore
from tests.support import ROOT
from tests.support.scripted import write_model
from tests.support.tiny_model import TinyModel
from tests.support.wire import Served, answer, post, serving, status

IMAGE = np.full((1, 1, 28, 28), 200, np.float32)


def tiny(folder: Path, seed: int) -> Path:
    weights = np.random.default_rng(seed).normal(0, 0.05, (784, 10)).astype(np.float32)
    return TinyModel(weights).write(folder)


class Endpoint:
    """A version manager over models of this process, with the lines it reports."""

    def __init__(self, folder: Path, first: Path, models: LoadedModels) -> None:
        self.said: list[str] = []
        self.models = models
        self.copies = folder / "copies"
        self.versions = VersionManager(ModelStore(self.copies), models, first, self.said.append)

    @property
    def version(self) -> str:
        return self.models.registry.version


@pytest.fixture
def one(tmp_path: Path) -> Path:
    return tiny(tmp_path / "one", 1)


@pytest.fixture
def two(tmp_path: Path) -> Path:
    return tiny(tmp_path / "two", 2)


@pytest.fixture
def endpoint(tmp_path: Path, one: Path) -> Endpoint:
    return Endpoint(tmp_path, one, LoadedModels())


def version_of(folder: Path) -> str:
    return str(json.loads((folder / "model.json").read_text())["version"])


def test_a_swap_and_its_rollback_say_what_answers(endpoint: Endpoint, one: Path, two: Path) -> None:
    swapped = endpoint.versions.swap(two)
    assert endpoint.version == version_of(two)

    returned = endpoint.versions.rollback()
    assert endpoint.version == version_of(one)
    assert endpoint.said == [swapped, returned]
    first, second = version_of(one), version_of(two)
    assert endpoint.said == [
        f"tiny {second} (run tiny-run, trial abc) answers now, {first} until now",
        f"tiny {first} (run tiny-run, trial abc) answers now, {second} until now",
    ]


def test_there_is_one_way_back(endpoint: Endpoint, one: Path, two: Path) -> None:
    for _ in range(2):
        with pytest.raises(ArtifactError, match=f"no version before {version_of(one)} to return"):
            endpoint.versions.rollback()
        endpoint.versions.swap(two)
        endpoint.versions.rollback()


def test_copies_that_nobody_needs_are_removed(endpoint: Endpoint, tmp_path: Path) -> None:
    for seed in range(2, 6):
        endpoint.versions.swap(tiny(tmp_path / str(seed), seed))
    assert len(list(endpoint.copies.iterdir())) == 2


def test_the_model_that_answers_already_is_not_swapped(endpoint: Endpoint, one: Path) -> None:
    line = endpoint.versions.swap(one)
    assert line == f"tiny {version_of(one)} (run tiny-run, trial abc) answers already"
    assert endpoint.versions.previous is None
    assert len(list(endpoint.copies.iterdir())) == 1


def test_changes_to_a_loaded_models_folder_do_no_harm(
    endpoint: Endpoint, one: Path, two: Path
) -> None:
    endpoint.versions.swap(two)
    for folder in (one, two):
        (folder / "model.onnx").write_bytes(b"")
    endpoint.versions.rollback()
    manifest = endpoint.models.registry.current.manifest
    assert manifest.version == version_of(one)


def changed_byte(folder: Path) -> None:
    content = bytearray((folder / "model.onnx").read_bytes())
    content[-20] ^= 1
    (folder / "model.onnx").write_bytes(content)


def other_answers(folder: Path) -> None:
    model = TinyModel.random()
    manifest = model.manifest()
    golden = replace(manifest.golden, outputs=[[1.0] * 10] * 2)
    write(folder, replace(manifest, golden=golden), {"model.onnx": model.onnx()})


def a_link(folder: Path) -> None:
    (folder / "model.onnx").rename(folder / "elsewhere")
    (folder / "model.onnx").symlink_to(folder / "elsewhere")


def a_path_outside(folder: Path) -> None:
    record = json.loads((folder / "model.json").read_text())
    record["sha256"]["../../etc/passwd"] = "0" * 64
    (folder / "model.json").write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (changed_byte, r"two/model\.onnx: its sha256 is .*, but model\.json says"),
        (other_answers, r"its outputs differ from the golden ones by"),
        (a_link, r"two/model\.onnx: is a symbolic link"),
        (
            a_path_outside,
            r"two/model\.json: sha256 lists '\.\./\.\./etc/passwd', not the path of a",
        ),
    ],
)
def test_a_bad_model_changes_nothing_and_says_why(
    endpoint: Endpoint, one: Path, two: Path, spoil: object, match: str
) -> None:
    assert callable(spoil)
    spoil(two)
    with pytest.raises(ArtifactError, match=match):
        endpoint.versions.swap(two)
    assert endpoint.version == version_of(one)
    assert endpoint.said == []
    assert [path.name for path in endpoint.copies.iterdir()] == ["1"]


def test_handlers_take_the_place_of_a_network_and_give_it_back(
    tmp_path: Path, one: Path, two: Path
) -> None:
    with LoadedModels() as models:
        endpoint = Endpoint(tmp_path, one, models)
        broken = write_model(tmp_path / "broken", "def model_fn(model_dir):\n    1 / 0\n")
        with pytest.raises(ArtifactError, match="broken: model_fn failed: ZeroDivisionError"):
            endpoint.versions.swap(broken)
        endpoint.versions.swap(write_model(tmp_path / "handlers"))
        asked = models.registry.current
        asked.check()
        endpoint.versions.rollback()
        assert endpoint.version == version_of(one)


def command(*arguments: str) -> tuple[int, str, str]:
    ended = subprocess.run(
        [sys.executable, "-m", "serve", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    return ended.returncode, ended.stdout, ended.stderr


def served_version(server: Served, request: bytes) -> str:
    reply = server.exchange(request)
    found = re.search(rb"\r\nx-model-version: ([0-9a-f]{12})\r\n", reply)
    assert found, reply
    return found[1].decode()


def ask_socket(server: Served, command: str, **values: object) -> str:
    server_dir = run_dir.find("127.0.0.1", server.port)
    assert server_dir is not None
    return admin.send_request(server_dir.socket, command, **values)


GOOD = post(json.dumps(IMAGE.tolist()).encode())
BAD = post(b"[")


def test_commands_and_messages_change_a_running_server(one: Path, two: Path) -> None:
    with serving(one) as server:
        port = ("--port", str(server.port))
        assert served_version(server, GOOD) == version_of(one)

        change = f"answers now, {version_of(one)} until now"
        said = f"tiny {version_of(two)} (run tiny-run, trial abc) {change}\n"
        assert command(str(two), "--reload", *port) == (0, said, "")
        assert served_version(server, GOOD) == version_of(two)
        assert served_version(server, BAD) == version_of(two)

        assert command("--rollback", *port)[0] == 0
        assert served_version(server, GOOD) == version_of(one)
        assert command("--rollback", *port) == (
            1, "", f"error: there is no version before {version_of(one)} to return to\n"
        )  # fmt: skip

        assert f"{ask_socket(server, 'reload', model=str(two))}\n" == said
        changed_byte(one)
        code, _, err = command(str(one), "--reload", *port)
        assert (code, err.startswith(f"error: {one}/model.onnx: its sha256 is")) == (1, True)
        for name, values in (("reload", {"model": "two"}), ("reload", {}), ("nothing", {})):
            with pytest.raises(AdminError, match=r"^expected reload with the absolute path or URI"):
                ask_socket(server, name, **values)
        assert served_version(server, GOOD) == version_of(two)
        # Nobody changes it from the public port.
        assert status(server.exchange(post(b"{}", path="/reload"))) == 404


def test_the_folder_for_temporary_files_may_be_anywhere(
    one: Path, two: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("deep" * 30)
    deep.mkdir()
    monkeypatch.setenv("TMPDIR", str(deep))
    with serving(one) as server:
        assert command(str(two), "--reload", "--port", str(server.port))[0] == 0
        assert served_version(server, GOOD) == version_of(two)


def test_a_change_without_a_server_names_the_running_ones(one: Path) -> None:
    with serving(one) as server:
        code, _, err = command("--rollback", "--port", "9")
    assert code == 1
    assert err.startswith("error: you have no server on 127.0.0.1 port 9; you have ")
    assert f"127.0.0.1 port {server.port}" in err


def test_a_request_under_way_is_answered_by_the_version_it_found(one: Path, two: Path) -> None:
    content = json.dumps(IMAGE.tolist()).encode()
    head = post(b"", "Expect: 100-continue", length=len(content))
    with serving(one) as server, server.connect() as line:
        line.sendall(head)
        assert line.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert command(str(two), "--reload", "--port", str(server.port))[0] == 0
        assert served_version(server, GOOD) == version_of(two)
        line.sendall(content)
        assert f"x-model-version: {version_of(one)}".encode() in answer(line)
