"""The callback that writes Tune's events to the journal."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune import Checkpoint

from app.cluster.failures import NODE_LOST
from app.engine.artifact_recovery import ArtifactRecovery
from app.engine.journal_callback import LOST_NODES, JournalCallback
from app.experiment import loading
from app.experiment.result_keys import CONTROL, ENDED, FAILURE, LEFT_OUT, REFUSED, REPORT
from app.run.errors import JournalError, MovedError
from app.run.journal import Journal
from app.run.record import Record
from app.run.trial import Trial
from app.storage.trial_files import log_path
from app.storage.trial_storage import SharedTrialStorage
from trainables.contract import PromiseError, TrainableError


def make_callback(journal: Journal, **flags: Any) -> JournalCallback:
    """Make a callback for nodes that share the run's folder."""
    asked = loading.load(None, flags)
    recovery = ArtifactRecovery(SharedTrialStorage(journal.folder), lambda: None)
    return JournalCallback(journal, asked, recovery, lambda event, trial: None, lambda: None)


HUNG = [
    *("an epoch", "Timeout (0:00:05)!", "Thread 0x00007f (most recent call first):"),
    '  File "/home/u/ends.py", line 36 in helper',
]
RAYS = "ray::Mine.train() (pid=1)\n"


def tune_trial(trial_id: str, **more: Any) -> Any:
    """Make a trial of Tune's, with what the callback reads of it."""
    control = {"trial_id": trial_id, "attempt": 1}
    state = SimpleNamespace(ray_actor=None)
    return SimpleNamespace(config={CONTROL: control, "lr": 0.1}, temporary_state=state, **more)


@pytest.mark.parametrize(("repeats", "told"), [(1, {}), (2, {"seed": 7})])
def test_the_seed_of_a_repeat_is_recorded(
    tmp_path: Path, repeats: int, told: Mapping[str, int]
) -> None:
    journal = Journal(tmp_path, Record("q", "loss", "min", 0))
    callback = make_callback(journal)
    callback.experiment = callback.experiment.model_copy(update={"repeats": repeats})
    trial = tune_trial("001")
    trial.config["seed"] = 7
    callback.on_trial_start(0, [], trial)
    journal.close()
    shown = journal.record.as_json()["trials"][0]
    assert {key: value for key, value in shown.items() if key == "seed"} == told


def test_an_exception_in_a_hook_ends_the_run_at_the_end_of_the_step(tmp_path: Path) -> None:
    heard: list[str] = []

    def listen(event: str, trial: Trial) -> None:
        heard.append(event)
        raise ValueError("a table of two columns")

    journal = Journal(tmp_path, Record("q", "loss", "min", 0))
    asked = loading.load(None, {})
    callback = JournalCallback(
        journal,
        asked,
        ArtifactRecovery(SharedTrialStorage(tmp_path), lambda: None),
        listen,
        lambda: None,
    )
    callback.on_step_end(0, [])
    callback.on_trial_start(0, [], tune_trial("001"))
    callback.on_trial_start(0, [], tune_trial("002"))
    callback.on_trial_complete(0, [], tune_trial("001", last_result={}))
    for _ in range(2):
        with pytest.raises(ValueError, match=r"^a table of two columns$"):
            callback.on_step_end(0, [])
    # After what went wrong nothing is written any more.
    assert heard == ["trial"]
    assert list(journal.record.trials) == ["001"]
    journal.close()


def test_a_run_whose_folder_is_gone_ends_at_the_end_of_the_step(tmp_path: Path) -> None:
    folder = tmp_path / "q"
    folder.mkdir()
    journal = Journal(folder, Record("q", "loss", "min", 0))
    callback = make_callback(journal)
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(MovedError, match=r"was moved to .*/elsewhere while its run went on$"):
        callback.on_step_end(0, [])
    journal.close()


