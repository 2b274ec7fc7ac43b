"""What is wrong in Ray's own Optuna searcher, shown there first, and right in ours.

These tests fail where a later Ray mends a defect: then our part of it can go.
"""

import math
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState
from ray import tune
from ray.tune.search.optuna import OptunaSearch

from app import experiment
from app.journal import Trial
from app.parameters import SpaceError
from app.search import SEARCHES
from app.searcher import TrialSearch, study_storage
from app.space import parse
from app.warmstart import Evaluated, WarmStart

X = {"type": "continuous", "low": 0.0, "high": 1.0}
TABLE = {
    "name": "q",
    "trainable": "mnist",
    "metric": "loss",
    "mode": "min",
    "space": {"x": X},
    "search": "random",
}


def plain(**changes: Any) -> Any:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space: dict[str, Any] = {"x": FloatDistribution(0.0, 1.0)}
    return OptunaSearch(space=space, metric="loss", mode="min", **changes)


def ours(*earlier: Trial, **changes: Any) -> Any:
    return TrialSearch(experiment.from_table(TABLE), SEARCHES["random"], earlier, **changes)


def reported(loss: float, epoch: int = 1) -> dict[str, float]:
    return {"loss": loss, "training_iteration": epoch}


def states(search: Any) -> list[TrialState]:
    return [trial.state for trial in search._ot_study.trials]


def test_a_trial_under_another_id_does_not_end_the_run() -> None:
    with pytest.raises(KeyError):
        plain().on_trial_result("anew", reported(0.5))
    ours().on_trial_result("anew", reported(0.5))


def test_b_the_success_of_a_trial_that_failed_before_is_learned() -> None:
    for search in (plain(), ours()):
        search.suggest("t")
        search.on_trial_complete("t", error=True)
        search.on_trial_result("t", reported(0.5))
        search.on_trial_complete("t", reported(0.5))
        search.on_trial_complete("t", reported(0.5))
        learned = [trial.value for trial in search._ot_study.trials if trial.value is not None]
        assert learned == ([0.5] if isinstance(search, TrialSearch) else [])


@pytest.mark.parametrize(
    ("loss", "told"), [(math.nan, TrialState.RUNNING), (math.inf, TrialState.COMPLETE)]
)
def test_c_what_is_no_number_is_a_failure(loss: float, told: TrialState) -> None:
    theirs, mine = plain(), ours()
    for search in (theirs, mine):
        search.suggest("t")
        search.on_trial_complete("t", reported(loss))
    assert (states(theirs), states(mine)) == ([told], [TrialState.FAIL])


def test_d_points_are_tried_whatever_their_parameters_are_called() -> None:
    # Theirs ignores a nested point; ours are flat, and a name may look like a path.
    table = {**TABLE, "space": {"optimizer/lr": X}, "search": "bayesian"}
    search = TrialSearch(experiment.from_table(table), SEARCHES["bayesian"], ())
    assert search.suggest("t")["optimizer/lr"] == 0.5


def test_e_points_that_were_evaluated_are_learned_whatever_their_parameters_are_called() -> None:
    nested: Any = {"optimizer": {"lr": tune.uniform(0.0, 1.0)}}
    point, loss = {"optimizer": {"lr": 0.25}}, 0.5
    known: dict[str, Any] = {"points_to_evaluate": [point], "evaluated_rewards": [loss]}
    with pytest.raises(ValueError, match="Inconsistent parameters"):
        OptunaSearch(space=nested, metric="loss", mode="min", **known)
    table = {**TABLE, "space": {"optimizer/lr": X}}
    warm = WarmStart(evaluated=(Evaluated({"optimizer/lr": 0.25}, loss),))
    search: Any = TrialSearch(experiment.from_table(table), SEARCHES["random"], (), warm)
    (learned,) = search._ot_study.trials
    assert (learned.params, learned.value) == ({"optimizer/lr": 0.25}, loss)


def test_f_a_step_on_a_log_scale_is_refused_before_anything_starts() -> None:
    with pytest.raises(
        SpaceError, match=r"^space\.n\.step: needs at least 1, and 1 on a log scale"
    ):
        parse({"n": {"type": "integer", "low": 1, "high": 64, "scale": "log", "step": 2}})


def test_g_a_trial_that_was_stopped_is_known_by_its_best_value() -> None:
    theirs, mine = plain(), ours()
    for search in (theirs, mine):
        search.suggest("t")
        search.on_trial_result("t", reported(0.2))
        search.on_trial_result("t", reported(0.4, epoch=2))
        search.on_trial_complete("t", reported(0.4, epoch=2))
    assert [each._ot_study.trials[0].value for each in (theirs, mine)] == [0.4, 0.2]


def test_h_what_a_crash_left_running_is_not_there_after_it(tmp_path: Path) -> None:
    kept = InMemoryStorage()
    plain(storage=kept, study_name="q").suggest("t")
    assert states(plain(storage=kept, study_name="q")) == [TrialState.RUNNING]
    path = tmp_path / "study.log"
    ours(storage=study_storage(path)).suggest("t")
    assert states(ours(storage=study_storage(path))) == []


def test_i_points_are_not_queued_again_when_a_run_is_resumed(tmp_path: Path) -> None:
    kept = InMemoryStorage()
    for _ in range(2):
        theirs = plain(storage=kept, study_name="q", points_to_evaluate=[{"x": 0.5}])
    assert states(theirs) == [TrialState.WAITING, TrialState.WAITING]
    table = {**TABLE, "search": "bayesian"}
    done = Trial("001", {"x": 0.5}, "completed", [reported(0.1) | {"epoch": 1}])
    done.best_epoch = done.history[0]
    mine = TrialSearch(experiment.from_table(table), SEARCHES["bayesian"], (done,))
    assert mine.suggest("t")["x"] == 0.75


def test_j_the_study_knows_the_trials_of_the_run() -> None:
    theirs, mine = plain(), ours()
    for search in (theirs, mine):
        search.suggest("t")
    attributes = [each._ot_study.trials[0].user_attrs for each in (theirs, mine)]
    assert attributes == [{}, {"trial_id": "001", "tune_trial_id": "t"}]
