"""One leg of a search: Ray's `Tuner`, built over what the journal says is left, and run."""

import os
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune import Trainable
from ray.tune.experiment import Trial as TuneTrial

from app.bookkeeping import LOST_PROCESSES, Bookkeeper
from app.cluster import Resources, signals_kept
from app.experiment import Experiment
from app.search import CONTROL, SEARCHES
from app.searcher import TrialSearch
from app.stopping import RULES
from app.worker import supervised

FOLDER = "tune"
"""Ray Tune's own folder within a run's."""


def search(
    experiment: Experiment,
    share: Resources,
    trainable: type[Trainable],
    shared: Mapping[str, Any],
    keeper: Bookkeeper,
) -> None:
    """Run the trials that are left; the keeper's journal says how they went."""
    earlier = keeper.journal.record.in_order()
    left = experiment.num_samples - sum(trial.is_finished for trial in earlier)
    if left < 1:
        return
    tuner = tune.Tuner(
        _trainable(experiment, share, trainable, shared, keeper.journal.folder),
        tune_config=tune.TuneConfig(
            metric=experiment.metric,
            mode=experiment.mode,
            num_samples=left,
            max_concurrent_trials=experiment.max_concurrent,
            search_alg=TrialSearch(experiment, SEARCHES[experiment.search], earlier),
            scheduler=RULES[experiment.early_stopping](experiment.epochs),
            # A class that can be reset saves its next trial five seconds of imports.
            reuse_actors=trainable.reset_config is not Trainable.reset_config,
            trial_dirname_creator=_dirname,
        ),
        run_config=tune.RunConfig(
            name=FOLDER,
            storage_path=str(keeper.journal.folder),
            stop={"training_iteration": experiment.epochs},
            checkpoint_config=tune.CheckpointConfig(
                checkpoint_frequency=1, checkpoint_at_end=False
            ),
            failure_config=tune.FailureConfig(max_failures=LOST_PROCESSES),
            callbacks=[keeper],
            verbose=0,
        ),
    )
    # Tune prints a table of its own even when told not to; stdout is for results.
    with signals_kept(), Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        tuner.fit()


def _trainable(
    experiment: Experiment,
    share: Resources,
    trainable: type[Trainable],
    shared: Mapping[str, Any],
    folder: Path,
) -> Any:
    """The trainable under our control, with its data and what it may use."""
    controlled = supervised(trainable, experiment.metric, folder)
    with_data = tune.with_parameters(controlled, **shared)
    return tune.with_resources(with_data, {"CPU": share.cpus, "GPU": share.gpus})


def _dirname(trial: TuneTrial) -> str:
    """A folder for each leg of a trial, so that none writes over another's checkpoints."""
    control = trial.config[CONTROL]
    return str(control["trial_id"]) + ("" if control["leg"] == 1 else f".{control['leg']}")
