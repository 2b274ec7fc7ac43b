"""Early stopping in a resumed run."""

from dataclasses import dataclass
from typing import Any

import pytest
from ray.air.constants import TRAINING_ITERATION
from ray.tune.schedulers import TrialScheduler

from app.experiment.result_keys import CONTROL
from app.run.record import Record
from app.run.status import TrialStatus
from app.run.trial import Epoch
from app.search.resumed_scheduler import ResumedScheduler
from app.search.schedulers import SCHEDULERS

EPOCHS = 4


def record_of(*finals: float) -> Record:
    """A record of trials whose losses fall to these."""
    record = Record("q", "loss", "min", 0)
    events: list[dict[str, Any]] = [{"event": "run", "versions": {}, "run_seconds": 0.0}]
    for number, final in enumerate(finals, 1):
        name = f"{number:03d}"
        started = {"event": "trial", "trial_id": name, "config": {}, "leg": 1}
        events.append({**started, "run_seconds": 1.0})
        for epoch in range(1, EPOCHS + 1):
            events.append(
                {
                    "event": "epoch",
                    "trial_id": name,
                    "epoch": epoch,
                    "metrics": {"loss": final + 1 / epoch},
                    "seconds": 1.0,
                    "run_seconds": 1.0,
                    "checkpoint": None,
                }
            )
    for event in events:
        record.apply(event)
    return record


@pytest.mark.parametrize("rule", ["median", "asha"])
def test_a_resumed_run_compares_with_trials_trained_before(rule: str) -> None:
    record = record_of(0.0, 0.1, 0.2, 0.3, 0.05)
    for trial in list(record.trials.values())[:4]:
        trial.status = TrialStatus.COMPLETED
    record.trials["005"].history = record.trials["005"].history[:1]

    def decision(trial_id: str, epoch: int, loss: float) -> str:
        scheduler = ResumedScheduler(SCHEDULERS[rule](), record)
        scheduler.set_search_properties("loss", "min")
        trial: Any = FakeTrial(f"tune-{trial_id}", {CONTROL: {"trial_id": trial_id}})
        scheduler.on_trial_add(None, trial)
        return scheduler.on_trial_result(None, trial, {TRAINING_ITERATION: epoch, "loss": loss})

    assert decision("006", 1, 9.0) == TrialScheduler.STOP
    assert decision("006", 1, 1.0) == TrialScheduler.CONTINUE
    # The fifth trial was interrupted after a good epoch, which still counts.
    assert decision("005", 2, 0.5) == TrialScheduler.CONTINUE
    record.trials["005"].history[0] = Epoch(1, {"loss": 9.0})
    assert decision("005", 2, 9.0) == TrialScheduler.STOP


@dataclass(frozen=True)
class FakeTrial:
    """One of Tune's trials, as far as schedulers read it."""

    trial_id: str
    config: dict[str, Any]

    def __hash__(self) -> int:
        return hash(self.trial_id)
