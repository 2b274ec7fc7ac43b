"""The record of a run: what the events of its journal add up to."""

from pathlib import Path

import pytest

from app.run.journal import Journal
from app.run.record import Record
from tests.support.journals import VERSIONS, end, epoch, result, start


def test_losses_are_told_by_trial_and_by_node(journal: Journal, tmp_path: Path) -> None:
    journal.append("run", versions=VERSIONS)
    for trial_id, node in (("001", "n1"), ("002", None), ("002", "n1")):
        start(journal, trial_id, x=1)
        journal.append("restart", trial_id=trial_id, node=node, reason="gone")
    found = result(tmp_path)
    assert found["lost_nodes"] == {"n1": ["001", "002"]}
    assert [trial["restarts"] for trial in found["trials"]] == [1, 2]
    assert journal.record.trials["002"].lost_nodes == 1


def test_a_node_that_was_lost_between_trials_is_told_once(journal: Journal, tmp_path: Path) -> None:
    journal.append("node", node="n2")
    start(journal, "001", x=1)
    journal.append("restart", trial_id="001", node="n1", reason="gone")
    journal.append("node", node="n1")
    assert result(tmp_path)["lost_nodes"] == {"n2": [], "n1": ["001"]}


def test_of_equal_trials_the_first_is_best_whichever_was_told_of_first(journal: Journal) -> None:
    for trial_id in ("002", "001"):
        start(journal, trial_id)
        epoch(journal, trial_id, 1, 0.5)
    best = journal.record.best
    assert best is not None
    assert best.trial_id == "001"


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
    assert [(epoch.number, epoch.metrics["loss"]) for epoch in history] == [(1, 0.5), (2, 0.6)]


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


def test_a_run_that_ends_leaves_no_trial_running(journal: Journal, tmp_path: Path) -> None:
    start(journal, "001")
    journal.append("status", status="interrupted", reason="SIGINT")
    found = result(tmp_path)
    assert (found["status"], found["reason"]) == ("interrupted", "SIGINT")
    assert found["trials"][0]["status"] == "interrupted"


def test_a_best_epoch_that_is_forgotten_gives_way_to_the_best_before(journal: Journal) -> None:
    start(journal, "001")
    for number, loss in ((1, 0.5), (2, 0.4), (3, 0.1), (4, 0.6), (3, 0.7)):
        epoch(journal, "001", number, loss)
    best = journal.record.trials["001"].best_epoch
    assert best is not None
    assert (best.number, best.metrics["loss"]) == (2, 0.4)
