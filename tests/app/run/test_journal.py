"""The journal of a run: what its events add up to, and what crashes and full disks leave."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.experiment.run_folder import JOURNAL
from app.run.errors import JournalError, MovedError
from app.run.journal import Journal
from app.run.journal_reader import read_events
from app.run.record import Record
from app.run.result_file import RESULT
from app.run.status import TrialStatus
from app.storage.lease import is_locked_here

RESULT_KEYS = {
    *("name", "status", "reason", "metric", "mode", "seed"),
    *("seconds", "best", "trials", "lost_nodes", "model", "model_of", "model_error"),
    *("export_failed", "versions"),
}
TRIAL_KEYS = {
    *("trial_id", "status", "config", "epochs"),
    *("metrics", "history", "seconds", "error", "restarts"),
}
VERSIONS = {"ray": "2", "torch": "2", "optuna": "5"}


def record(mode: str = "min") -> Record:
    return Record("r", "loss", mode, seed=0)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal(tmp_path, record())
    yield opened
    opened.close()


def start(journal: Journal, trial_id: str, *, leg: int = 1, **config: Any) -> None:
    journal.append("trial", trial_id=trial_id, config=config, leg=leg)


def epoch(journal: Journal, trial_id: str, number: int, loss: float | None) -> None:
    journal.append(
        "epoch",
        trial_id=trial_id,
        epoch=number,
        metrics={"loss": loss, "accuracy": None},
        seconds=1.5,
        checkpoint=f"tune/{trial_id}/{number}",
    )


def end(journal: Journal, trial_id: str, status: str, error: str | None = None) -> None:
    journal.append("end", trial_id=trial_id, status=status, error=error)


def result(folder: Path) -> dict[str, Any]:
    """`result.json`, in which only JSON's own numbers may stand."""

    def refuse(constant: str) -> NoReturn:
        raise AssertionError(f"{constant} is no JSON")

    text = (folder / RESULT).read_text()
    return dict(json.loads(text, parse_constant=refuse))


def test_a_run_from_beginning_to_end(journal: Journal, tmp_path: Path) -> None:
    journal.append("run", versions=VERSIONS)
    start(journal, "001", x=1)
    epoch(journal, "001", 1, 0.5)
    start(journal, "002", x=2)
    epoch(journal, "002", 1, 0.4)
    epoch(journal, "001", 2, 0.6)
    end(journal, "001", "completed")
    end(journal, "002", "failed", "ValueError: no")
    journal.append("model", model="model")
    journal.append("status", status="completed", reason=None)

    found = result(tmp_path)
    assert found.pop("seconds") >= 0
    history = [
        {"epoch": 1, "loss": 0.5, "accuracy": None},
        {"epoch": 2, "loss": 0.6, "accuracy": None},
    ]
    metrics = {"loss": 0.5, "accuracy": None}
    assert found == {
        "name": "r",
        "status": "completed",
        "reason": None,
        "metric": "loss",
        "mode": "min",
        "seed": 0,
        "best": {"trial_id": "001", "config": {"x": 1}, "epoch": 1, "metrics": metrics},
        "trials": [
            {
                "trial_id": "001",
                "status": "completed",
                "config": {"x": 1},
                "epochs": 2,
                "metrics": metrics,
                "history": history,
                "seconds": 3.0,
                "error": None,
                "restarts": 0,
            },
            {
                "trial_id": "002",
                "status": "failed",
                "config": {"x": 2},
                "epochs": 1,
                "metrics": {"loss": 0.4, "accuracy": None},
                "history": [{"epoch": 1, "loss": 0.4, "accuracy": None}],
                "seconds": 1.5,
                "error": "ValueError: no",
                "restarts": 0,
            },
        ],
        "lost_nodes": {},
        "model": "model",
        "model_of": None,
        "model_error": None,
        "export_failed": False,
        "versions": VERSIONS,
    }


