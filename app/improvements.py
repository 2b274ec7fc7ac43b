"""The best model so far, exported while the search goes on, for whoever follows the run."""

import os
import secrets
import shutil
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from app import collected
from app.experiment import Experiment, ExperimentError
from app.journal import PARTIAL, Journal, Trial
from app.places import PlaceError
from serve.manifest import ArtifactError
from trainables.contract import TrainableError

if TYPE_CHECKING:
    from ray.tune import Trainable

Best = tuple[str, int]
"""What is best: a trial, and its epoch."""


@dataclass(frozen=True)
class _Job:
    best: Best
    export: Callable[[], object]
    forget: Callable[[], None]


class Improvements:
    """Exports the best model whenever it improves: one at a time, of those that wait the latest.

    A thread exports; everything else is for the thread of the search.
    """

    def __init__(
        self,
        journal: Journal,
        experiment: Experiment,
        trainable: "type[Trainable]",
        shared: Mapping[str, Any],
        model: str,
        wait_for: Callable[[str], None],
    ) -> None:
        """Export to the folder `model` of the run; a script's, once `wait_for` says it is whole."""
        if experiment.script is None and not hasattr(trainable, "model"):
            raise ExperimentError(
                f"--export-best: {experiment.trainable} has no model(): there is nothing to export"
            )
        self._journal = journal
        self._experiment = experiment
        self._trainable = trainable
        self._shared = shared
        self._model = model
        self._wait_for = wait_for
        self._lock = threading.Lock()
        self._waiting: _Job | None = None
        self._working = False
        self._at_work: Future[None] | None = None
        self._asked: Best | None = None
        self._news: list[str] = []
        self.exported: Best | None = None
        """What the run's model is, where this made it."""

    def heard(self, event: str, background: ThreadPoolExecutor, say: Callable[[str], None]) -> None:
        """After an event of a trial: ask for the best model, if it is better than before."""
        self._tell(say)
        from app.export import ExportError

        best, of_script = self._journal.record.best, self._experiment.script is not None
        # A script's model is there once it has ended, any other's after each epoch.
        if best is None or event not in ("epoch", "end") or (of_script and not best.is_finished):
            return
        now = best_of(best)
        if now == self._asked:
            return
        self._asked = now
        try:
            job = self._script_job(best) if of_script else self._trainable_job(best)
        except (ExportError, PlaceError, OSError) as error:
            say(f"trial {now[0]} at epoch {now[1]} is not exported: {error}")
            return
        with self._lock:
            replaced, self._waiting = self._waiting, job
            if not self._working:
                self._working = True
                self._at_work = background.submit(self._work)
        if replaced is not None:
            replaced.forget()

    def finish(self, say: Callable[[str], None]) -> None:
        """Wait for what is being exported; what waits is not begun."""
        with self._lock:
            waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.forget()
        if self._at_work is not None:
            self._at_work.result()
        self._tell(say)

    def _tell(self, say: Callable[[str], None]) -> None:
        with self._lock:
            news, self._news = self._news, []
        for line in news:
            say(line)
        if self.exported is not None and self._journal.record.model is None:
            self._journal.append("model", model=self._model)

    def _work(self) -> None:
        """Export what waits, until nothing does."""
        from app.export import ExportError

        while True:
            with self._lock:
                job, self._waiting = self._waiting, None
                self._working = job is not None
            if job is None:
                return
            trial_id, epoch = job.best
            try:
                job.export()
                self.exported = job.best
                news = f"exported trial {trial_id} at epoch {epoch}, the best so far"
            except (ExportError, PlaceError, TrainableError, ArtifactError, OSError) as error:
                news = f"trial {trial_id} at epoch {epoch} is not exported: {error}"
            finally:
                job.forget()
            with self._lock:
                self._news.append(news)

    def _script_job(self, trial: Trial) -> _Job:
        folder = self._journal.folder
        kept = replace(trial)

        def export() -> None:
            self._wait_for(kept.trial_id)
            collected.export(folder, self._experiment, kept, folder / self._model)

        return _Job(best_of(trial), export, lambda: None)

    def _trainable_job(self, trial: Trial) -> _Job:
        from app.export import best_source, export

        folder = self._journal.folder
        source = best_source(folder, self._experiment, self._trainable, self._shared, trial)
        # The search removes a checkpoint once a better one is there.
        copy = folder / f".{secrets.token_hex(4)}{PARTIAL}"
        shutil.copytree(source.checkpoint, copy, copy_function=_linked)
        kept = replace(source, trial=replace(trial), checkpoint=copy)
        return _Job(
            best_of(trial),
            lambda: export(kept, folder / self._model),
            lambda: shutil.rmtree(copy, ignore_errors=True),
        )


def best_of(trial: Trial) -> Best:
    """What of a trial counts."""
    assert trial.best_epoch is not None  # a best trial has one
    return trial.trial_id, trial.best_epoch["epoch"]


def _linked(source: str, target: str) -> None:
    """A second name for a file, which nobody changes; a copy where the disk knows no such names."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
