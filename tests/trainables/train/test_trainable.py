"""Trials under Ray Train, without it: its reports come from a fake."""

from pathlib import Path
from typing import Any

import pytest
from pyarrow.fs import LocalFileSystem
from ray.train import Checkpoint

from tests.support.function_trial import CONFIG
from tests.support.sound import Sound
from trainables import as_trainable, check_parallel
from trainables.contract import TrainableError
from trainables.function.trainable import as_class
from trainables.train.trainable import train_trials
from trainables.train.trainer_run import Report, TrainFolder, make_trainer


def train(config: dict[str, Any]) -> None: ...


def of_two_workers() -> Any:
    return train_trials(as_class(train), workers=2, cpus=0.5, gpus=0.0)


class FakeRun:
    """Reports of a trainer, without one."""

    def __init__(self, *reports: Report | None) -> None:
        self.reports = list(reports)
        self.is_ended = False

    def next(self) -> Report | None:
        return self.reports.pop(0)

    def end(self) -> None:
        self.is_ended = True


def trial(tmp_path: Path, *reports: Report | None) -> Any:
    base = of_two_workers()

    class Here(base):  # type: ignore[misc, valid-type]
        def _setup_logdir(self) -> None:
            self._logdir = str(tmp_path)

    running: Any = Here(config=dict(CONFIG))
    running.trial_folder = tmp_path / "run/trials/001"
    running.run = FakeRun(*reports)
    return running


def reported(tmp_path: Path, epoch: int) -> Report:
    """A report with a checkpoint where Ray Train would keep it."""
    folder = tmp_path / f"run/train/001/name/checkpoint-{epoch}"
    folder.mkdir(parents=True)
    (folder / "epoch").write_text(str(epoch))
    return Report({"loss": 1 / epoch}, Checkpoint(str(folder), LocalFileSystem()), None)


def test_reports_are_epochs_and_their_checkpoints_are_taken_over(tmp_path: Path) -> None:
    running = trial(tmp_path, reported(tmp_path, 1), reported(tmp_path, 2), None)
    assert [running.train()["loss"] for _ in range(2)] == [1.0, 0.5]
    assert list((tmp_path / "run/train/001/name").iterdir()) == []
    running.save(str(tmp_path / "saved"))
    assert (tmp_path / "saved/checkpoint/epoch").read_text() == "2"
    assert running.train()["done"]
    run = running.run
    running.stop()
    assert run.is_ended
    assert list((tmp_path / "run/train").iterdir()) == []


def test_a_trial_goes_on_from_what_was_saved_as_a_functions_export_does(tmp_path: Path) -> None:
    first = trial(tmp_path, reported(tmp_path, 1))
    first.train()
    saved = first.save(str(tmp_path / "saved"))
    for kind in (of_two_workers(), as_class(train)):

        class Here(kind):  # type: ignore[misc, valid-type]
            def _setup_logdir(self) -> None:
                self._logdir = str(tmp_path)

        later: Any = Here(config=dict(CONFIG))
        later.restore(saved)
        assert (later.last_checkpoint / "epoch").read_text() == "1"
        assert later.last_checkpoint_reports == 1
        later.cleanup()
    first.stop()


def test_a_function_that_reports_nothing_is_told_of_the_call(tmp_path: Path) -> None:
    running = trial(tmp_path, None)
    with pytest.raises(TrainableError, match=r"^train\(\) returned without a report; call ray\.tr"):
        running.train()
    running.stop()


def test_a_checkpoint_is_copied_to_where_all_workers_find_it(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "epoch").write_text("3")
    folder = TrainFolder(str(tmp_path / "run/train/001"), LocalFileSystem())
    shared = folder.add(mine)
    assert Path(shared.path).is_relative_to(folder.path)
    assert Path(shared.path, "epoch").read_text() == "3"
    folder.remove()
    folder.remove()
    assert list((tmp_path / "run/train").iterdir()) == []


@pytest.mark.parametrize(("gpus", "backend"), [(0.0, "gloo"), (0.5, "gloo"), (1.0, "nccl")])
def test_workers_with_whole_gpus_meet_by_nccl(tmp_path: Path, gpus: float, backend: str) -> None:
    scaling = train_trials(as_class(train), workers=3, cpus=1.0, gpus=gpus).scaling
    assert scaling.use_gpu is (gpus > 0)
    assert scaling.total_resources.get("GPU", 0) == 3 * gpus
    folder = TrainFolder(str(tmp_path), LocalFileSystem())
    trainer: Any = make_trainer(lambda: None, scaling, folder, None)
    assert trainer.backend_config.backend == backend


def test_a_class_that_asks_for_workers_is_told_of_functions() -> None:
    with pytest.raises(TrainableError, match=r"^workers_per_trial: Sound is a class, .*ray\.train"):
        check_parallel(Sound, "Sound")
    check_parallel(as_trainable(train, "train"), "train")