def test_losses_are_told_by_trial_and_by_node(journal: Journal, tmp_path: Path) -> None:
    journal.append("run", versions=VERSIONS)
    for trial_id, node in (("001", "n1"), ("002", None), ("002", "n1")):
        start(journal, trial_id, x=1)
        journal.append("restart", trial_id=trial_id, node=node, reason="gone")
    found = result(tmp_path)
    assert found["lost_nodes"] == {"n1": ["001", "002"]}
    assert [trial["restarts"] for trial in found["trials"]] == [1, 2]
    assert journal.record.trials["002"].lost_nodes == 1


def test_a_run_that_just_began_has_every_key(journal: Journal, tmp_path: Path) -> None:
    journal.append("run", versions=VERSIONS)
    start(journal, "001", x=1)
    found = result(tmp_path)
    assert found.keys() == RESULT_KEYS
    assert found["trials"][0].keys() == TRIAL_KEYS
    assert (found["status"], found["best"], found["model"]) == ("running", None, None)
    assert (found["trials"][0]["metrics"], found["trials"][0]["epochs"]) == ({}, 0)


LOSSES = st.lists(st.floats(-9, 9, width=16) | st.none(), max_size=4)
STATUSES = st.sampled_from(["running", "completed", "stopped", "failed"])


@settings(max_examples=30)
@given(st.lists(st.tuples(LOSSES, STATUSES), max_size=6), st.sampled_from(["min", "max"]))
def test_the_result_is_always_the_record_and_reads_back_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    trials: list[tuple[list[float | None], str]],
    mode: str,
) -> None:
    folder = tmp_path_factory.mktemp("run")
    journal = Journal(folder, record(mode))
    journal.append("run", versions=VERSIONS)
    for number, (losses, status) in enumerate(trials, 1):
        start(journal, f"{number:03d}", x=number)
        for done, loss in enumerate(losses, 1):
            epoch(journal, f"{number:03d}", done, loss)
            assert result(folder) == journal.record.as_json()
        if status != "running":
            end(journal, f"{number:03d}", status)
        assert result(folder) == journal.record.as_json()

    finite = [
        loss
        for losses, status in trials
        if status != "failed"
        for loss in losses
        if loss is not None
    ]
    best = result(folder)["best"]
    assert (best["metrics"]["loss"] if best else None) == (
        (min if mode == "min" else max)(finite) if finite else None
    )
    before = journal.record.as_json()
    journal.reload()
    journal.close()
    assert {**journal.record.as_json(), "seconds": 0} == {**before, "seconds": 0}


def test_of_equal_trials_the_first_is_best_whichever_was_told_of_first(journal: Journal) -> None:
    for trial_id in ("002", "001"):
        start(journal, trial_id)
        epoch(journal, trial_id, 1, 0.5)
    best = journal.record.best
    assert best is not None
    assert best.trial_id == "001"


def test_trials_are_shown_in_the_order_of_their_numbers(journal: Journal, tmp_path: Path) -> None:
    for trial_id in ("1000", "002", "999"):
        start(journal, trial_id)
    assert [trial["trial_id"] for trial in result(tmp_path)["trials"]] == ["002", "999", "1000"]


def test_a_trial_that_is_told_of_after_later_ones_have_finished_is_shown_in_its_place(
    journal: Journal, tmp_path: Path
) -> None:
    for trial_id in ("002", "001", "003"):
        start(journal, trial_id)
        epoch(journal, trial_id, 1, 1 / int(trial_id))
        end(journal, trial_id, "completed")
    shown = result(tmp_path)
    assert [trial["trial_id"] for trial in shown["trials"]] == ["001", "002", "003"]
    assert shown["best"]["trial_id"] == "003"


