"""An early check that a search's trials can be exported, long before the best one is.

Errors of a user's code become a line in the terminal: the search always goes on.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress

from app.export.model_exporter import ModelExporter
from app.export.trial_snapshot import (
    TrialSnapshot,
    best_snapshot,
    copy_snapshot,
    untrained_snapshot,
)
from app.export.user_code import ExportError, describe_error
from app.run.trial import Trial
from app.storage.remote_folder import StorageError
from serve.models.manifest import ArtifactError
from trainables.contract import TrainableError

KNOWN_ERRORS = (ExportError, StorageError, TrainableError, ArtifactError, OSError)
"""Errors of an export whose message is a sentence."""


class ExportCheck:
    """Exports an untrained network and then the first checkpoint, and reports what fails.

    Nothing is kept of them but the imported modules, which make the real export faster.
    """

    def __init__(self, exporter: ModelExporter) -> None:
        self._exporter = exporter
        self._has_checkpoint = False
        self._is_refused = False
        self._future: Future[None] | None = None

    def start(self, background: ThreadPoolExecutor, say: Callable[[str], None]) -> None:
        """Run an untrained network, in the background, at several batch sizes."""
        models = self._exporter.models
        if not models.has_network:
            return
        snapshot = untrained_snapshot(
            models.run_folder, models.experiment, models.trainable, models.shared
        )
        with suppress(OSError):  # The search reports what cannot be written here.
            copy, delete = copy_snapshot(snapshot)
            self._future = background.submit(self._check_network, copy, delete, say)

    def on_event(
        self, event: str, trial: Trial, background: ThreadPoolExecutor, say: Callable[[str], None]
    ) -> None:
        """Export the first checkpoint of any trial; called after every event of a trial."""
        models = self._exporter.models
        if event != "epoch" or self._has_checkpoint or not models.has_network:
            return
        try:
            snapshot = best_snapshot(
                models.run_folder, models.experiment, models.trainable, models.shared, trial
            )
            copy, delete = copy_snapshot(snapshot)
        except (ExportError, StorageError, OSError):
            return  # A later epoch may have one.
        self._has_checkpoint = True
        self._future = background.submit(self._check_export, copy, delete, say)

    def wait(self) -> None:
        """Wait for the check that was started last."""
        if self._future is not None:
            wait([self._future])

    def _check_network(
        self, snapshot: TrialSnapshot, delete: Callable[[], None], say: Callable[[str], None]
    ) -> None:
        from app.export.batch_sizes import NetworkError
        from app.export.onnx_model import check_network

        try:
            with _one_thread():
                check_network(snapshot)
        except NetworkError as error:
            self._is_refused = True
            say(f"no trial can be exported: {error}; the search goes on")
        except BaseException:
            return  # It may need training first: the check of its first checkpoint reports it.
        finally:
            delete()

    def _check_export(
        self, snapshot: TrialSnapshot, delete: Callable[[], None], say: Callable[[str], None]
    ) -> None:
        from app.export.onnx_model import check_export

        try:
            if not self._is_refused:
                with _one_thread():
                    check_export(snapshot)
        except BaseException as error:
            trial = f"trial {snapshot.trial.trial_id} after epoch {snapshot.epoch.number}"
            say(f"{trial} cannot be exported: {failure(error)}; the search goes on")
        finally:
            delete()


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


def failure(error: BaseException) -> str:
    """Describe why an export failed, with the class of an error whose message is no sentence."""
    return str(error) if isinstance(error, KNOWN_ERRORS) else describe_error(error)
