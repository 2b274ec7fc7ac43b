"""One attempt at a search: Ray's `Tuner` over the trials that the journal says are left."""

import errno
import logging
import os
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from ray import tune
from ray.air.constants import TRAINING_ITERATION
from ray.tune import Trainable
from ray.tune.experiment import Trial as TuneTrial

from app.cluster import failures
from app.cluster.orphaned_groups import OrphanedGroups
from app.cluster.resources import Resources
from app.cluster.signals import handlers_restored
from app.engine.journal_callback import JournalCallback
from app.engine.trial_actor import STORAGE, Terms, trial_actor
from app.experiment.result_keys import CONTROL
from app.experiment.schema import Experiment
from app.run.errors import JournalError
from app.run.journal import Journal
from app.run.layout import STOP, STUDY, TUNE
from app.run.status import RunStatus, TrialStatus
from app.search.resumed_scheduler import ResumedScheduler
from app.search.schedulers import SCHEDULERS
from app.search.searcher import JournalSearcher
from app.search.stoppers import Ending, apply_stoppers
from app.search.study_log import StudyLog
from app.search.warm_start import WarmStart
from trainables.errors.disk_full import FULL, find_disk_full

BESIDE_WORKERS = {"memory": 1.0}
"""Resources of a trial beside its workers, which are Ray Train's: a byte, since Ray places nothing
that asks for nothing. A share of a CPU would take a worker's place."""
UNWRITABLE = (*FULL, errno.EIO, errno.EROFS, errno.ESTALE)
"""Errors of a file system that cannot be written, full or not."""


def search(
    experiment: Experiment,
    share: Resources,
    trainable: type[Trainable],
    shared: Mapping[str, Any],
    callback: JournalCallback,
) -> Ending | None:
    """Run the trials that are left; the callback writes to the journal how they go.

    Args:
        experiment: The run's.
        share: The resources of each worker.
        trainable: The class that trains.
        shared: Data that all trials share, by name.
        callback: Writes to the run's journal.

    Returns:
        What ended the run before all trials had ended; None if nothing did.

    Raises:
        JournalError: The run's folder cannot be written.
    """
    journal = callback.journal
    earlier = journal.record.in_order()
    left = experiment.num_samples - sum(trial.is_finished for trial in earlier)
    stopper = _Stopper(experiment, journal)
    warm = journal.record.warm
    warm_start = None if warm is None else WarmStart.from_json(warm)
    searcher = JournalSearcher(experiment, journal.record, warm_start)
    study = StudyLog(journal.folder / STUDY, experiment, journal.record).on_event
    journal.observers.append(study)
    if left < 1 or stopper.stop_all() or searcher.is_over:
        return _with_trials_ended(stopper.ending or searcher.ending, journal)
    stopping = experiment.early_stopping
    is_train = _is_train(experiment, share)
    tuner = tune.Tuner(
        _trainable(experiment, share, trainable, shared, callback),
        tune_config=tune.TuneConfig(
            metric=experiment.metric,
            mode=experiment.mode,
            num_samples=left,
            # Groups of workers beyond those that fit would wait for each other.
            max_concurrent_trials=share.at_once if is_train else experiment.max_concurrent,
            search_alg=searcher,
            scheduler=ResumedScheduler(
                SCHEDULERS[stopping.name](**stopping.settings), journal.record
            ),
            # A class that can be reset saves its next trial five seconds of imports.
            reuse_actors=not is_train and trainable.reset_config is not Trainable.reset_config,
            trial_dirname_creator=_dirname,
        ),
        run_config=tune.RunConfig(
            name=TUNE,
            storage_path=str(journal.folder),
            stop=stopper,
            checkpoint_config=tune.CheckpointConfig(
                checkpoint_frequency=1, checkpoint_at_end=False
            ),
            failure_config=tune.FailureConfig(max_failures=callback.retries),
            callbacks=[callback, OrphanedGroups()] if is_train else [callback],
            verbose=0,
        ),
    )
    # The callback says which trials fail, and why, as it happens.
    logging.getLogger("ray.tune.tune").setLevel(logging.CRITICAL)
    # Tune prints a table of its own, whatever its settings say.
    with (
        handlers_restored(),
        failures.controller_replaced(),
        Path(os.devnull).open("w") as nowhere,
        redirect_stdout(nowhere),
    ):
        try:
            tuner.fit()
        except Exception as error:
            callback.raise_kept()
            journal.check()  # all that Tune raises may come of a folder that is gone
            if isinstance(error, OSError) and error.errno in UNWRITABLE:
                raise JournalError(f"cannot write {journal.folder}: {error.strerror}") from error
            full = find_disk_full(error, journal.folder)
            if full is None:
                raise
            raise JournalError(f"cannot write {full}") from error
    callback.raise_kept()
    return _with_trials_ended(stopper.ending or searcher.ending, journal)


