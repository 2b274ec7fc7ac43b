"""The command that checks a trainable: what it prints, what it takes, and what it leaves behind."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.support import ROOT
from trainables.check.__main__ import main

CLASS = """
import pathlib, time
import torch
from ray import tune

class Mine(tune.Trainable):
    labels = ("a", "b")

    def setup(self, config):
        print("set up")
        self.reset_config(config)

    def reset_config(self, config):
        self.lr, self.epoch = config["lr"], 0
        return True

    def step(self):
        self.epoch += 1
        pathlib.Path("scratch.txt").touch()
        return {"loss": self.lr / self.epoch, "phase": "warm", "seconds": time.time()}

    def save_checkpoint(self, folder):
        pathlib.Path(folder, "epoch").write_text(str(self.epoch))

    def load_checkpoint(self, folder):
        self.epoch = int(pathlib.Path(folder, "epoch").read_text())

    def model(self):
        return torch.nn.Linear(4, len(self.labels))

    def example_input(self):
        return torch.zeros(1, 4)

class Broken(Mine):
    labels = ("a",)

    def model(self):
        return torch.nn.Linear(4, 3)

    def load_checkpoint(self, folder):
        pass

class Reads(Mine):
    def setup(self, config):
        open("data/train.csv")

class Leaves(Mine):
    def step(self):
        raise SystemExit

class Hangs(Mine):
    def load_checkpoint(self, folder):
        time.sleep(1000)

class Two(Mine):
    def step(self):
        return {"cost": 1.0, "accuracy": True}

def train(config):
    for epoch in range(3):
        tune.report({"val": {"acc": config["lr"] * epoch}})

def fails(config):
    raise ZeroDivisionError("by hand")
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "mine.py").write_text(CLASS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_each_promise_that_holds_is_a_line(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A folder for temporary files that no other process writes to.
    temporary = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    main(["mine.py:Mine", "--set", "lr=0.1"])
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [
        "holds   step() reports loss, a finite number",
        "holds   two fresh trials of one configuration and seed agree",
        "holds   save_checkpoint() writes a checkpoint",
        "holds   load_checkpoint(): the trial that loaded goes on as the one that saved",
        "holds   the network of model() takes 1 and 2 examples, and gives an output for each",
        "holds   2 labels fit the outputs",
        "holds   reset_config(): a trial that was reset is as a fresh one",
    ]
    assert "set up" in printed.err
    assert [path.name for path in folder.iterdir()] == ["mine.py"]
    assert Path.cwd() == folder
    assert list(temporary.iterdir()) == []


def test_all_that_is_broken_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["mine.py:Broken", "--set", "lr=0.1"])
    broken = [line for line in capsys.readouterr().out.splitlines() if line.startswith("broken")]
    assert [line.split()[1] for line in broken] == ["load_checkpoint():", "labels:"]
    assert str(ended.value.code).startswith("error: load_checkpoint(): the trial that loaded goes ")
    assert str(ended.value.code).endswith(", the first of 2 broken promises")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["mine.py:Mine"],
            r"setup\(\): raised KeyError: 'lr'; is it a value .* by --set lr=VALUE",
        ),
        (
            ["mine.py:Reads", "--set", "lr=1"],
            r"setup\(\): raised FileNotFoundError: .*'data/train\.csv'; trials run in a folder of"
            r" their own; use Path\(__file__\)\.parent",
        ),
        (
            ["mine.py:Hangs", "--set", "lr=1", "--timeout", "0.5"],
            r"load_checkpoint\(\): hung; nothing came of it in 0\.5 s",
        ),
        (
            ["mine.py:Two", "--set", "lr=1"],
            r"metric: which of the numbers is the objective: cost, accuracy\? say it by --me.*",
        ),
        (
            ["mine.py:Mine", "--set", "lr=1", "--metric", "los"],
            r"metric: step\(\) reported no 'los'; it reported loss, phase, seconds",
        ),
        (["mine.py:Leaves", "--set", "lr=1"], r"step\(\): called sys\.exit\(None\)"),
        (
            ["leaves.py:Mine"],
            r"trainable: 'leaves\.py:Mine' cannot be imported: its file called sys\.exit\(0\)",
        ),
        (["mine.py:fails"], r"fails\(\): raised ZeroDivisionError: by hand"),
        (["mine.py:none"], "trainable: mine.py has no 'none'"),
        (["none.py:Mine"], "trainable: no file at .*none.py"),
        (["mine"], "trainable: unknown 'mine'; .*"),
        (["script"], "script: a training script promises nothing; .* --check-log LOG"),
        (["--experiment", "none.toml"], "--experiment none.toml: No such file or directory"),
    ],
)
def test_what_does_not_hold_is_the_error(folder: Path, words: list[str], message: str) -> None:
    (folder / "leaves.py").write_text("raise SystemExit(0)")
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert re.fullmatch(f"error: {message}", str(ended.value.code))


