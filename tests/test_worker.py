"""A trainable under our control, in this process and without Ray."""

import io
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ray import tune

from app.search import CONTROL, ENDED, FAILURE, LEFT_OUT, REPORT
from app.worker import Terms, hung, supervised
from trainables.contract import TrainableError

PYTHON = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}


class Counter(tune.Trainable):
    """Counts its epochs; `raises` names what is to go wrong."""

    def setup(self, config: dict[str, Any]) -> None:
        if config.get("raises") == "setup":
            raise ValueError("no such data")
        self.seen = dict(config)
        self.count = 0

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        if self.seen.get("raises") == "step":
            raise TrainableError("the data is gone")
        if "reports_alone" in self.seen:
            return dict(self.seen["reports_alone"])
        self.count += 1
        return {"loss": 1 / self.count, **self.seen.get("reports", {})}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        Path(checkpoint_dir, "count").write_text(str(self.count))

    def load_checkpoint(self, checkpoint: Any) -> None:
        self.count = int(Path(checkpoint, "count").read_text())


def built(folder: Path, **config: Any) -> Any:
    return supervised(Counter, Terms("loss", folder))(config=with_control(**config))


def with_control(checkpoint: str | None = None, epochs: int = 0, **config: Any) -> dict[str, Any]:
    control = {"trial_id": "001", "checkpoint": checkpoint, "epochs": epochs, "leg": 1}
    return {**config, CONTROL: control}


def test_the_trainable_sees_its_own_values_alone(tmp_path: Path) -> None:
    trial = built(tmp_path, x=1)
    assert trial.seen == trial.config == {"x": 1}
    assert trial.step()[REPORT] == {"loss": 1.0}


def test_a_trial_goes_on_from_the_checkpoint_that_its_configuration_names(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old/count").write_text("4")
    trial = built(tmp_path, checkpoint="old", epochs=4)
    assert trial.iteration == 4
    assert trial.step()["loss"] == 1 / 5
    assert trial.reset(with_control())
    assert trial.iteration == 0
    assert trial.step()["loss"] == 1
    assert trial.reset(with_control(checkpoint="old", epochs=4))
    assert (trial.iteration, trial.count) == (4, 4)


@pytest.mark.parametrize(
    ("raises", "failure"),
    [("setup", "ValueError: no such data"), ("step", "the data is gone")],
)
def test_what_is_raised_ends_the_trial_and_not_its_process(
    tmp_path: Path, raises: str, failure: str
) -> None:
    trial = built(tmp_path, raises=raises)
    result = trial.step()
    assert result["done"]
    assert math.isnan(result["loss"])
    assert result[FAILURE] == failure
    assert trial.reset(with_control())
    assert trial.step()[REPORT] == {"loss": 1.0}


def test_a_trial_without_state_saves_none_and_its_process_sets_the_next_one_up(
    tmp_path: Path,
) -> None:
    trial = built(tmp_path, raises="setup")
    assert trial.step()[FAILURE] == "ValueError: no such data"
    (tmp_path / "saved").mkdir()
    trial.save(str(tmp_path / "saved"))
    assert not (tmp_path / "saved/count").exists()
    assert trial.reset(with_control(x=2))
    assert (trial.seen, trial.count) == ({"x": 2}, 0)


def test_an_epoch_is_on_the_disk_before_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []

    def fsync(file: int) -> None:
        synced.append(Path(f"/proc/self/fd/{file}").readlink())

    monkeypatch.setattr(os, "fsync", fsync)
    built(tmp_path).save(str(tmp_path / "epoch"))
    assert {tmp_path / "epoch", tmp_path / "epoch/count"} <= set(synced)


def test_a_checkpoint_that_is_gone_fails_the_trial(tmp_path: Path) -> None:
    trial = built(tmp_path, checkpoint="gone", epochs=2)
    assert "gone" in trial.step()[FAILURE]


def test_what_is_reported_as_last_is_an_epoch_after_which_comes_no_other(tmp_path: Path) -> None:
    trial = built(tmp_path, reports={"done": True, "phase": "cool"})
    result = trial.step()
    assert result == {
        "loss": 1.0,
        REPORT: {"loss": 1.0},
        LEFT_OUT: {"phase": "a text"},
        "done": True,
        ENDED: True,
    }


def test_one_that_only_says_that_it_is_complete_adds_no_epoch(tmp_path: Path) -> None:
    trial = built(tmp_path, reports_alone={"done": True})
    result = trial.step()
    assert (result["done"], result[ENDED]) == (True, True)
    assert REPORT not in result


class Stubborn:
    """A stream that cannot do what streams do."""


@pytest.mark.parametrize("stream", ["closed", None, Stubborn()])
@pytest.mark.parametrize("raises", [None, "step"])
def test_a_trial_trains_whatever_became_of_its_streams(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stream: Any, raises: str | None
) -> None:
    if stream == "closed":
        stream = io.StringIO()
        stream.close()
    trial = built(tmp_path, raises=raises)
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, stream)
    result = trial.step()
    monkeypatch.undo()
    assert result.get(FAILURE) == ("the data is gone" if raises else None)


def test_a_process_prints_again_for_the_trial_after_one_that_closed_its_streams(
    tmp_path: Path,
) -> None:
    program = """
import os, sys
from pathlib import Path
from trainables import output
output.write_to(Path("first"))
sys.stdout.close()
os.close(1)
sys.stderr = None
output.write_to(Path("second"))
print("here")
print("there", file=sys.stderr)
os.write(1, b"everywhere\\n")
"""
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=PYTHON, check=True)
    assert (tmp_path / "first").read_text() == ""
    assert (tmp_path / "second").read_text() == "here\nthere\neverywhere\n"


HANGING = """
import os, sys, threading
from pathlib import Path
from app.worker import Terms, supervised
from tests.test_worker import Counter, with_control

def hang(*arguments):
    threading.Event().wait()

def run(folder, hangs):
    methods = {hangs: hang}
    if hangs == "within_setup":  # as setup often does
        methods = {"setup": lambda self, config: self.reset_config(config), "reset_config": hang}
    hanging = type("Hanging", (Counter,), methods)
    trial = supervised(hanging, Terms("loss", folder, step_timeout=0.01))(config=with_control())
    trial.step()
    saved = trial.save(str(folder / "saved"))
    trial.restore(saved)
    trial.reset(with_control())

for hangs in sys.argv[1:]:
    pid = os.fork()
    if not pid:
        log = os.open(hangs, os.O_WRONLY | os.O_CREAT)
        os.dup2(log, 2)
        run(Path(hangs + ".run"), hangs)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1, hangs
"""


def test_whatever_hangs_is_ended_and_told_by_its_name(tmp_path: Path) -> None:
    told = {
        "setup": "setup",
        "within_setup": "setup",
        "reset_config": "reset_config",
        "step": "an epoch",
        "save_checkpoint": "save_checkpoint",
        "load_checkpoint": "load_checkpoint",
    }
    command = [sys.executable, "-c", HANGING, *told]
    subprocess.run(command, cwd=tmp_path, env=PYTHON, check=True)
    for name, what in told.items():
        assert hung((tmp_path / name).read_text().splitlines()) == what
