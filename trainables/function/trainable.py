"""Trainable whose steps are the reports of a function, which Ray's own `wrap_function` runs."""

import functools
import json
import random
import shutil
import sys
import tempfile
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from ray import tune
from ray.air._internal.util import StartTraceback
from ray.train._internal.session import _TrainingResult, get_session, shutdown_session
from ray.tune.result import RESULT_DUPLICATE, TRIAL_INFO
from ray.tune.trainable import wrap_function

from trainables.contract import OVER, Config, Metrics, TrainableError
from trainables.function.checkpoint_folder import CheckpointFolder
from trainables.function.explanations import explain, is_raised_by_ray
from trainables.function.exported_names import exported_names

Function = Callable[[Config], Any]

STATE = "reports.json"
CHECKPOINT = "checkpoint"
"""Folder in a checkpoint with the function's own, which it reported last."""
ADDED = ("timestamp", "checkpoint_dir_name")
"""Keys that Ray's session adds to a report."""
END_S = 2.0
"""Seconds that a function may take to leave its last report before its process is given up."""


class FunctionTrainable(tune.Trainable):
    """One trial: a step ends with each report of the function."""

    function: ClassVar[Function]
    reports_by: ClassVar[str] = "tune.report()"
    """The call that reports, for messages."""
    model_by: ClassVar[str] = "load_model()"
    """The call that gives the network, for messages."""
    model_signature: ClassVar[str] = (
        "load_model(checkpoint_dir, config) in its file, which returns the torch.nn.Module"
    )
    """The function that one without a model lacks, for messages."""
    runner: Any = None
    """Ray's trainable of the function, once it runs."""
    last_checkpoint: Path | None = None
    """The checkpoint that was reported last."""
    last_checkpoint_reports = 0
    """Number of reports up to that checkpoint."""

    def setup(self, config: Config) -> None:
        """Take a configuration; the function starts with the first step."""
        self.reset_config(config)

    def reset_config(self, new_config: Config) -> bool:
        """Take another configuration, if the function of the one before can be ended."""
        if not self._end():
            return False
        self.cleanup()
        self.values = new_config
        self.folder = Path(tempfile.mkdtemp(prefix="tuneport-"))
        self.last_checkpoint, self.last_checkpoint_reports = None, 0
        return True

    def step(self) -> Metrics:
        """Wait for the function's next report; the trial is complete when the function returns."""
        if self.runner is None:
            self._start()
        metrics = self._next_report()
        if RESULT_DUPLICATE in metrics:
            if self.iteration == 0:
                name = type(self).__name__
                raise TrainableError(f"{name}() returned without a report; call tune.report({{…}})")
            return OVER
        checkpoint = self.runner.save_checkpoint().checkpoint
        if checkpoint is not None:
            before, self.last_checkpoint = self.last_checkpoint, Path(checkpoint.path)
            self.last_checkpoint_reports = self.iteration + 1
            if before is not None:
                shutil.rmtree(before)
        return {name: value for name, value in metrics.items() if name not in ADDED}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Save the checkpoint that the function reported last, and the number of its report."""
        Path(checkpoint_dir, STATE).write_text(json.dumps(self.last_checkpoint_reports))
        if self.last_checkpoint is not None:
            shutil.copytree(self.last_checkpoint, Path(checkpoint_dir, CHECKPOINT))

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Load a checkpoint, which the function finds by `get_checkpoint()` when it starts."""
        self.last_checkpoint_reports = self.epoch_of(Path(checkpoint))
        if self.last_checkpoint_reports:
            saved = Path(checkpoint, CHECKPOINT)
            self.last_checkpoint = Path(shutil.copytree(saved, self.folder / CHECKPOINT))

    @staticmethod
    def epoch_of(checkpoint: Path) -> int:
        """Return the epoch with which the function reported what a checkpoint has; 0 for none."""
        return int(json.loads(Path(checkpoint, STATE).read_text()))

    def cleanup(self) -> None:
        """End the function where it waits, and remove its checkpoints."""
        self._end()
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self) -> None:
        """Let Ray's session begin, from the last checkpoint if there is one."""
        # Reports after the last checkpoint come again.
        self._iteration = self.last_checkpoint_reports
        seed = self.values["seed"]
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        experiment = "" if self._storage is None else self._storage.experiment_dir_name
        self.runner = wrap_function(_as_generator(type(self).function))(
            {**self.values, TRIAL_INFO: self._trial_info}, CheckpointFolder(self.folder, experiment)
        )
        if self.last_checkpoint is not None:
            checkpoint = tune.Checkpoint.from_directory(str(self.last_checkpoint))
            self.runner.load_checkpoint(_TrainingResult(checkpoint, {}))

    def _next_report(self) -> Metrics:
        """Return what the function reports next; raises what it raised, or why that is wrong."""
        try:
            metrics: Metrics = self.runner.step()
            return metrics
        except StartTraceback as raised_in_thread:
            error = raised_in_thread.__cause__
        assert error is not None  # Ray's session raises it from that of the function
        raise explain(error)

    def _end(self) -> bool:
        """End the function where it waits in a report; return whether it has ended."""
        if self.runner is None:
            return True
        self.runner, session = None, get_session()
        assert session is not None  # the runner's own
        session.finish(timeout=0)
        session.finish(timeout=END_S)  # also out of a report in its `finally`
        shutdown_session()
        return not session.training_thread.is_alive()


def _as_generator(function: Function) -> Callable[[Config], Iterator[Any]]:
    """Make a generator of what a function yields or returns, which Ray reports as well."""

    def call(config: Config) -> Iterator[Any]:
        try:
            output = function(config)
            yield from output if isinstance(output, types.GeneratorType) else [output]
        except SystemExit as error:
            if is_raised_by_ray(error):  # to end a function that waits in a report
                raise
            raise TrainableError(f"the function called sys.exit({error.code!r})") from error

    return call


def inner_function(function: Any) -> Any:
    """Return the function within a partial, or what can be called itself."""
    return inner_function(function.func) if isinstance(function, functools.partial) else function


def name_of(function: Function) -> str:
    """Return the name of a function, or of the one behind a partial or a callable object."""
    inner = inner_function(function)
    return str(getattr(inner, "__name__", type(inner).__name__))


def as_class(function: Function, module: types.ModuleType | None = None) -> type[FunctionTrainable]:
    """Make the class whose trials call a function, or any object that can be called as one.

    Args:
        function: Takes a configuration.
        module: Has the names by which its model is exported; its own module by default.
    """
    name = name_of(function)
    home = getattr(inner_function(function), "__module__", None) or type(function).__module__
    names = {
        "function": staticmethod(function),
        "__module__": home,
        "__doc__": function.__doc__ or f"Trials of the function {name}.",
        **exported_names(module or sys.modules.get(home)),
    }
    return types.new_class(name, (FunctionTrainable,), {}, lambda body: body.update(names))
