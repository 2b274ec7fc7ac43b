"""Trainable whose steps are the reports of a function."""

import functools
import json
import random
import shutil
import tempfile
import types
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from ray import train, tune

from trainables.contract import OVER, Config, Metrics, TrainableError
from trainables.function.runner import Function, Runner
from trainables.function.session import Session

STATE = "reports.json"
CHECKPOINT = "checkpoint"
"""Folder in a checkpoint with the function's own, which it reported last."""


class FunctionTrainable(tune.Trainable):
    """One trial: a step ends with each report of the function."""

    function: ClassVar[Function]
    reports_by: ClassVar[str] = "tune.report()"
    """The call that reports, for messages."""
    runner: Runner | None = None
    last_checkpoint: Path | None = None
    """The checkpoint that was reported last."""
    last_checkpoint_reports = 0
    """Number of reports up to that checkpoint."""

    def setup(self, config: Config) -> None:
        """Take a configuration; the function starts with the first step."""
        self.reset_config(config)

    def reset_config(self, new_config: Config) -> bool:
        """Take another configuration, if the function of the one before can be ended."""
        if self.runner is not None and not self.runner.end():
            return False
        self.cleanup()
        self.values = new_config
        self.folder = Path(tempfile.mkdtemp(prefix="tuneport-"))
        self.runner, self.last_checkpoint, self.last_checkpoint_reports = None, None, 0
        return True

    def step(self) -> Metrics:
        """Wait for the function's next report; the trial is complete when the function returns."""
        if self.runner is None:
            self.runner = self._start()
        report = self.runner.next()
        if report is None:
            if self.iteration == 0:
                name = type(self).__name__
                raise TrainableError(f"{name}() returned without a report; call tune.report({{…}})")
            return OVER
        if report.checkpoint is not None:
            self._keep(report.checkpoint)
        return report.metrics

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Save the checkpoint that the function reported last, and the number of its report."""
        Path(checkpoint_dir, STATE).write_text(json.dumps(self.last_checkpoint_reports))
        if self.last_checkpoint is not None:
            shutil.copytree(self.last_checkpoint, Path(checkpoint_dir, CHECKPOINT))

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Load a checkpoint, which the function finds by `get_checkpoint()` when it starts."""
        self.last_checkpoint_reports = json.loads(Path(checkpoint, STATE).read_text())
        if self.last_checkpoint_reports:
            saved = Path(checkpoint, CHECKPOINT)
            self.last_checkpoint = Path(shutil.copytree(saved, self.folder / CHECKPOINT))

    def cleanup(self) -> None:
        """End the function where it waits, and remove its checkpoints."""
        if self.runner is not None:
            self.runner.end()
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self) -> Runner:
        # Reports after the last checkpoint come again.
        self._iteration = self.last_checkpoint_reports
        seed = self.values["seed"]
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        last = self.last_checkpoint
        checkpoint = None if last is None else tune.Checkpoint.from_directory(str(last))
        session = Session(
            self.trial_id, self.trial_name, str(self.folder), self.trial_resources, checkpoint
        )
        return Runner(type(self).function, dict(self.values), session)

    def _keep(self, checkpoint: train.Checkpoint) -> None:
        """Copy a checkpoint, whose folder the function may remove once its report returns."""
        before, self.last_checkpoint_reports = self.last_checkpoint, self.iteration + 1
        name = f"{CHECKPOINT}_{self.last_checkpoint_reports:06d}"
        self.last_checkpoint = Path(checkpoint.to_directory(str(self.folder / name)))
        if before is not None:
            shutil.rmtree(before)


def name_of(function: Function) -> str:
    """Return the name of a function, or of the one behind a partial or a callable object."""
    if isinstance(function, functools.partial):
        return name_of(function.func)
    return str(getattr(function, "__name__", type(function).__name__))


def as_class(function: Function) -> type[FunctionTrainable]:
    """Make the class whose trials call a function, or any object that can be called as one."""
    name = name_of(function)
    names = {
        "function": staticmethod(function),
        "__module__": getattr(function, "__module__", None) or type(function).__module__,
        "__doc__": function.__doc__ or f"Trials of the function {name}.",
    }
    return types.new_class(name, (FunctionTrainable,), {}, lambda body: body.update(names))
