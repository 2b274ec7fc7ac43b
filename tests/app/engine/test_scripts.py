"""Runs of scripts on a real Ray."""

import json
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app import runs, tune
from serve.models.archive import read_handlers
from tests.support import SCRIPTS
from tests.support.commands import Begin
from tests.support.object_store import ObjectStore
from tests.support.waiting import until, until_one_ends

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]

TOML = """
name = "script"
trainable = "script"
metric = "loss"
mode = "min"
num_samples = 2
max_concurrent = 2
search = "random"
{top}
[space]
lr = {{ type = "continuous", low = 0.001, high = 0.4 }}
[fixed]
{fixed}
[resources]
cpus_per_trial = 0.5
[script]
entry_point = "{entry_point}"
{script}
[[script.metrics]]
name = "loss"
regex = 'loss[:=] ?([0-9\\.]+)'
"""

Tune = Callable[..., dict[str, Any]]
Write = Callable[..., Path]


@pytest.fixture
def run(ray_address: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Tune:
    """Runs the command with `--json` on the shared Ray, and gives what it printed."""

    def command(*arguments: object) -> dict[str, Any]:
        place = ("--runs", tmp_path / "runs", "--address", ray_address, "--json", "--name", "r")
        resumed = ("--runs", tmp_path / "runs", "--address", ray_address, "--json")
        words = (*arguments, *(resumed if "--resume" in arguments else place))
        tune.main([str(word) for word in words])
        return dict(json.loads(capfd.readouterr().out))

    return command


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes an experiment file for one of the scripts beside these tests."""

    def file(name: str, *, top: str = "", fixed: str = "", script: str = "") -> Path:
        shutil.copy(SCRIPTS / name, tmp_path)
        path = tmp_path / "script.toml"
        entry_point = Path(name).name
        path.write_text(TOML.format(entry_point=entry_point, top=top, fixed=fixed, script=script))
        return path

    return file


def test_the_notebooks_kind_of_script_is_tuned_as_it_is(
    run: Tune, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    result = run(
        *("--entry-point", SCRIPTS / "digits.py", "--input", f"training={tmp_path}"),
        *("--num-samples", 2, "--epochs", 2),
    )
    assert (result["status"], result["model"]) == ("completed", "model")
    assert result["metric"] == "average test loss"
    assert {trial["status"] for trial in result["trials"]} == {"completed"}
    for trial in result["trials"]:
        assert [epoch["epoch"] for epoch in trial["history"]] == [1, 2]
        assert trial["metrics"] == {"average test loss": trial["history"][-1]["average test loss"]}
        assert (tmp_path / f"runs/r/trials/{trial['trial_id']}/model/model.pth").stat().st_size
    best = min(result["trials"], key=lambda trial: trial["metrics"]["average test loss"])
    assert result["best"]["trial_id"] == best["trial_id"]
    log = (tmp_path / "runs/r/logs/001.log").read_text()
    assert "Distributed training - False\nNumber of gpus available - 0\n" in log
    assert read_handlers(tmp_path / "runs/r/model").trial_id == best["trial_id"]
    runs.main(["export", "r", "--trial", "1", "--runs", str(tmp_path / "runs")])
    assert capfd.readouterr().out == f"{tmp_path}/runs/r/model\n"
    manifest = read_handlers(tmp_path / "runs/r/model")
    assert (manifest.trial_id, manifest.entry_point) == ("001", "digits.py")
    assert "model.pth" in manifest.sha256


def test_the_last_value_counts_unless_another_is_asked_for(run: Tune, write: Write) -> None:
    rising = 'value = "first"\n'
    result = run(write("rises.py", script=rising))
    for trial in result["trials"]:
        first, last = (epoch["loss"] for epoch in trial["history"])
        assert trial["metrics"]["loss"] == first < last
    kept = json.loads((Path(write("rises.py")).parent / "runs/r/experiment.json").read_text())
    assert kept["script"]["value"] == "first"


def test_early_stopping_ends_scripts(run: Tune, write: Write, tmp_path: Path) -> None:
    file = write("parabola.py", top="early_stopping = 'asha'\nepochs = 30")
    result = run(file, "--num-samples", 6, "--max-concurrent", 1)
    statuses = {trial["status"] for trial in result["trials"]}
    assert statuses == {"completed", "stopped"}
    assert all(
        trial["epochs"] == 30 for trial in result["trials"] if trial["status"] == "completed"
    )
    assert all(trial["epochs"] < 30 for trial in result["trials"] if trial["status"] == "stopped")


def test_a_script_that_is_killed_goes_on_from_its_checkpoint(run: Tune, write: Write) -> None:
    result = run(write("goes_on.py", fixed="epochs = 4"), "--num-samples", 1)
    (trial,) = result["trials"]
    assert (trial["status"], trial["epochs"]) == ("completed", 4)
    assert [epoch["epoch"] for epoch in trial["history"]] == [1, 2, 3, 4]


def test_a_failed_script_says_why_and_is_tried_as_often_as_asked(
    ray_address: str, tmp_path: Path, write: Write, capfd: pytest.CaptureFixture[str]
) -> None:
    file = write("fails.py", top="retries = 1", script='source_dir = "."')
    (tmp_path / "requirements.txt").touch()
    place = ["--runs", str(tmp_path / "runs"), "--address", ray_address, "--name", "r"]
    sentence = "fails.py ended with status 3: the data is of last year, 2 times"
    with pytest.raises(SystemExit, match=rf"^error: the only trial failed: {sentence}(;|$)"):
        tune.main([str(file), *place, "--num-samples", "1"])
    said = capfd.readouterr().err
    assert f"{tmp_path}/requirements.txt is not installed by this" in said
    assert "trial 001  failed: fails.py ended with status 3: the data is of last year" in said


def test_a_resumed_run_refuses_a_changed_script(run: Tune, write: Write, tmp_path: Path) -> None:
    file = write("parabola.py", fixed="epochs = 1")
    run(file)
    with (tmp_path / "parabola.py").open("a") as script:
        script.write("\n")
    with pytest.raises(SystemExit, match=r"^error: --resume r: its script has changed since it"):
        run("--resume", "r", "--num-samples", 3)
    shutil.copy(SCRIPTS / "parabola.py", tmp_path)
    assert len(run("--resume", "r", "--num-samples", 3)["trials"]) == 3


HELD = """
import os, signal, sys
from pathlib import Path
checkpoints = Path(os.environ["SAGEMAKER_BASE_DIR"], "checkpoints")
def end(*_):
    Path(checkpoints, "saved").touch()
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
if Path(checkpoints, "saved").exists():
    print("loss=0.25")
    sys.exit(0)
print("loss=0.5")
Path(os.environ["SM_OUTPUT_DATA_DIR"], "pid").write_text(str(os.getpid()))
signal.pause()
"""


@pytest.fixture
def held(write: Write, tmp_path: Path, ray_address: str, begin: Begin) -> "subprocess.Popen[str]":
    """A command whose only trial reports once and then waits for its end."""
    file = write("parabola.py")
    (tmp_path / "parabola.py").write_text(HELD)
    place = ["--runs", str(tmp_path / "runs"), "--address", ray_address, "--name", "r"]
    return begin(file, *place, "--num-samples", "1")


def _pid(folder: Path, command: "subprocess.Popen[str]") -> int:
    """The script's process once it has reported."""
    journal, pid = folder / "runs/r/journal.jsonl", folder / "runs/r/trials/001/output/data/pid"
    until(
        lambda: pid.exists() and bool(pid.read_text()) and '"epoch"' in journal.read_text(), command
    )
    return int(pid.read_text())


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_run_ends_its_script_which_goes_on_when_it_is_resumed(
    held: "subprocess.Popen[str]", run: Tune, tmp_path: Path, signum: signal.Signals
) -> None:
    pid = _pid(tmp_path, held)
    held.send_signal(signum)
    held.communicate(timeout=300)
    until_one_ends([pid])
    assert (tmp_path / "runs/r/trials/001/checkpoints/saved").exists()
    (trial,) = run("--resume", "r")["trials"]
    assert (trial["status"], trial["epochs"]) == ("completed", 2)
    assert [epoch["loss"] for epoch in trial["history"]] == [0.5, 0.25]


def test_data_at_a_uri_is_looked_for_before_the_first_trial_and_again_on_resuming(
    run: Tune, write: Write, s3: ObjectStore, tmp_path: Path
) -> None:
    file = write("parabola.py", fixed="epochs = 1")
    data = ("--input", f"training={s3.uri('runs/data')}")
    with pytest.raises(SystemExit, match=r"^error: inputs\.training: there is nothing at s3://"):
        run(file, *data)
    assert not (tmp_path / "runs/r").exists()
    s3.write("runs/data/a.csv", b"1,2")
    run(file, *data, "--num-samples", 1)
    assert len(run("--resume", "r", "--num-samples", 2)["trials"]) == 2
    s3.write("runs/data/b.csv", b"3,4")
    with pytest.raises(SystemExit, match=r"^error: --resume r: its data has changed since it beg"):
        run("--resume", "r", "--num-samples", 3)