def test_lost_nodes_are_no_failures_of_a_trial_until_there_were_ten(tmp_path: Path) -> None:
    journal = Journal(tmp_path, Record("q", "loss", "min", 0))
    callback = make_callback(journal)
    errors = tmp_path / "errors"
    trial = tune_trial(
        "001",
        error_file=str(errors),
        max_failures=3,
        run_metadata=SimpleNamespace(num_failures=0),
    )
    for number in range(LOST_NODES):
        assert trial.run_metadata.num_failures == 0
        with errors.open("a") as file:
            file.write(f"Failure # 0 (occurred at {number})\n{NODE_LOST}10.0.0.{number} (ab12cd)\n")
        callback.on_trial_recover(0, [], trial)
    assert trial.run_metadata.num_failures == 4
    told = journal.record.trials["001"]
    assert (told.restarts, told.lost_nodes) == (LOST_NODES, LOST_NODES)
    assert told.restart_reason == "its node 10.0.0.9 (ab12cd) was lost"
    assert list(journal.record.lost_nodes) == [f"10.0.0.{n} (ab12cd)" for n in range(LOST_NODES)]
    journal.close()


def test_values_that_are_no_numbers_are_named_once_and_the_last_epoch_is_recorded_as_last(
    tmp_path: Path,
) -> None:
    journal = Journal(tmp_path, Record("q", "loss", "min", 0))
    said: list[str] = []
    asked = loading.load(None, {})
    callback = JournalCallback(
        journal,
        asked,
        ArtifactRecovery(SharedTrialStorage(tmp_path), lambda: None),
        lambda event, trial: None,
        lambda: None,
        said.append,
    )
    trial: Any = SimpleNamespace(
        config={CONTROL: {"trial_id": "001", "attempt": 1}, "lr": 0.1},
        temporary_state=SimpleNamespace(ray_actor=None),
    )
    callback.on_trial_start(0, [], trial)
    for epoch, more in (
        (1, {LEFT_OUT: {"phase": "a text"}}),
        (2, {LEFT_OUT: {"phase": "a text", "auc": "None"}}),
        (3, {LEFT_OUT: {"auc": "None"}, ENDED: True}),
    ):
        assert not journal.record.trials["001"].is_over
        trial.last_result = {
            REPORT: {"loss": 0.5},
            "training_iteration": epoch,
            "time_this_iter_s": 0.1,
            **more,
        }
        callback.on_checkpoint(0, [], trial, Checkpoint(f"{tmp_path}/trials/001/{epoch}"))
    assert said == [
        "trial 001 reports 'phase', a text: curves hold numbers, so it is not kept",
        "trial 001 reports 'auc', None: curves hold numbers, so it is not kept",
    ]
    assert journal.record.trials["001"].is_over
    callback.on_trial_complete(0, [], trial)
    assert journal.record.trials["001"].status == "completed"
    journal.close()


@pytest.mark.parametrize("trained", [0, 1])
def test_a_class_whose_labels_do_not_fit_ends_the_run(tmp_path: Path, trained: int) -> None:
    journal = Journal(tmp_path, Record("q", "loss", "min", 0))
    callback = make_callback(journal)
    trial: Any = SimpleNamespace(
        config={CONTROL: {"trial_id": "001", "attempt": 1}, "lr": 0.1},
        temporary_state=SimpleNamespace(ray_actor=None),
        last_result={FAILURE: "labels: 2 for 3", REFUSED: True},
    )
    callback.on_trial_start(0, [], trial)
    fields = {"metrics": {"loss": 1.0}, "seconds": 0.1, "checkpoint": None}
    for epoch in range(1, trained + 1):
        journal.append("epoch", trial_id="001", epoch=epoch, **fields)
    callback.on_trial_complete(0, [], trial)
    with pytest.raises(TrainableError, match=r"^labels: 2 for 3$") as raised:
        callback.on_step_end(0, [])
    assert isinstance(raised.value, PromiseError) == (not trained)
    journal.close()


