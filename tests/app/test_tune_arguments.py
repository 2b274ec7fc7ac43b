"""`python -m app.tune`, as far as it goes before it starts Ray."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from app import tune
from app.cluster.signals import SignalHandler
from app.engine.closing import how_to_serve
from app.experiment import loading
from app.experiment.run_folder import JOURNAL
from app.run import store
from app.run.journal import Journal
from app.run.layout import EXPERIMENT
from tests.support.scripted import write_model


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def refused(*words: object) -> str:
    with pytest.raises(SystemExit) as ended:
        tune.main([str(word) for word in words])
    return str(ended.value.code)


def test_a_port_in_use_is_refused_before_the_search(tmp_path: Path, taken: int) -> None:
    told = f"error: --port: {taken} is in use on 127.0.0.1; choose another with --port"
    assert refused("--serve", "--port", taken, "--runs", tmp_path) == told
    assert not list(tmp_path.iterdir())


def test_a_port_in_use_does_not_matter_without_serve(taken: int) -> None:
    parse = tune.parser().parse_args
    tune._check_port(parse(["--port", str(taken)]))
    tune._check_port(parse(["--serve", "--port", "0"]))
    assert refused("--port", 65536) == "error: --port: needs a number from 0 to 65535, got 65536"


def test_a_control_character_in_a_flag_is_shown(tmp_path: Path) -> None:
    told = refused("--runs", tmp_path, "--resume", "\x1b[2J")
    assert told.startswith(r"error: no run '\x1b[2J' in ")
    there = tmp_path / "\x1b]0;title\x07"
    assert refused(there) == rf"error: no experiment file at {tmp_path}/\x1b]0;title\x07"


@pytest.mark.parametrize("content", [None, b""])
def test_a_run_without_a_journal_is_refused_before_ray_starts(
    tmp_path: Path, content: bytes | None
) -> None:
    folder = tmp_path / "mine"
    kept = Journal(_made(folder), store.new_record(folder, loading.load(None, {})))
    kept.append("run", versions={})
    kept.close()
    path = folder / JOURNAL
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    before = sorted(folder.iterdir())
    told = refused("--runs", tmp_path, "--resume", "mine")
    assert told.startswith(f"error: mine: its journal is gone; put {path} back, or begin a new run")
    assert sorted(folder.iterdir()) == before


def _made(folder: Path) -> Path:
    """The folder, with what its run was asked for."""
    folder.mkdir()
    recorded = {**loading.load(None, {}).as_json(), "threads": 1, "data": {}}
    (folder / EXPERIMENT).write_text(json.dumps(recorded))
    return folder


def test_an_interrupt_before_the_first_trial_says_so(tmp_path: Path) -> None:
    told = "interrupted before the first trial: nothing to go on with"
    assert tune._how_to_go_on(tmp_path / "mnist-1", None) == told
    assert SignalHandler(print).last_words() == "interrupted before anything began"


def test_a_model_that_cannot_be_served_names_the_reason(tmp_path: Path) -> None:
    folder = tmp_path / "runs/name"
    saved = {"weights.bin": b"1"}
    write_model(folder / "model", "print(1)", files=saved)
    told = how_to_serve(folder, folder / "model")
    assert told.startswith("it cannot be served: train.py has no model_fn, and saved no single .pt")


def test_a_model_that_can_be_served_names_the_command(tmp_path: Path) -> None:
    folder = tmp_path / "runs/name"
    folder.mkdir(parents=True)
    write_model(folder / "model")
    command = f"serve it: python -m serve name --runs {tmp_path / 'runs'}"
    assert how_to_serve(folder, folder / "model") == command
    assert how_to_serve(folder, tmp_path / "elsewhere") == command