def test_the_best_trial_is_the_best_no_longer_once_it_fails(journal: Journal) -> None:
    for trial_id, loss in (("001", 0.5), ("002", 0.1), ("003", 0.3)):
        start(journal, trial_id)
        epoch(journal, trial_id, 1, loss)
    assert journal.record.best_value == 0.1
    end(journal, "002", "failed", "it hung")
    assert journal.record.best_value == 0.3
    start(journal, "002", leg=2)
    assert journal.record.best_value == 0.1


def test_an_epoch_that_is_told_again_takes_the_place_of_the_first(journal: Journal) -> None:
    start(journal, "001")
    for number, loss in ((1, 0.5), (2, 0.4), (3, 0.3), (2, 0.6)):
        epoch(journal, "001", number, loss)
    history = journal.record.trials["001"].history
    assert [(each.number, each.metrics["loss"]) for each in history] == [(1, 0.5), (2, 0.6)]


@pytest.mark.parametrize(
    ("value", "mode", "counts"),
    [("best", "min", 2), ("best", "max", 1), ("last", "min", 3), ("first", "min", 1)],
)
def test_the_value_that_counts_is_the_one_that_was_asked_for(
    tmp_path: Path, value: str, mode: str, counts: int
) -> None:
    journal = Journal(tmp_path, Record("r", "loss", mode, seed=0, value=value))
    for trial_id in ("001", "002"):
        start(journal, trial_id)
        for number, loss in ((1, 0.5), (2, 0.1), (3, 0.3), (4, None)):
            epoch(journal, trial_id, number, loss)
    (epochs, best) = ([0.5, 0.1, 0.3], journal.record.best)
    assert best is not None
    assert best.best_epoch is not None
    assert (best.trial_id, best.best_epoch.number) == ("001", counts)
    assert set(best.checkpoints) == {counts, 4}
    journal.reload()
    assert journal.record.best_value == epochs[counts - 1]
    journal.close()


def test_only_the_best_and_the_latest_checkpoint_are_needed(journal: Journal) -> None:
    start(journal, "001")
    for number, loss in ((1, 0.5), (2, 0.4), (3, 0.6), (4, 0.7)):
        epoch(journal, "001", number, loss)
    trial = journal.record.trials["001"]
    assert trial.checkpoints == {2: "tune/001/2", 4: "tune/001/4"}
    assert trial.saved == [(4, "tune/001/4"), (2, "tune/001/2")]


@pytest.mark.parametrize(
    ("back_to", "best", "saved"), [(2, 0.4, [(2, "tune/001/2")]), (0, None, [])]
)
def test_a_trial_that_went_back_has_nothing_of_what_was_lost(
    journal: Journal, back_to: int, best: float | None, saved: list[tuple[int, str]]
) -> None:
    start(journal, "001")
    for number, loss in ((1, 0.5), (2, 0.4), (3, 0.6), (4, 0.7)):
        epoch(journal, "001", number, loss)
    journal.append("back", trial_id="001", epoch=back_to, reason="it is gone")
    trial = journal.record.trials["001"]
    assert (trial.epochs, trial.saved, trial.rewind_reason) == (back_to, saved, "it is gone")
    assert journal.record.best_value == best
    start(journal, "001", leg=2)
    assert trial.rewind_reason is None


def test_whoever_only_asks_for_a_moment_does_not_keep_a_run_from_starting(tmp_path: Path) -> None:
    Journal(tmp_path, record()).close()
    asking = (tmp_path / JOURNAL).open()
    fcntl.flock(asking, fcntl.LOCK_SH)
    threading.Timer(0.05, asking.close).start()
    Journal(tmp_path, record()).close()


def test_a_journal_that_cannot_be_read_is_not_kept_in_hand(tmp_path: Path) -> None:
    (tmp_path / JOURNAL).write_text("no event\n")
    for _ in range(2):
        with pytest.raises(JournalError, match="line 1: is no event"):
            Journal(tmp_path, record())
    assert not is_locked_here(tmp_path)


