"""Trainable whose steps are the reports of a function under Ray Train."""

import shutil
import types
from pathlib import Path
from typing import Any, ClassVar

from pyarrow.fs import LocalFileSystem
from ray.train.v2.api.config import ScalingConfig

from trainables.contract import OVER, Metrics, TrainableError
from trainables.function.trainable import CHECKPOINT, FunctionTrainable
from trainables.train.trainer_run import TrainerRun, TrainFolder, make_reports, make_trainer
from trainables.train.worker_loop import WorkerLoop

FOLDER = "train"
"""Folder of a run in which Ray Train keeps checkpoints until their trials have them."""


class TrainTrainable(FunctionTrainable):
    """One trial; its checkpoints are those of a function's trial, and exported in the same way."""

    function_class: ClassVar[Any]
    scaling: ClassVar[ScalingConfig]
    reports_by: ClassVar[str] = "train.report()"
    trial_folder: Path
    trial_storage: Any = None
    trial_log: Path | None = None
    run: TrainerRun | None = None

    def step(self) -> Metrics:
        """Wait for the next report; the trial is complete when all workers have returned."""
        if self.run is None:
            self.run = self._start_trainer()
        report = self.run.next()
        if report is None:
            if self.iteration == 0:
                name = self.function_class.__name__
                raise TrainableError(
                    f"{name}() returned without a report; call ray.train.report({{…}})"
                )
            return OVER
        if report.checkpoint is not None:
            self._take(report.checkpoint)
        return report.metrics

    def cleanup(self) -> None:
        """End all workers, and remove what is in no checkpoint of the trial."""
        if self.run is not None:
            self.run.end()
            self.run = None
            self._train_folder().remove()
        super().cleanup()

    def _start_trainer(self) -> TrainerRun:
        # Reports after the last checkpoint come again.
        self._iteration = self.last_checkpoint_reports
        folder, last = self._train_folder(), self.last_checkpoint
        folder.remove()  # which a lost process of this trial may have left
        loop = WorkerLoop(
            self.function_class,
            self.values,
            checkpoint=None if last is None else folder.add(last),
            log=self.trial_log if self.trial_storage is None else None,
        )
        reports = make_reports()
        return TrainerRun(make_trainer(loop.__call__, self.scaling, folder, reports), reports)

    def _train_folder(self) -> TrainFolder:
        path = self.trial_folder.parents[1] / FOLDER / self.trial_folder.name
        if self.trial_storage is None:
            return TrainFolder(str(path), LocalFileSystem())
        return TrainFolder(*self.trial_storage.open_folder(path))

    def _take(self, checkpoint: Any) -> None:
        """Move a checkpoint of Ray Train's to this process's folder."""
        before, self.last_checkpoint_reports = self.last_checkpoint, self.iteration + 1
        name = f"{CHECKPOINT}_{self.last_checkpoint_reports:06d}"
        self.last_checkpoint = Path(checkpoint.to_directory(str(self.folder / name)))
        checkpoint.filesystem.delete_dir(checkpoint.path)
        if before is not None:
            shutil.rmtree(before)


def train_trials(
    function_class: Any, *, workers: int, cpus: float, gpus: float
) -> type[TrainTrainable]:
    """Make the class whose trials run a function's class under Ray Train.

    Args:
        function_class: The class of the function, as it is for trials of one worker.
        workers: The number of workers of a trial.
        cpus: The CPUs of each worker.
        gpus: The GPUs of each worker.
    """
    each = {"CPU": cpus, "GPU": gpus} if gpus else {"CPU": cpus}
    names = {
        "function_class": function_class,
        "scaling": ScalingConfig(num_workers=workers, resources_per_worker=each, use_gpu=gpus > 0),
        "__module__": function_class.__module__,
        "__doc__": function_class.__doc__,
    }
    return types.new_class(
        function_class.__name__, (TrainTrainable,), {}, lambda body: body.update(names)
    )
