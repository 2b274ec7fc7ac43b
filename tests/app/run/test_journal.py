"""The journal of a run: what crashes, full disks and other processes leave of it."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from app.experiment.run_folder import JOURNAL
from app.run.errors import JournalError, MovedError
from app.run.journal import Journal
from app.run.journal_reader import read_events
from app.run.result_file import RESULT
from app.run.status import TrialStatus
from app.storage.lease import is_locked_here
from tests.support.journals import VERSIONS, end, record, result, start


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
