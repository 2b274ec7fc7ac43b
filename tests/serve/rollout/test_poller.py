"""A server that follows a run answers by each new best model."""

import fcntl
import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from tests.support.serving import Server, fails, start
from tests.support.tiny_model import TinyModel

OF = "(run tiny-run, trial abc)"
"""The part of a model's description that names its run and trial."""
ADDRESS = re.compile(
    rf"serving tiny [0-9a-f]{{12}} {re.escape(OF)} on http://127\.0\.0\.1:(\d+)/ - .*\n"
)


def export(run: Path, seed: int) -> str:
    """Replace a run's model; returns the new version."""
    weights = np.random.default_rng(seed).normal(0, 0.05, (784, 10)).astype(np.float32)
    folder = TinyModel(weights).write(run / "model")
    return str(json.loads((folder / "model.json").read_text())["version"])


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run that has no model yet."""
    folder = tmp_path / "runs" / "one"
    folder.mkdir(parents=True)
    (folder / "experiment.json").write_text("{}")
    return folder


@contextmanager
def following(run: Path, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    process = start("--follow", run.name, "--port", "0", *arguments, cwd=run.parents[1])
    with process:
        try:
            yield process
        finally:
            process.kill()


def read_line(process: "subprocess.Popen[str]") -> str:
    assert process.stderr is not None
    return process.stderr.readline()


def answers(process: "subprocess.Popen[str]", port: int) -> str:
    return str(json.loads(Server(process, port).ask("GET", "/model")[1])["version"])


@pytest.mark.parametrize("arguments", [(), ("--workers", "2")])
def test_the_best_so_far_answers_from_the_first_on(run: Path, arguments: tuple[str, ...]) -> None:
    with following(run, *arguments) as process:
        assert read_line(process) == "waiting for the first model of run one - ctrl-c stops\n"
        first = export(run, 1)
        ready = ADDRESS.fullmatch(read_line(process))
        assert ready
        port = int(ready[1])
        assert answers(process, port) == first

        second = export(run, 2)
        assert read_line(process) == f"tiny {second} {OF} answers now, {first} until now\n"
        assert answers(process, port) == second

        (run / "model" / "model.onnx").write_bytes(b"")
        (run / "model" / "model.json").touch()
        line = read_line(process)
        assert line.startswith(
            f"tiny {second} {OF} still answers; the newer model cannot be loaded: "
        )
        assert "model.onnx: its sha256 is" in line

        third = export(run, 3)
        assert read_line(process) == f"tiny {third} {OF} answers now, {second} until now\n"
        process.terminate()
        assert process.wait(60) == 0


def test_waiting_for_a_first_model_can_be_interrupted(run: Path) -> None:
    with following(run) as process:
        read_line(process)
        process.terminate()
        assert process.wait(60) == 0


def test_a_run_that_has_not_begun_is_waited_for(run: Path) -> None:
    other = run.with_name("other")
    with following(other) as process:
        assert read_line(process) == (
            f"waiting for run other to begin in {run.parent}; known runs: one - ctrl-c stops\n"
        )
        other.mkdir()
        (other / "experiment.json").write_text("{}")
        export(other, 1)
        assert ADDRESS.fullmatch(read_line(process))


def test_a_run_that_ends_without_a_model_is_not_waited_for(run: Path) -> None:
    with (run / "journal.jsonl").open("x") as journal:
        fcntl.flock(journal, fcntl.LOCK_EX)
        with following(run) as process:
            assert read_line(process).startswith("waiting for the first model of run one")
            journal.close()
            assert read_line(process) == (
                "error: --follow: run 'one' has ended without a model; export one with "
                "`python -m app.runs export one`, or resume it\n"
            )
            assert process.wait(60) == 1


def test_a_folder_that_cannot_be_read_is_told_and_followed_further(run: Path) -> None:
    first = export(run, 1)
    with following(run) as process:
        assert ADDRESS.fullmatch(read_line(process))
        (run / "model").rename(run / "away")
        (run / "model").write_text("")
        assert read_line(process) == (
            f"tiny {first} {OF} still answers; "
            f"--follow: cannot read {run}/model/model.json: Not a directory\n"
        )
        (run / "model").unlink()
        second = export(run, 2)
        assert read_line(process) == f"tiny {second} {OF} answers now, {first} until now\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--follow", ""], "--follow: expected a run's name or folder, got ''"),
        (
            ["--follow", "a" * 300],
            f"--follow: cannot read .*runs/{'a' * 300}/.*: File name too l.*",
        ),
        (["one", "--follow", "one"], "--follow: serves the model of its run; leave MODEL out"),
    ],
)
def test_what_cannot_be_followed_is_an_error(run: Path, arguments: list[str], message: str) -> None:
    code, err = fails(*arguments, cwd=run.parents[1])
    assert code == 1
    assert re.fullmatch(f"error: {message}\n", err)
