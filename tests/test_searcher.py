"""What the searcher suggests, first and after an interrupt; no Ray is started."""

import math
from collections.abc import Sequence
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from app import experiment
from app.experiment import Experiment
from app.journal import Trial
from app.search import CONTROL, FAILURE, SEARCHES
from app.searcher import TrialSearch, study_storage

TABLE = {
    "name": "q",
    "trainable": "mnist",
    "metric": "loss",
    "mode": "min",
    "space": {"x": {"type": "continuous", "low": 0.0, "high": 1.0}},
}


def asked(**changes: object) -> Experiment:
    return experiment.from_table({**TABLE, **changes})


def searching(earlier: Sequence[Trial] = (), *, search: str = "random") -> TrialSearch:
    return TrialSearch(asked(search=search), SEARCHES[search], earlier)


def ended(trial_id: str, x: float, status: str = "completed") -> Trial:
    if status != "completed":
        return Trial(trial_id, {"x": x}, status=status)
    epoch = {"epoch": 1, "loss": x}
    return Trial(trial_id, {"x": x}, status=status, history=[epoch], best_epoch=epoch)


def test_interrupted_trials_keep_their_numbers_and_gaps_are_filled() -> None:
    straight = [searching().suggest(f"t{n}") for n in range(1)]
    interrupted = Trial(
        "002",
        {"x": 0.25},
        status="interrupted",
        history=[{"epoch": 1, "loss": 0.5}],
        checkpoints={1: "tune/002/c"},
        legs=1,
    )
    search = searching([interrupted, ended("003", 0.75)])
    suggested = [search.suggest(f"t{number}") for number in range(3)]
    assert [config[CONTROL]["trial_id"] for config in suggested] == ["001", "002", "004"]
    assert suggested[0] == straight[0]
    assert suggested[1]["x"] == 0.25
    assert suggested[1][CONTROL] == {
        "trial_id": "002",
        "checkpoints": [(1, "tune/002/c")],
        "leg": 2,
    }


@pytest.mark.parametrize(
    ("value", "mode", "told"),
    [("best", "min", 0.1), ("best", "max", 0.5), ("last", "min", 0.3), ("first", "max", 0.4)],
)
def test_the_study_is_told_the_value_that_counts(value: str, mode: str, told: float) -> None:
    script = {"entry_point": "/x.py", "value": value}
    own = asked(trainable="script", script=script, mode=mode, search="random")
    search = TrialSearch(own, SEARCHES["random"], ())
    config = search.suggest("t0")
    assert config["seed"] == 0
    for number, loss in enumerate((0.4, 0.5, 0.1, 0.3), 1):
        search.on_trial_result("t0", {"loss": loss, "training_iteration": number})
    search.on_trial_complete("t0", {"loss": 0.3, "training_iteration": 4})
    (trial,) = search._study.trials
    assert trial.value == told


def test_a_script_may_have_a_seed_of_its_own() -> None:
    own = asked(trainable="script", script={"entry_point": "/x.py"}, fixed={"seed": 7})
    assert TrialSearch(own, SEARCHES["random"], ()).suggest("t0")["seed"] == 7


def test_a_resumed_search_proposes_what_it_would_have_proposed() -> None:
    whole = searching(search="bayesian")
    told = []
    for number in range(5):
        config = whole.suggest(f"t{number}")
        whole.on_trial_complete(f"t{number}", {"loss": config["x"], "training_iteration": 1})
        told.append(ended(f"{number + 1:03d}", config["x"]))
    resumed = searching(told, search="bayesian")
    assert resumed.suggest("again")["x"] == whole.suggest("t5")["x"]


def test_what_an_interrupted_trial_reported_before_still_counts() -> None:
    history = [{"epoch": 1, "loss": 0.2}, {"epoch": 2, "loss": 0.5}]
    search = searching([Trial("001", {"x": 0.25}, status="interrupted", history=history)])
    search.suggest("t")
    search.on_trial_result("t", {"loss": 0.4, "training_iteration": 3})
    search.on_trial_complete("t", {"loss": 0.4, "training_iteration": 3})
    (trial,) = search._study.trials
    assert trial.value == 0.2
    assert trial.intermediate_values == {1: 0.2, 2: 0.5, 3: 0.4}


def test_what_an_attempt_reported_that_was_thrown_away_does_not_count() -> None:
    search = searching()
    search.suggest("t")
    # Its process is lost after the second epoch, and a script without checkpoints begins again.
    for epoch, loss in ((1, 0.9), (2, 0.1), (1, 0.8), (2, 0.5)):
        search.on_trial_result("t", {"loss": loss, "training_iteration": epoch})
    search.on_trial_complete("t", {"loss": 0.5, "training_iteration": 2})
    (trial,) = search._study.trials
    assert trial.value == 0.5
    assert trial.intermediate_values == {1: 0.8, 2: 0.5}


@pytest.mark.parametrize(
    "result",
    [
        {"loss": math.nan},
        {"loss": math.inf},
        {"loss": 0.5, "training_iteration": 1, FAILURE: "no"},
        None,
    ],
)
def test_what_gave_no_value_is_a_failed_trial_and_not_one_that_runs_on(
    result: dict[str, object] | None,
) -> None:
    search = searching()
    search.suggest("t")
    search.on_trial_complete("t", result)
    assert [trial.state for trial in search._study.trials] == [TrialState.FAIL]


def test_a_trial_is_told_by_its_best_value() -> None:
    search = searching()
    search.suggest("t")
    for epoch, loss in enumerate((0.5, 0.2, 0.4), 1):
        search.on_trial_result("t", {"loss": loss, "training_iteration": epoch})
    search.on_trial_complete("t", {"loss": 0.4, "training_iteration": 3})
    search.on_trial_complete("t", {"loss": 0.1, "training_iteration": 4})  # told once
    assert [trial.value for trial in search._study.trials] == [0.2]


def test_the_study_in_a_file_is_what_optuna_dashboard_reads(tmp_path: Path) -> None:
    path = tmp_path / "study.log"
    path.write_text("what an earlier leg left")
    told = [ended("001", 0.25), ended("002", 0.5, "failed")]
    search = TrialSearch(asked(), SEARCHES["random"], told, storage=study_storage(path))
    search.suggest("tune-id")
    search.on_trial_result("tune-id", {"loss": 0.75, "training_iteration": 1})
    storage = JournalStorage(JournalFileBackend(str(path)))
    study = optuna.load_study(study_name="q", storage=storage)
    assert [trial.state for trial in study.trials] == [
        TrialState.COMPLETE,
        TrialState.FAIL,
        TrialState.RUNNING,
    ]
    assert study.trials[0].intermediate_values == {1: 0.25}
    assert study.trials[2].intermediate_values == {1: 0.75}
    assert study.trials[2].user_attrs == {"trial_id": "003", "tune_trial_id": "tune-id"}
