"""The actor that holds a trainable, in this process and without Ray."""

import errno
import io
import math
import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray import tune
from ray.air.constants import TRAINING_ITERATION
from ray.tune.result import TRIAL_INFO

from app.engine.hang_guard import hung_method
from app.engine.trial_actor import Terms, trial_actor
from app.experiment.result_keys import BACK, ENDED, FAILURE, LEFT_OUT, REFUSED, REPORT
from tests.support import ROOT
from tests.support.counter import Counter, Mislabelled, with_control
from trainables.errors.disk_full import DiskFull
from trainables.errors.reason import TrialFailure
from trainables.function.trainable import as_class

PYTHON = {**os.environ, "PYTHONPATH": str(ROOT)}


def make_actor(folder: Path, *saved: tuple[int, str], retried: bool = False, **config: Any) -> Any:
    terms = Terms("loss", folder, retried=retried)
    return trial_actor(Counter, terms)(config=with_control(*saved, **config))


def save(folder: Path, *counts: int | str) -> None:
    """A checkpoint in a folder of its own for each count, which may be none."""
    for count in counts:
        (folder / f"epoch {count}").mkdir()
        (folder / f"epoch {count}/count").write_text(str(count))


def test_a_function_without_a_checkpoint_begins_again_and_says_so(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        kept = tune.get_checkpoint()
        for epoch in range(1 if kept is None else 3, 6):
            own = (
                tune.Checkpoint.from_directory(str(tmp_path)) if config["saves"] == epoch else None
            )
            tune.report({"loss": 1 / epoch}, checkpoint=own)

    for saves, epochs, why in (
        (0, 0, "train() reported no checkpoint"),
        (2, 2, "train() reported no checkpoint after epoch 2"),
    ):
        actor = trial_actor(as_class(train), Terms("loss", tmp_path))
        trial: Any = actor(config=with_control(saves=saves, seed=0))
        for _ in range(3):
            trial.train()
        folder = tmp_path / f"of {saves}"
        trial.save(str(folder))
        trial.stop()
        resumed: Any = actor(config=with_control((3, folder.name), saves=saves, seed=0))
        result = resumed.train()
        assert result[BACK] == {"epoch": epochs, "reason": why}
        assert (result[TRAINING_ITERATION], result["loss"]) == (epochs + 1, 1 / (epochs + 1))
        assert BACK not in resumed.train()
        resumed.stop()


def test_the_trainable_sees_its_own_values_alone(tmp_path: Path) -> None:
    trial = make_actor(tmp_path, x=1)
    assert trial.trainable.seen == trial.trainable.config == trial.config == {"x": 1}
    assert trial.step()[REPORT] == {"loss": 1.0}


class Curious(Counter):
    """Keeps what it sees of Ray and of the run."""

    trial_folder: Path

    def setup(self, config: dict[str, Any], words: tuple[str, ...] = ()) -> None:
        super().setup(config)
        self.words = words
        self.iterations: list[int] = []
        self.places = (self.trial_folder, self.trial_id)

    def step(self) -> dict[str, Any]:
        self.iterations.append(self.iteration)
        return super().step()

    def log_result(self, result: dict[str, Any]) -> None:
        self.logged = (result["training_iteration"], self.iteration)

    def stop(self) -> None:
        self.is_stopped = True


def test_the_trainable_sees_shared_data_and_rays_attributes_also_after_a_reset(
    tmp_path: Path,
) -> None:
    actor_class = trial_actor(Curious, Terms("loss", tmp_path))
    assert actor_class.__name__ == "Curious"
    with_data = type("WithData", (actor_class,), {})

    def setup(self: Any, config: dict[str, Any]) -> None:
        actor_class.setup(self, config, words=("a", "b"))  # as `tune.with_parameters` does

    with_data.setup = setup  # type: ignore[attr-defined]
    info = SimpleNamespace(trial_id="7")
    actor: Any = with_data(config={**with_control(), TRIAL_INFO: info})
    for reset in (False, True):
        if reset:
            assert actor.reset({**with_control(), TRIAL_INFO: info})
        actor.train()
        actor.train()
        seen = actor.trainable
        assert (seen.words, seen.iterations, seen.logged) == (("a", "b"), [0, 1], (2, 2))
        assert seen.places == (tmp_path / "trials/001", "7")
        assert seen.logdir
    actor.stop()
    assert seen.is_stopped


def test_a_trial_goes_on_from_the_checkpoint_that_its_configuration_names(tmp_path: Path) -> None:
    save(tmp_path, 4)
    trial = make_actor(tmp_path, (4, "epoch 4"), (2, "epoch 2"))
    assert trial.iteration == 4
    result = trial.step()
    assert result["loss"] == 1 / 5
    assert BACK not in result
    assert trial.reset(with_control())
    assert trial.iteration == 0
    assert trial.step()["loss"] == 1
    assert trial.reset(with_control((4, "epoch 4")))
    assert (trial.iteration, trial.trainable.count) == (4, 4)


@pytest.mark.parametrize(
    ("raises", "failure"),
    [
        ("setup", r"ValueError: no such data \(counter\.py, line \d+, in setup\)"),
        ("step", "the data is gone"),
    ],
)
def test_an_exception_ends_the_trial_and_not_its_process(
    tmp_path: Path, raises: str, failure: str
) -> None:
    trial = make_actor(tmp_path, raises=raises)
    result = trial.step()
    assert result["done"]
    assert math.isnan(result["loss"])
    assert re.fullmatch(failure, result[FAILURE])
    assert trial.reset(with_control())
    assert trial.step()[REPORT] == {"loss": 1.0}


class Apart(Exception):
    """Cannot be unpickled, as many exceptions of two arguments."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")


def raising(folder: Path, error: BaseException, *, retried: bool = False) -> Any:
    trial = make_actor(folder, retried=retried)
    trial.trainable.seen["raises"] = error
    return trial


def refused(number: int) -> OSError:
    return OSError(number, "voll", "/mnt/a")


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (SystemExit(3), "the process ended by itself with status 3"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (Apart("caf\udce9", "more"), r"Apart: caf\udce9 and more"),
    ],
)
def test_any_exception_fails_the_trial_with_its_own_message(
    tmp_path: Path, error: BaseException, failure: str
) -> None:
    assert raising(tmp_path, error).step()[FAILURE].startswith(f"{failure} (counter.py")
    with pytest.raises(TrialFailure) as raised:
        raising(tmp_path, error, retried=True).step()
    assert str(pickle.loads(pickle.dumps(raised.value))).startswith(f"{failure} (counter.py")


def test_the_exception_by_which_ray_ends_a_process_is_raised(tmp_path: Path) -> None:
    error: Any = SystemExit(1)
    error.ray_terminate_msg = "The process receives a SIGTERM."
    with pytest.raises(SystemExit):
        raising(tmp_path, error).step()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_no_failure_of_the_trials(tmp_path: Path, number: int) -> None:
    with pytest.raises(DiskFull, match=f"^/mnt/a: {os.strerror(number)}$"):
        raising(tmp_path, refused(number)).step()


def test_an_exception_while_saving_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = make_actor(tmp_path)

    def raises(error: Exception) -> None:
        def save(self: Any, checkpoint_dir: str) -> None:
            raise error

        monkeypatch.setattr(Counter, "save_checkpoint", save)
        trial.save(str(tmp_path))

    with pytest.raises(
        TrialFailure, match=r"^Apart: one and other \(test_trial_actor.py, line \d+, in save\)$"
    ):
        raises(Apart("one", "other"))
    with pytest.raises(DiskFull, match=r"^/mnt/a: Disk quota exceeded$"):
        raises(refused(errno.EDQUOT))


def test_a_trial_without_state_saves_none_and_its_process_sets_the_next_one_up(
    tmp_path: Path,
) -> None:
    trial = make_actor(tmp_path, raises="setup")
    assert trial.step()[FAILURE].startswith("ValueError: no such data (")
    (tmp_path / "saved").mkdir()
    trial.save(str(tmp_path / "saved"))
    assert not (tmp_path / "saved/count").exists()
    assert trial.reset(with_control(x=2))
    assert (trial.trainable.seen, trial.trainable.count) == ({"x": 2}, 0)


def test_a_checkpoint_is_on_the_disk_before_its_epoch_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []

    def fsync(file: int) -> None:
        synced.append(Path(f"/proc/self/fd/{file}").readlink())

    monkeypatch.setattr(os, "fsync", fsync)
    make_actor(tmp_path).save(str(tmp_path / "epoch"))
    assert {tmp_path / "epoch", tmp_path / "epoch/count"} <= set(synced)


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ("empty file", "cannot be read (ValueError: invalid literal for int() with base 10: '' ("),
        ("empty folder", "cannot be read (FileNotFoundError: "),
        ("gone", "is gone"),
    ],
)
def test_a_broken_checkpoint_is_replaced_by_the_one_before(
    tmp_path: Path, broken: str, why: str
) -> None:
    save(tmp_path, 2, "")
    if broken != "empty file":
        shutil.rmtree(tmp_path / "epoch ")
    if broken == "empty folder":
        (tmp_path / "epoch ").mkdir()
    trial = make_actor(tmp_path, (4, "epoch "), (2, "epoch 2"), x=1)
    assert trial.iteration == 2
    result = trial.step()
    assert result["loss"] == 1 / 3
    assert result[BACK]["epoch"] == 2
    assert result[BACK]["reason"].startswith(f"its checkpoint of epoch 4 {why}")
    # Which is said once.
    assert BACK not in trial.step()


def test_a_trial_that_has_lost_all_its_checkpoints_begins_again(tmp_path: Path) -> None:
    save(tmp_path, "half", "of")
    trial = make_actor(tmp_path, (4, "epoch half"), (2, "epoch of"), x=1)
    result = trial.step()
    assert (result["loss"], trial.iteration, trial.trainable.seen) == (1, 0, {"x": 1})
    assert result[BACK]["epoch"] == 0
    assert result[BACK]["reason"].startswith("its checkpoint of epoch 4 cannot be read (ValueError")


def test_a_trial_that_is_started_again_goes_on_from_its_latest_checkpoint_that_can_be_read(
    tmp_path: Path,
) -> None:
    for each, count in (("1", 1), ("5", 5), ("6", "")):
        (tmp_path / "tune/001" / each).mkdir(parents=True)
        (tmp_path / "tune/001" / each / "count").write_text(str(count))
    for epoch, name in ((5, "5"), (6, "6"), (6, "gone")):
        trial = make_actor(tmp_path, (5, "tune/001/5"), (1, "tune/001/1"))
        checkpoint = tune.Checkpoint(str(tmp_path / "tune/001" / name))
        # As Tune gives it to a process that it starts.
        trial.restore(SimpleNamespace(checkpoint=checkpoint, metrics={TRAINING_ITERATION: epoch}))
        assert trial.iteration == 5
        result = trial.step()
        assert result["loss"] == 1 / 6
        assert (BACK in result) == (epoch == 6)


def test_a_lack_of_memory_is_no_fault_of_the_checkpoint(tmp_path: Path) -> None:
    save(tmp_path, 2)

    class Large(Counter):
        def load_checkpoint(self, checkpoint: Any) -> None:
            raise MemoryError("no room")

    trial = trial_actor(Large, Terms("loss", tmp_path))(config=with_control((2, "epoch 2")))
    assert trial.step()[FAILURE].startswith("MemoryError: no room (")


def test_a_report_with_done_completes_the_trial(tmp_path: Path) -> None:
    trial = make_actor(tmp_path, reports={"done": True, "phase": "cool"})
    result = trial.step()
    assert result == {
        "loss": 1.0,
        REPORT: {"loss": 1.0},
        LEFT_OUT: {"phase": "a text"},
        "done": True,
        ENDED: True,
    }


def test_a_report_of_done_alone_adds_no_epoch(tmp_path: Path) -> None:
    trial = make_actor(tmp_path, reports_alone={"done": True})
    result = trial.step()
    assert (result["done"], result[ENDED]) == (True, True)
    assert REPORT not in result


def test_a_class_whose_labels_do_not_fit_trains_no_epoch(tmp_path: Path) -> None:
    trial: Any = trial_actor(Mislabelled, Terms("loss", tmp_path))(config=with_control())
    result = trial.step()
    assert (result["done"], result[REFUSED], trial.trainable.count) == (True, True, 0)
    assert result[FAILURE] == "labels: 2 labels for 3 outputs; name each output once"
    (tmp_path / "saved").mkdir()
    trial.save(str(tmp_path / "saved"))
    assert not (tmp_path / "saved/count").exists()


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
    trial = make_actor(tmp_path, raises=raises)
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
from trainables.errors import trial_log
trial_log.write_to(Path("first"))
sys.stdout.close()
os.close(1)
sys.stderr = None
trial_log.write_to(Path("second"))
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
from app.engine.trial_actor import Terms, trial_actor
from tests.support.counter import Counter, with_control

def hang(*arguments):
    threading.Event().wait()

def run(folder, hangs):
    methods = {hangs: hang}
    if hangs == "within_setup":  # as setup often does
        methods = {"setup": lambda self, config: self.reset_config(config), "reset_config": hang}
    hanging = type("Hanging", (Counter,), methods)
    trial = trial_actor(hanging, Terms("loss", folder, step_timeout=3.0))(config=with_control())
    trial.step()
    saved = trial.save(str(folder / "saved"))
    trial.restore(saved)
    trial.reset(with_control())

children = {}
for hangs in sys.argv[1:]:
    children[hangs] = os.fork()
    if not children[hangs]:
        log = os.open(hangs, os.O_WRONLY | os.O_CREAT)
        os.dup2(log, 2)
        run(Path(hangs + ".run"), hangs)
        os._exit(0)
for hangs, pid in children.items():
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1, hangs
"""


def test_a_method_that_hangs_ends_the_process_and_is_named(tmp_path: Path) -> None:
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
        assert hung_method((tmp_path / name).read_text().splitlines()) == what
