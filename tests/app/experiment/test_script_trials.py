"""Trials of a script: its secrets, and a log that is read as theirs are."""

import json
from pathlib import Path

import pytest

from app import tune
from app.experiment import schema
from app.experiment.loading import load
from app.run.journal import Journal
from app.run.layout import EXPERIMENT
from app.run.record import Record
from app.storage.files import replace_file
from serve.handlers import stubs
from tests.support.script_experiments import METRIC, Write, script_table
from trainables.contract import TrainableError
from trainables.mnist import MnistTrainable


def test_a_scripts_variables_are_kept_but_for_secrets(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = "environment = { WORD = 'hello', HF_TOKEN = 'mine', TOKENIZERS_PARALLELISM = 'no' }\n"
    asked = load(write(given + METRIC), {})
    plain = {"WORD": "hello", "TOKENIZERS_PARALLELISM": "no"}
    assert script_table(asked).variables() == {**plain, "HF_TOKEN": "mine"}
    kept = json.loads(json.dumps(asked.as_json()))
    assert kept["script"]["environment"] == {**plain, "HF_TOKEN": None}
    again = schema.from_table(kept)
    assert again.as_json() == asked.as_json()
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with pytest.raises(TrainableError, match=r"^script\.environment\.HF_TOKEN: may be a secr"):
        script_table(again).variables()
    monkeypatch.setenv("HF_TOKEN", "mine")
    shared = again.kind.shared(MnistTrainable, tmp_path, stubs.path)
    assert shared["script"].variables == {**plain, "HF_TOKEN": "mine"}


def test_a_log_is_tried_before_anything_runs(
    tmp_path: Path, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log"
    log.write_text("loss=0.5\nnothing\nloss=7e-05\n")
    tune.main([str(write()), "--check-log", str(log)])
    assert capsys.readouterr().out == "loss: 2 values: 0.5, 7e-05\n"
    log.write_text("Loss 3\n")
    with pytest.raises(SystemExit, match=r"^error: --check-log: nothing in /.* is a value of '"):
        tune.main([str(write()), "--check-log", str(log)])
    assert capsys.readouterr().out == "loss: nothing matches loss=([0-9.]+)\n"
    for arguments, message in (
        ([str(write()), "--check-log", "absent"], "cannot read absent: No such file or directory"),
        (["--check-log", str(log)], "is for scripts; this tunes 'mnist'"),
    ):
        with pytest.raises(SystemExit, match=f"^error: --check-log: {message}$"):
            tune.main(arguments)
    assert not (tmp_path / "runs").exists()


def test_bars_in_a_log_are_read_as_a_run_reads_them(
    tmp_path: Path, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log"
    log.write_bytes(
        b'\r10% loss=0.9\r90% loss=0.5\nloss=0.25\r\nalgo-2: loss=9\n{"tuneport": {"f1": 1}}'
    )
    tune.main([str(write()), "--check-log", str(log)])
    assert capsys.readouterr().out == "loss: 2 values: 0.5, 0.25\nf1: 1 value: 1\n"


@pytest.mark.parametrize("flag", ["--entry-point", "--source-dir", "--input"])
def test_a_resumed_run_keeps_its_script(flag: str) -> None:
    with pytest.raises(SystemExit, match=f"^error: {flag}: a resumed run keeps its script; leave"):
        tune.main(["--resume", "x", flag, "y"])


def test_a_resumed_run_asks_for_a_secret_before_anything_starts(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    asked = load(write("environment = { HF_TOKEN = 'mine' }\n" + METRIC), {})
    folder = tmp_path / "runs/r"
    folder.mkdir(parents=True)
    replace_file(folder / EXPERIMENT, json.dumps(asked.as_json()))
    journal = Journal(folder, Record("r", "loss", "min", seed=0))
    journal.append("run", versions={})
    journal.close()
    told = (
        r"^error: script\.environment\.HF_TOKEN: may be a secret, which no run keeps; set HF_TOKEN"
    )
    with pytest.raises(SystemExit, match=told):
        tune.main(["--resume", "r", "--runs", str(tmp_path / "runs")])