def _with_trials_ended(ending: Ending | None, journal: Journal) -> Ending | None:
    """End the trials in training where the run is complete; those of a stopped run can go on."""
    if ending is not None and ending.status == RunStatus.COMPLETED:
        for trial in journal.record.in_order():
            if not trial.is_finished:
                journal.append(
                    "end", trial_id=trial.trial_id, status=TrialStatus.STOPPED, error=None
                )
    return ending


class _Stopper(tune.Stopper):
    """Ends a trial after its epochs, and the run on a stopper's or a user's request."""

    def __init__(self, experiment: Experiment, journal: Journal) -> None:
        self.experiment = experiment
        self.journal = journal
        self.ending: Ending | None = None

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles it beside its state; the journal is what a run resumes from.
        return {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        last = self.experiment.kind.last_epoch
        return last is not None and bool(result[TRAINING_ITERATION] >= last)

    def stop_all(self) -> bool:
        journal = self.journal
        if self.ending is None and (journal.folder / STOP).exists():
            self.ending = Ending(RunStatus.STOPPED, "by app.runs stop")
        if self.ending is None:
            self.ending = apply_stoppers(self.experiment, journal.record, journal.seconds)
        return self.ending is not None


def _trainable(
    experiment: Experiment,
    share: Resources,
    trainable: type[Trainable],
    shared: Mapping[str, Any],
    callback: JournalCallback,
) -> Any:
    """Make the class that Ray starts, with the data that trials share and their resources."""
    terms = Terms(
        experiment.metric,
        callback.journal.folder,
        logged=True,
        retried=bool(experiment.retries),
        step_timeout=experiment.step_timeout,
    )
    is_train = _is_train(experiment, share)
    if is_train:
        from trainables.train.trainable import train_trials

        trainable = train_trials(trainable, workers=share.workers, cpus=share.cpus, gpus=share.gpus)
    storage = callback.recovery.storage
    if not storage.is_shared:
        # Not in the terms, which Tune writes beside its state: a storage may hold keys.
        shared = {**shared, STORAGE: storage}
    with_data = tune.with_parameters(trial_actor(trainable, terms), **shared)
    with_resources = tune.with_resources(with_data, _resources(share, is_train=is_train))
    # Ray's dashboard shows this, which is with_resources.<locals>.ResourceTrainable as it comes.
    with_resources.__name__ = with_resources.__qualname__ = trainable.__name__
    return with_resources


def _resources(share: Resources, *, is_train: bool) -> Any:
    """Return what Ray gives a trial, in Tune's form."""
    worker = {"CPU": share.cpus, "GPU": share.gpus}
    if is_train:
        return tune.PlacementGroupFactory([BESIDE_WORKERS])
    if share.workers == 1:
        return worker
    # Ray gives a trial the bundles of all its workers or none: trials cannot wait for each other.
    return tune.PlacementGroupFactory([worker] * share.workers)


def _is_train(experiment: Experiment, share: Resources) -> bool:
    """Whether Ray Train runs the trials."""
    return share.workers > 1 and experiment.kind.is_ray_train


def _dirname(trial: TuneTrial) -> str:
    """Name a folder for each attempt at a trial: none overwrites another's checkpoints."""
    control = trial.config[CONTROL]
    return str(control["trial_id"]) + ("" if control["attempt"] == 1 else f".{control['attempt']}")
