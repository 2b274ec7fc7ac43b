"""Exports while the search goes on: the first checkpoint as a rehearsal, or the best model so far.

The search never pays for them: whatever a user's code raises there becomes a line.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from app.export import script_model
from app.export.run_model import MODEL, Made, Maker
from app.export.trial_source import Source, apart, first_source
from app.export.user_errors import ExportError, told
from app.run.journal import Trial
from app.storage.remote_folder import PlaceError
from serve.models.manifest import ArtifactError
from trainables.contract import TrainableError

Best = tuple[str, int]
"""What is best: a trial, and its epoch."""


@dataclass(frozen=True)
class _Job:
    best: Best
    export: Callable[[], Made]
    forget: Callable[[], None]


class Rehearsal:
    """Exports the first checkpoint of any trial, and says at once where that fails.

    Nothing is kept of it but what Python has imported, so that the true export is quick.
    """

    def __init__(self, maker: Maker) -> None:
        self._maker = maker
        self._has_checkpoint = False
        self._is_refused = False
        self._at_work: Future[None] | None = None

    def begin(self, background: ThreadPoolExecutor, say: Callable[[str], None]) -> None:
        """Run a network that has learned nothing, which shows what is wrong with any batch."""
        maker = self._maker
        if not maker.gives_models:
            return
        folder = maker.journal.folder
        source = first_source(folder, maker.experiment, maker.trainable, maker.shared)
        with suppress(OSError):  # What cannot be written here, the search will tell.
            kept, forget = apart(source)
            self._at_work = background.submit(self._try, kept, forget, say)

    def heard(
        self, event: str, trial: Trial, background: ThreadPoolExecutor, say: Callable[[str], None]
    ) -> None:
        """After an event of a trial: export, if it is the first that left a checkpoint."""
        if event != "epoch" or self._has_checkpoint or not self._maker.gives_models:
            return
        try:
            kept, forget = apart(self._maker.source(trial))
        except (ExportError, PlaceError, OSError):
            return  # Another epoch may have one.
        self._has_checkpoint = True
        self._at_work = background.submit(self._export, kept, forget, say)

    def finish(self) -> None:
        """Wait for its end."""
        if self._at_work is not None:
            wait([self._at_work])

    def _try(self, source: Source, forget: Callable[[], None], say: Callable[[str], None]) -> None:
        from app.export.network import NetworkError
        from app.export.onnx_model import try_network

        try:
            with _one_thread():
                try_network(source)
        except NetworkError as error:
            self._is_refused = True
            say(f"no trial can be exported: {error}; the search goes on")
        except BaseException:
            return  # It may have to be trained first: its first checkpoint tells.
        finally:
            forget()

    def _export(
        self, source: Source, forget: Callable[[], None], say: Callable[[str], None]
    ) -> None:
        from app.export.onnx_model import rehearse

        try:
            if not self._is_refused:
                with _one_thread():
                    rehearse(source)
        except BaseException as error:
            trial = f"trial {source.trial.trial_id} after epoch {source.epoch['epoch']}"
            say(f"{trial} cannot be exported: {_sentence(error)}; the search goes on")
        finally:
            forget()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let PyTorch compute with one thread: the trials need the others."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _sentence(error: BaseException) -> str:
    """Why an export failed; what is none of the known mistakes is told with its class."""
    known = (ExportError, PlaceError, TrainableError, ArtifactError, OSError)
    return str(error) if isinstance(error, known) else told(error)


class Improvements:
    """Exports the best model whenever it improves: one at a time, of those that wait the latest.

    A thread exports; everything else is for the thread of the search.
    """

    def __init__(self, maker: Maker, wait_for: Callable[[str], None]) -> None:
        """Export to the run's own model; a script's, once `wait_for` says that it is whole."""
        self._maker = maker
        self._folder = maker.journal.folder / MODEL
        self._wait_for = wait_for
        self._lock = threading.Lock()
        self._waiting: _Job | None = None
        self._working = False
        self._at_work: Future[None] | None = None
        self._asked: Best | None = None
        self._news: list[str] = []
        self._made: Made | None = None
        self._told: Made | None = None
        self.exported: Best | None = None
        """What the run's model is, where this made it."""

    def heard(self, event: str, background: ThreadPoolExecutor, say: Callable[[str], None]) -> None:
        """After an event of a trial: ask for the best model, if it is better than before."""
        self._tell(say)
        best = self._maker.journal.record.best
        of_script = self._maker.experiment.script is not None
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

    def finish(self, say: Callable[[str], None], timeout_s: float | None = None) -> None:
        """Wait for what is being exported, which raises nothing; what waits is not begun.

        What takes longer than `timeout_s` is left to itself.
        """
        with self._lock:
            waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.forget()
        if self._at_work is not None:
            wait([self._at_work], timeout_s)
        self._tell(say)

    def _tell(self, say: Callable[[str], None]) -> None:
        with self._lock:
            news, self._news = self._news, []
        for line in news:
            say(line)
        if self._made is not None and self._made != self._told:
            self._told = self._made
            for remark in self._told.remarks:
                say(f"trial {self._told.trial_id}: {remark}")
            self._maker.keep(self._told)

    def _work(self) -> None:
        """Export what waits, until nothing does."""
        while True:
            with self._lock:
                job, self._waiting = self._waiting, None
                self._working = job is not None
            if job is None:
                return
            trial_id, epoch = job.best
            try:
                self._made = job.export()
                self.exported = job.best
                news = f"exported trial {trial_id} at epoch {epoch}, the best so far"
            except BaseException as error:
                news = f"trial {trial_id} at epoch {epoch} is not exported: {_sentence(error)}"
            finally:
                job.forget()
            with self._lock:
                self._news.append(news)

    def _script_job(self, trial: Trial) -> _Job:
        run, kept = self._maker.journal.folder, replace(trial)

        def export() -> Made:
            self._wait_for(kept.trial_id)
            epoch = script_model.export(run, self._maker.experiment, kept, self._folder)
            return Made(kept.trial_id, epoch)

        return _Job(best_of(trial), export, lambda: None)

    def _trainable_job(self, trial: Trial) -> _Job:
        from app.export.onnx_model import export

        kept, forget = apart(self._maker.source(trial))

        def make() -> Made:
            exported = export(kept, self._folder)
            return Made(kept.trial.trial_id, kept.epoch["epoch"], exported.remarks)

        return _Job(best_of(trial), make, forget)


def best_of(trial: Trial) -> Best:
    """What of a trial counts."""
    assert trial.best_epoch is not None  # a best trial has one
    return trial.trial_id, trial.best_epoch["epoch"]
