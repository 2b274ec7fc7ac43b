"""Trials that raise, hang, die or find no memory."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from ray._common.utils import get_system_memory
from ray._private.utils import get_used_memory

from tests.support import SUPPORT
from tests.support.commands import Begin, Tune, named
from tests.support.waiting import until_lines

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]


def test_a_trial_that_raises_goes_on_from_its_checkpoint_as_often_as_asked(
    run: Tune, quadratic: Callable[..., Path], tmp_path: Path
) -> None:
    path = quadratic(fails_once=str(tmp_path / "failed"), log=str(tmp_path / "log"))
    path.write_text("retries = 1\n" + path.read_text())
    result = run(path, "--name", "q", "--num-samples", 1, "--epochs", 3)
    assert [(trial["status"], trial["epochs"]) for trial in result["trials"]] == [("completed", 3)]
    trained = [json.loads(line)[1] for line in (tmp_path / "log").read_text().splitlines()]
    assert trained == [1, 2, 2, 3]


def test_a_trial_that_hangs_is_ended_and_says_so(
    run: Tune, quadratic: Callable[..., Path], tmp_path: Path
) -> None:
    path = quadratic(hangs=0.5)
    path.write_text("retries = 0\nstep_timeout = 2\n" + path.read_text())
    result = run(path, "--name", "q", "--num-samples", 4)
    hung = [trial for trial in result["trials"] if trial["config"]["x"] > 0.5]
    assert 0 < len(hung) < 4
    for trial in hung:
        assert trial["status"] == "failed"
        hung_in = r"it hung: an epoch took longer than 2 s \(quadratic\.py, line \d+, in step\)"
        assert re.fullmatch(rf"{hung_in}\nabout to hang", trial["error"])
        log = tmp_path / "runs/q/logs" / f"{trial['trial_id']}.log"
        assert log.read_text().startswith("about to hang\nTimeout (0:00:02)!")


def test_a_trial_for_which_there_is_no_memory_says_so_and_the_run_goes_on(
    tmp_path: Path, quadratic: Callable[..., Path]
) -> None:
    path = quadratic(hogs=0.9, bytes=9e9)
    path.write_text("retries = 2\n" + path.read_text())
    # Ray ends a process where the machine holds six gigabytes more than it does now, which tests
    # beside this one do not take.
    limit = (get_used_memory() + 6e9) / get_system_memory()
    place = ["--runs", str(tmp_path / "runs"), "--json", "--max-concurrent", "1"]
    process = subprocess.run(
        [sys.executable, "-m", "app.tune", str(path), *place],
        env={**os.environ, "RAY_memory_usage_threshold": str(limit)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, process.stderr
    trials = json.loads(process.stdout)["trials"]
    hogs = [trial for trial in trials if trial["config"]["x"] > 0.9]
    assert 0 < len(hogs) < len(trials) == 4
    assert trials[0]["status"] == "completed"
    assert {trial["status"] for trial in hogs} == {"failed"}
    error = "its process was ended because the machine ran out of memory, 3 times"
    assert {trial["error"] for trial in trials} == {None, error}


def test_a_trial_whose_process_is_killed_goes_on_from_its_last_epoch(
    ray_address: str, tmp_path: Path, quadratic: Callable[..., Path], begin: Begin
) -> None:
    log, gate = tmp_path / "log", tmp_path / "gate"
    path = quadratic(log=str(log), gate=str(gate))
    flags = ("--address", ray_address, "--num-samples", "1", "--epochs", "3")
    command = begin(path, *named(tmp_path), *flags)
    until_lines(log, 2, command)
    os.kill(json.loads(log.read_text().splitlines()[1])[2], signal.SIGKILL)
    gate.touch()
    out, err = command.communicate(timeout=300)
    assert command.returncode == 0, err
    trial = json.loads(out)["trials"][0]
    assert (trial["status"], trial["epochs"]) == ("completed", 3)
    assert [json.loads(line)[1] for line in log.read_text().splitlines()] == [1, 2, 2, 3]


DIES = """
import os
import signal
from pathlib import Path

from quadratic import Quadratic

class Dies(Quadratic):
    def reset_config(self, new_config):
        once = Path(new_config["once"])
        if hasattr(self, "values") and not once.exists():
            once.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().reset_config(new_config)
"""


def test_a_process_that_is_killed_while_it_takes_its_next_trial_is_one_loss(
    run: Tune, quadratic: Callable[..., Path], tmp_path: Path
) -> None:
    shutil.copy(SUPPORT / "quadratic.py", tmp_path)
    (tmp_path / "dies.py").write_text(DIES)
    path = quadratic(once=str(tmp_path / "once"))
    table = path.read_text().replace(f"{SUPPORT}/quadratic.py:Quadratic", "dies.py:Dies")
    path.write_text("retries = 1\n" + table)
    trials = run(path, "--name", "q", "--max-concurrent", 1, "--num-samples", 3)["trials"]
    assert [(trial["status"], trial["epochs"]) for trial in trials] == [("completed", 2)] * 3
    assert [trial["restarts"] for trial in trials] == [0, 1, 0]