@pytest.mark.parametrize("words", [[], ["--set", "lr"], ["mine.py:Mine", "--lr", "1"]])
def test_what_is_typed_wrong_ends_with_status_2(folder: Path, words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2


def test_a_function_is_checked_by_its_only_number(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match=r"tune\.get_checkpoint\(\): the trial that loaded"):
        main(["mine.py:train", "--set", "lr=0.1"])
    printed = capsys.readouterr().out
    assert "holds   tune.report() reports val/acc, a finite number" in printed
    # This one saves none, whatever is written for it.
    assert "writes a checkpoint" not in printed


EXPERIMENT = """
trainable = "seen.py:Seen"
metric = "loss"
seed = 3
[space]
lr = { type = "continuous", low = 0.001, high = 0.1, scale = "log" }
momentum = { type = "continuous", low = 0.9, high = 0.99, scale = "reverse-log" }
depth = { type = "continuous", low = 0.0, high = 1.0, when = { kind = ["deep"] } }
width = { type = "continuous", low = 0.0, high = 1.0, when = { kind = ["wide"] } }
layers = { type = "integer", low = 1, high = 4 }
whole = { type = "integer", low = 8, high = 64, step = 8 }
dropout = { type = "continuous", low = 0.0, high = 0.7, step = 0.1 }
kind = { type = "categorical", values = ["wide", "deep", "other"] }
[fixed]
size = 8
"""
SEEN = """
import json
from pathlib import Path
from mine import Mine
class Seen(Mine):
    def setup(self, config):
        seen = Path(__file__).with_name("seen.json")
        if not seen.exists():
            seen.write_text(json.dumps(config))
        super().setup(config)
"""


def test_an_experiment_gives_the_middle_of_its_space(folder: Path) -> None:
    (folder / "seen.py").write_text(SEEN)
    (folder / "mine.toml").write_text(EXPERIMENT)
    main(["--experiment", "mine.toml", "--set", "size=16", "--set", "name=a b", "--set", "on=true"])
    assert json.loads((folder / "seen.json").read_text()) == {
        "lr": pytest.approx(0.01),
        "momentum": pytest.approx(1 - (0.1 * 0.01) ** 0.5),
        "depth": 0.5,
        "layers": 2,
        "whole": 32,
        "dropout": 0.3,
        "kind": "deep",
        "size": 16,
        "name": "a b",
        "on": True,
        "seed": 3,
    }


def test_a_space_that_cannot_be_read_here_is_named(folder: Path) -> None:
    (folder / "mine.toml").write_text(EXPERIMENT.replace('scale = "log"', 'scale = "lg"'))
    with pytest.raises(SystemExit, match=r"^error: space\.lr: cannot be read here: .* --set lr="):
        main(["--experiment", "mine.toml"])


def test_it_is_a_command(folder: Path) -> None:
    root = str(ROOT)
    ended = subprocess.run(
        [sys.executable, "-m", "trainables.check", "mine.py:Mine", "--set", "lr=0.1"],
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stdout.count("holds ")) == (0, 7), ended.stderr


@pytest.mark.nightly
def test_a_reader_that_has_gone_ends_it_in_silence(folder: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run(
        [sys.executable, "-m", "trainables.check", "mine.py:Mine", "--set", "lr=0.1"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=writer,
        stderr=subprocess.PIPE,
    )
    os.close(writer)
    assert ended.returncode == 128 + signal.SIGPIPE
    assert set(ended.stderr.splitlines()) == {b"set up"}  # by the trainable