def test_what_was_running_is_interrupted_when_the_run_is_taken_up_again(tmp_path: Path) -> None:
    first = Journal(tmp_path, record())
    first.append("run", versions=VERSIONS)
    start(first, "001")
    start(first, "002")
    end(first, "002", "completed")
    first.close()

    second = Journal(tmp_path, record())
    second.append("run", versions=VERSIONS)
    statuses = [trial.status for trial in second.record.in_order()]
    assert statuses == ["interrupted", "completed"]
    start(second, "001", leg=2)
    assert (second.record.trials["001"].status, second.record.trials["001"].attempts) == (
        "running",
        2,
    )
    second.close()


def test_a_run_that_ends_leaves_no_trial_running(journal: Journal, tmp_path: Path) -> None:
    start(journal, "001")
    journal.append("status", status="interrupted", reason="SIGINT")
    found = result(tmp_path)
    assert (found["status"], found["reason"]) == ("interrupted", "SIGINT")
    assert found["trials"][0]["status"] == "interrupted"


def test_seconds_go_on_where_the_earlier_leg_ended(tmp_path: Path) -> None:
    line = {"event": "status", "status": "interrupted", "reason": None, "run_seconds": 1000.0}
    (tmp_path / JOURNAL).write_text(json.dumps(line) + "\n")
    journal = Journal(tmp_path, record())
    journal.append("run", versions=VERSIONS)
    journal.close()
    assert 1000 <= result(tmp_path)["seconds"] < 1100


def test_a_line_that_a_crash_cut_short_is_dropped(tmp_path: Path) -> None:
    journal = Journal(tmp_path, record())
    start(journal, "001", x=1)
    journal.close()
    whole = (tmp_path / JOURNAL).read_bytes()
    (tmp_path / JOURNAL).write_bytes(whole + b'{"event":"epoch","trial_id":"0')
    assert [event["event"] for event in read_events(tmp_path / JOURNAL)] == ["trial"]

    again = Journal(tmp_path, record())
    assert (tmp_path / JOURNAL).read_bytes() == whole
    start(again, "002", x=2)
    again.close()
    events = list(read_events(tmp_path / JOURNAL))
    assert [event["trial_id"] for event in events] == ["001", "002"]


def test_reading_again_drops_what_an_interrupt_cut_short(journal: Journal, tmp_path: Path) -> None:
    start(journal, "001", x=1)
    with (tmp_path / JOURNAL).open("ab") as file:
        file.write(b'{"event":"end"')
    journal.record.trials["001"].status = TrialStatus.FAILED
    journal.reload()
    assert journal.record.trials["001"].status == "running"
    assert (tmp_path / JOURNAL).read_bytes().endswith(b"}\n")


@pytest.mark.parametrize("line", [b"nonsense", b"[1]", b'{"event": 1}', b"\xff"])
def test_a_line_that_is_no_event_is_named(tmp_path: Path, line: bytes) -> None:
    (tmp_path / JOURNAL).write_bytes(
        b'{"event":"run","versions":{},"run_seconds":0.0}\n' + line + b"\n"
    )
    with pytest.raises(JournalError, match=r"journal\.jsonl, line 2: is no event: "):
        Journal(tmp_path, record())


def test_two_cannot_have_one_run_in_hand(journal: Journal, tmp_path: Path) -> None:
    assert is_locked_here(tmp_path)
    with pytest.raises(JournalError, match=rf"^{tmp_path.name} is being run by another process$"):
        Journal(tmp_path, record())


OTHER_PROCESS = """
import sys
from pathlib import Path
from app.run.journal import Journal
from app.run.errors import JournalError
from app.run.journal_reader import read_events
from app.run.record import Record
try:
    Journal(Path(sys.argv[1]), Record("r", "loss", "min", 0))
except JournalError as error:
    sys.exit(str(error))
"""