def failing(journal: Journal, errors: Path, text: str) -> Any:
    """Make a trial of Tune's that failed with an error."""
    errors.write_text(f"Failure # 1 (occurred at noon)\n{text}\n")
    return SimpleNamespace(
        config={CONTROL: {"trial_id": "001", "attempt": 1}, "lr": 0.1},
        error_file=str(errors),
        max_failures=3,
        temporary_state=SimpleNamespace(ray_actor=None),
        run_metadata=SimpleNamespace(num_failures=0),
        last_result={},
    )


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal(tmp_path, Record("q", "loss", "min", 0))
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            f"{RAYS}trainables.errors.disk_full.DiskFull: /mnt/a: Disk quota exceeded",
            "/mnt/a: Disk quota exc",
        ),
        (f"{RAYS}OSError: [Errno 28] No space left on device", "{}: No space left on device; make"),
        ("OutOfDiskError: Local disk is full", "the disk of Ray's own folder is full; make room"),
    ],
)
def test_a_full_disk_ends_the_run_and_is_no_failure(
    journal: Journal, tmp_path: Path, text: str, said: str
) -> None:
    callback = make_callback(journal)
    callback.on_trial_recover(0, [], failing(journal, tmp_path / "errors", text))
    with pytest.raises(JournalError, match=f"^{re.escape(said.format(tmp_path))}"):
        callback.on_step_end(0, [])
    assert journal.record.trials["001"].status == "running"


def test_the_error_keeps_a_few_kilobytes_of_the_log(journal: Journal, tmp_path: Path) -> None:
    log = log_path(tmp_path, "001")
    log.parent.mkdir()
    log.write_bytes(b"".join(b"%d \xff\x1b[31m" % n + b"x" * 2_000_000 + b"\n" for n in range(3)))
    make_callback(journal).on_trial_error(
        0, [], failing(journal, tmp_path / "errors", "y" * 9_000_000)
    )
    trial = journal.record.trials["001"]
    assert trial.error is not None
    assert trial.error.startswith("its process was lost: yyy")
    assert len(trial.error) < 10_000
    log.write_text("".join(f"line {number}\n" for number in range(100_000)))
    make_callback(journal).on_trial_error(0, [], failing(journal, tmp_path / "errors", "gone"))
    said = (trial.error or "").splitlines()
    assert said[1:] == [f"line {number}" for number in range(100_000 - 20, 100_000)]
    assert (tmp_path / "journal.jsonl").stat().st_size < 40_000


def test_the_log_of_an_earlier_process_does_not_explain_a_lost_one(
    journal: Journal, tmp_path: Path
) -> None:
    log = log_path(tmp_path, "001")
    log.parent.mkdir()
    log.write_text(
        "epoch 1\nthe process ended by itself with status 3 (mine.py, line 1, in step)\n"
    )
    callback = make_callback(journal)
    words = "Worker exit detail: Worker unexpectedly exits with a connection error code 2."
    trial = failing(journal, tmp_path / "errors", words)
    callback.on_trial_recover(0, [], trial)
    assert (journal.record.trials["001"].restart_reason or "").startswith(
        "the process ended by itself"
    )
    callback.on_trial_error(0, [], trial)
    assert journal.record.trials["001"].error == (
        "its process was lost without a word: killed from outside, or for want of memory, 2 times"
    )


def test_the_stacks_of_a_hung_process_stay_in_its_log(journal: Journal, tmp_path: Path) -> None:
    log = log_path(tmp_path, "001")
    log.parent.mkdir()
    log.write_text("\n".join(HUNG))
    callback = make_callback(journal, step_timeout=5.0)
    callback.on_trial_error(0, [], failing(journal, tmp_path / "errors", "ActorDiedError: gone"))
    assert journal.record.trials["001"].error == (
        "it hung: an epoch took longer than 5 s (ends.py, line 36, in helper)\nan epoch"
    )
