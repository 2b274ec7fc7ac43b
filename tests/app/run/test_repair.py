"""Runs with damaged files: each command says one sentence, and there is a way on."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app import runs
from app.experiment import loading
from app.experiment.run_folder import JOURNAL
from app.run import store
from app.run.errors import DamagedError, JournalError
from app.run.journal import Journal
from app.run.journal_reader import read_events
from app.run.layout import EXPERIMENT
from app.run.record import Record
from app.run.repair import repair
from app.run.result_file import RESULT
from app.run.store import StoreError
from tests.support.outcomes import outcome

WARM = {
    "evaluated": [{"config": {"lr": 0.1}, "value": 0.5}],
    "points": [{"lr": 0.2}],
    "parents": [],
}


def begin_run(place: Path) -> Path:
    """A run of which the journal has an event of every kind."""
    folder = place / "r"
    folder.mkdir()
    table = loading.load(None, {"metric": "loss"}).as_json()
    (folder / EXPERIMENT).write_text(json.dumps(table))
    journal = Journal(folder, Record("r", "loss", "min", seed=0))
    journal.append("run", versions={"ray": "2"})
    journal.append("warm", **WARM)
    for trial_id, loss in (("001", 0.5), ("002", 0.25)):
        told = {"trial_id": trial_id}
        journal.append("trial", **told, config={"lr": 0.1, "batch_size": 64}, leg=1)
        for number in (1, 2):
            values = {"metrics": {"loss": loss / number}, "seconds": 1.0}
            checkpoint = f"tune/{trial_id}/checkpoint_{number:06}"
            journal.append("epoch", **told, epoch=number, checkpoint=checkpoint, **values)
        journal.append("restart", **told, node=None, reason="it was lost")
        journal.append("back", **told, epoch=1, reason="its checkpoint is gone")
        journal.append("end", **told, status="completed", error=None)
    of = {"trial_id": "002", "epoch": 1}
    journal.append("model", model="model", of=of, error=None, failed=False)
    journal.append("status", status="interrupted", reason="SIGINT")
    journal.close()
    return folder


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Such a run, to be copied."""
    return begin_run(tmp_path_factory.mktemp("sound"))


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    return copy_run(sound, tmp_path)


def copy_run(run: Path, place: Path) -> Path:
    return Path(shutil.copytree(run, place / "r"))


def lines(folder: Path) -> list[bytes]:
    return (folder / JOURNAL).read_bytes().splitlines(keepends=True)


def open_record(folder: Path) -> Record:
    journal = Journal(folder, Record("r", "loss", "min", seed=0), must_exist=True)
    journal.close()
    return journal.record