def test_another_process_cannot_open_a_run_in_hand(journal: Journal, tmp_path: Path) -> None:
    refused = child(OTHER_PROCESS, tmp_path)
    assert (refused.returncode, refused.stderr.count("is being run by another process")) == (1, 1)


def test_a_run_whose_process_was_lost_can_be_opened(tmp_path: Path) -> None:
    assert child(OTHER_PROCESS, tmp_path).returncode == 0
    assert not is_locked_here(tmp_path)
    Journal(tmp_path, record()).close()


def test_a_folder_that_was_never_run_in_is_not_locked(tmp_path: Path) -> None:
    assert not is_locked_here(tmp_path)


def test_a_journal_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / JOURNAL).mkdir()
    with pytest.raises(JournalError, match=r"^cannot write .*journal\.jsonl: Is a directory$"):
        Journal(tmp_path, record())


FULL = """
import resource
import sys
from pathlib import Path
from app.run.journal import Journal
from app.run.errors import JournalError
from app.run.journal_reader import read_events
from app.run.record import Record
journal = Journal(Path(sys.argv[1]), Record("r", "loss", "min", 0))
journal.append("run", versions={})
limits = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), limits[1]))
try:
    for number in range(1, 1000):
        journal.append("trial", trial_id=f"{number:03d}", config={"x": 1}, leg=1)
except JournalError as error:
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    sys.exit(str(error))
"""


def test_a_full_disk_leaves_the_last_result_whole(tmp_path: Path) -> None:
    # Of short lines the result is longer than the journal, so the room ends for it first.
    ended = child(FULL, tmp_path, 1000)
    assert ended.stderr == f"cannot write {tmp_path / RESULT}: File too large\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == [JOURNAL, RESULT]
    told = [
        event["trial_id"] for event in read_events(tmp_path / JOURNAL) if event["event"] == "trial"
    ]
    assert [trial["trial_id"] for trial in result(tmp_path)["trials"]] == told[:-1]


LONG = FULL.replace('{"x": 1}', '{"x": "long" * 1000}')


def test_a_line_for_which_there_is_no_room_is_taken_back(tmp_path: Path) -> None:
    ended = child(LONG, tmp_path, 2000)
    assert ended.stderr == f"cannot write {tmp_path / JOURNAL}: No space left on device\n"
    assert [event["event"] for event in read_events(tmp_path / JOURNAL)] == ["run"]
    assert result(tmp_path)["trials"] == []

    again = Journal(tmp_path, record())
    start(again, "001", x=1)
    again.close()
    assert [trial["trial_id"] for trial in result(tmp_path)["trials"]] == ["001"]


@pytest.mark.parametrize("content", [None, b"", b'{"event":"run","ver'])
def test_a_run_whose_journal_is_gone_is_not_begun_anew(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / JOURNAL
    if content is not None:
        path.write_bytes(content)
    told = rf"^{tmp_path.name}: its journal is gone; put {path} back, or begin a new run: nothing"
    with pytest.raises(JournalError, match=told):
        Journal(tmp_path, record(), must_exist=True)
    assert (path.read_bytes() if path.exists() else None) == content
    assert not is_locked_here(tmp_path)


def test_a_run_that_ended_before_its_first_trial_goes_on(tmp_path: Path) -> None:
    first = Journal(tmp_path, record())
    first.append("run", versions=VERSIONS)
    first.close()
    again = Journal(tmp_path, record(), must_exist=True)
    start(again, "001", x=1)
    again.close()
    assert [trial["trial_id"] for trial in result(tmp_path)["trials"]] == ["001"]


def test_a_line_that_can_be_neither_written_nor_taken_back_is_the_last(
    journal: Journal, tmp_path: Path
) -> None:
    journal.append("run", versions=VERSIONS)
    before = (tmp_path / JOURNAL).read_bytes()
    # A disk that fails refuses whatever is asked of it, as a file does that is open to be read.
    only_read = os.open(tmp_path / JOURNAL, os.O_RDONLY)
    os.dup2(only_read, journal._file)
    os.close(only_read)
    for _ in range(2):
        with pytest.raises(JournalError, match=rf"^cannot write {tmp_path / JOURNAL}: Bad file"):
            start(journal, "001", x=1)
        with pytest.raises(JournalError, match=rf"^cannot write {tmp_path / JOURNAL}: Bad file"):
            journal.check()
    assert (tmp_path / JOURNAL).read_bytes() == before
    assert journal.record.trials == {}


def test_a_run_whose_folder_was_moved_writes_nothing_more(tmp_path: Path) -> None:
    folder, now = tmp_path / "here", tmp_path / "there"
    folder.mkdir()
    journal = Journal(folder, record())
    journal.append("run", versions=VERSIONS)
    folder.rename(now)
    before = (now / JOURNAL).read_bytes()
    for act in (journal.check, lambda: start(journal, "001", x=1)):
        with pytest.raises(
            MovedError, match=rf"^{folder} was moved to {now} while its run"
        ) as moved:
            act()
        assert (moved.value.folder, moved.value.now) == (folder, now)
    folder.mkdir()
    Journal(folder, record()).close()
    with pytest.raises(MovedError, match=rf"^{folder} was moved to {now} while its run went on$"):
        journal.check()
    journal.reload()
    journal.close()
    assert (now / JOURNAL).read_bytes() == before
    again = Journal(now, record(), must_exist=True)
    assert not again.record.trials
    again.close()


def test_a_run_whose_folder_was_removed_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    journal = Journal(folder, record())
    journal.append("run", versions=VERSIONS)
    shutil.rmtree(folder)
    with pytest.raises(MovedError, match=rf"^{folder} was removed while its run went on$") as moved:
        journal.check()
    assert moved.value.now is None
    journal.close()
    assert not folder.exists()


def test_a_long_result_takes_its_share_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path, record())
    journal.append("run", versions=VERSIONS)
    start(journal, "001")
    monkeypatch.setattr("app.run.result_file.SMALL_BYTES", 0)
    monkeypatch.setattr("app.run.result_file.MIN_INTERVAL_S", 0)
    monkeypatch.setattr("app.run.result_file.TIME_SHARE", 1e-9)
    for number in range(1, 4):
        epoch(journal, "001", number, 1 / number)
    assert result(tmp_path)["trials"][0]["epochs"] == 0
    monkeypatch.setattr("app.run.result_file.TIME_SHARE", 1e9)
    journal.check()
    assert result(tmp_path) == journal.record.as_json()
    monkeypatch.setattr("app.run.result_file.TIME_SHARE", 1e-9)
    epoch(journal, "001", 4, 0.1)
    journal.check()
    assert result(tmp_path)["trials"][0]["epochs"] == 3
    journal.append("status", status="completed", reason=None)
    assert result(tmp_path) == journal.record.as_json()
    epoch(journal, "001", 5, 0.1)
    journal.close()
    assert result(tmp_path) == journal.record.as_json()


def test_a_best_epoch_that_is_forgotten_gives_way_to_the_best_before(journal: Journal) -> None:
    start(journal, "001")
    for number, loss in ((1, 0.5), (2, 0.4), (3, 0.1), (4, 0.6), (3, 0.7)):
        epoch(journal, "001", number, loss)
    best = journal.record.trials["001"].best_epoch
    assert best is not None
    assert (best.number, best.metrics["loss"]) == (2, 0.4)


def test_what_is_done_to_a_run_later_takes_none_of_its_time(tmp_path: Path) -> None:
    line = {"event": "status", "status": "interrupted", "reason": None, "run_seconds": 1000.0}
    (tmp_path / JOURNAL).write_text(json.dumps(line) + "\n")
    journal = Journal(tmp_path, record())
    journal.append("model", model="model")
    journal.close()
    assert result(tmp_path)["seconds"] == 1000.0


def child(program: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)