def paths(table: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Give the path of every value of a table, tables too."""
    items = table.items() if isinstance(table, dict) else enumerate(table)
    for key, value in items:
        yield (*before, key)
        if isinstance(value, dict | list):
            yield from paths(value, (*before, key))


LEFT_OUT = object()
OTHERS = st.sampled_from([LEFT_OUT, None, -1, 1.5, True, "x", [], [5], {}, {"a": []}, 1e400])


def change(table: Any, path: tuple[Any, ...], value: Any) -> None:
    for key in path[:-1]:
        table = table[key]
    if value is LEFT_OUT:
        del table[path[-1]]
    else:
        table[path[-1]] = value


@settings(
    max_examples=80, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_whatever_one_line_holds_each_command_says_one_sentence_or_does_its_work(
    sound: Path,
    tmp_path_factory: pytest.TempPathFactory,
    capsys: pytest.CaptureFixture[str],
    data: Any,
) -> None:
    folder = copy_run(sound, tmp_path_factory.mktemp("runs"))
    events = [json.loads(line) for line in lines(folder)]
    event = data.draw(st.sampled_from(events))
    change(event, data.draw(st.sampled_from(list(paths(event)))), data.draw(OTHERS))
    (folder / JOURNAL).write_text("".join(json.dumps(each) + "\n" for each in events))
    (folder / RESULT).unlink()
    check_commands(folder, capsys)
    with_way_on = r"; keep what can be read by: python -m app\.runs repair r"
    assert all(re.search(with_way_on, text) for text in refusals(lambda: store.read(folder)))
    repair(folder)
    assert store.read(folder).result["status"]
    assert repair(folder) == ([], None)


@settings(
    max_examples=60, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data(), st.sampled_from([RESULT, EXPERIMENT]))
def test_whatever_a_file_holds_each_command_says_one_sentence_or_does_its_work(
    sound: Path,
    tmp_path_factory: pytest.TempPathFactory,
    capsys: pytest.CaptureFixture[str],
    data: Any,
    name: str,
) -> None:
    folder = copy_run(sound, tmp_path_factory.mktemp("runs"))
    table = json.loads((folder / name).read_text())
    change(table, data.draw(st.sampled_from(list(paths(table)))), data.draw(OTHERS))
    (folder / name).write_text(json.dumps(table))
    (folder / JOURNAL).unlink()
    check_commands(folder, capsys)


def check_commands(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each command that reads the run ends in words, and the list names it in any case."""
    place = ("--runs", str(folder.parent))
    runs.main(["list", *place])
    assert "\nr " in capsys.readouterr().out
    for words in (["show", "r"], ["compare", "r", "r"], ["logs", "r", "1"]):
        told = refusals(lambda: runs.main([*words, *place]))  # noqa: B023
        assert all(re.match(r"error: \S", text) for text in told)


def refusals(act: Callable[[], object]) -> list[str]:
    """Give the message with which a call is refused."""
    try:
        act()
    except (SystemExit, StoreError) as error:
        return [str(error)]
    return []


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b'{"event":"epoch","trial_id":"001","run_seconds":1}', "epoch needs `epoch`"),
        (b'{"event":"end","trial_id":"007","status":"failed","run_seconds":1}', "is of trial 007"),
        (b'{"event":"model","model":5,"run_seconds":1}', "model.model cannot be 5"),
    ],
)
def test_a_line_that_is_not_whole_is_named(folder: Path, line: bytes, told: str) -> None:
    before = lines(folder)
    (folder / JOURNAL).write_bytes(b"".join([*before, line + b"\n"]))
    number = len(before) + 1
    with pytest.raises(DamagedError, match=rf"journal\.jsonl, line {number}: {re.escape(told)}"):
        open_record(folder)


def test_an_event_that_another_version_knows_is_passed_over(folder: Path) -> None:
    before = open_record(folder).as_json()
    party = b'{"event":"party","trial_id":"009"}\n'
    (folder / JOURNAL).write_bytes(party + b"".join(lines(folder)) + party)
    journal = Journal(folder, Record("r", "loss", "min", seed=0))
    journal.close()
    assert journal.record.as_json() == before
    assert journal.unknown_events == {"party": 2}
    assert "party" not in {event["event"] for event in read_events(folder / JOURNAL)}
    assert repair(folder) == ([], None)


def test_repair_drops_what_cannot_be_read_and_what_hangs_on_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = lines(folder)
    begins = next(at for at, line in enumerate(before) if b'"trial_id":"002"' in line)
    flipped = before[begins].replace(b'"config"', b'\xffconfig"', 1)
    (folder / JOURNAL).write_bytes(b"".join([*before[:begins], flipped, *before[begins + 1 :]]))
    damaged = (folder / JOURNAL).read_bytes()
    place = ("--runs", str(folder.parent))
    runs.main(["repair", "r", *place])
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith(f'dropped: line {begins + 1} is no event: b\'{{"event":"trial"')
    assert told[1:-1] == [
        f"dropped: line {begins + number} is of trial 002, which never began"
        for number in range(2, 7)
    ]
    assert told[-1] == f"the journal as it was: {folder}/journal.jsonl.damaged"
    assert (folder / "journal.jsonl.damaged").read_bytes() == damaged
    result = json.loads((folder / RESULT).read_text())
    assert [trial["trial_id"] for trial in result["trials"]] == ["001"]
    assert result["best"]["trial_id"] == "001"
    runs.main(["repair", "r", *place])
    assert capsys.readouterr().out == "r: its journal is sound; nothing was changed\n"


def test_a_run_in_hand_is_not_repaired(folder: Path) -> None:
    journal = Journal(folder, Record("r", "loss", "min", seed=0))
    with pytest.raises(JournalError, match=r"^r is being run by another process$"):
        repair(folder)
    journal.close()


def test_a_run_without_a_journal_is_not_repaired(tmp_path: Path) -> None:
    folder = outcome(tmp_path, status="completed", metric="loss", trials=[])
    table = loading.load(None, {"metric": "loss"}).as_json()
    (folder / EXPERIMENT).write_text(json.dumps(table))
    with pytest.raises(
        JournalError, match=r"^mnist: its journal is gone; put .*journal\.jsonl back"
    ):
        repair(folder)
