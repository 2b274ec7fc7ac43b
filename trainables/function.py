"""A training function of one's own as a trainable: `def train(config)`, with `ray.tune.report`.

The function runs in a thread of the trial's process and waits in each report until the next step
is asked for, so that early stopping, checkpoints and reused processes are as with a class. Where
it begins with `ray.tune.get_checkpoint()`, an interrupted trial goes on; else it begins again.
"""

import functools
import json
import queue
import random
import re
import shutil
import tempfile
import threading
import traceback
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import ray
import torch
from ray import train, tune
from ray.train._internal import session
from ray.train.v2._internal.execution import train_fn_utils

from trainables.contract import OVER, Config, Metrics, TrainableError

Function = Callable[[Config], Any]

RAY: Any = session
"""Where Ray looks for the session of a process; it has no public way to set one."""
TRAIN: Any = train_fn_utils
"""Where `ray.train` looks for what does its calls in a process."""
CALL = re.compile(r"^report\(\) (got an unexpected keyword argument '(?P<name>\w+)'|.*positional)")
"""What Python says of a report whose arguments are not what it takes."""

STATE = "reports.json"
CHECKPOINT = "checkpoint"
"""The subfolder of a checkpoint that holds the one that the function reported last."""
END_S = 2.0
"""How long a function may take to leave its last report before its process is given up."""


@dataclass(frozen=True)
class Report:
    """What a function reported: its metrics, and a checkpoint where it gave one."""

    metrics: Metrics
    checkpoint: train.Checkpoint | None = None


class FunctionTrainable(tune.Trainable):
    """One trial: a step is over with every report of the function."""

    function: ClassVar[Function]
    reports_by: ClassVar[str] = "tune.report()"
    """What reports its metrics, as an error is to name it."""
    runner: "Runner | None" = None
    kept: "Path | None" = None
    """The checkpoint that was reported last."""
    kept_reports = 0
    """How many reports there had been with it."""

    def setup(self, config: Config) -> None:
        """Take a configuration; the function starts with the first step."""
        self.reset_config(config)

    def reset_config(self, new_config: Config) -> bool:
        """Take another configuration, where the function of the one before has ended."""
        if self.runner is not None and not self.runner.end():
            return False
        self.cleanup()
        self.values = new_config
        self.place = Path(tempfile.mkdtemp(prefix="tuneport-"))
        self.runner, self.kept, self.kept_reports = None, None, 0
        return True

    def step(self) -> Metrics:
        """The function's next report; the trial is complete when the function returns."""
        if self.runner is None:
            self.runner = self._begin()
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
        """Write the checkpoint that the function reported last, and how far it was then."""
        Path(checkpoint_dir, STATE).write_text(json.dumps(self.kept_reports))
        if self.kept is not None:
            shutil.copytree(self.kept, Path(checkpoint_dir, CHECKPOINT))

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Let the function find that checkpoint when it starts."""
        self.kept_reports = json.loads(Path(checkpoint, STATE).read_text())
        if self.kept_reports:
            self.kept = Path(shutil.copytree(Path(checkpoint, CHECKPOINT), self.place / CHECKPOINT))

    def cleanup(self) -> None:
        """Let the function end where it waits, and remove what was kept for it."""
        if self.runner is not None:
            self.runner.end()
        if hasattr(self, "place"):
            shutil.rmtree(self.place, ignore_errors=True)

    def _begin(self) -> "Runner":
        self._iteration = self.kept_reports  # what was reported after its checkpoint comes again
        seed = self.values["seed"]
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        kept = None if self.kept is None else tune.Checkpoint.from_directory(str(self.kept))
        told = Session(self.trial_id, self.trial_name, str(self.place), self.trial_resources, kept)
        return Runner(type(self).function, dict(self.values), told)

    def _keep(self, checkpoint: train.Checkpoint) -> None:
        """Copy a checkpoint, whose folder the function may remove once its report returns."""
        before, self.kept_reports = self.kept, self.iteration + 1
        name = f"{CHECKPOINT}_{self.kept_reports:06d}"
        self.kept = Path(checkpoint.to_directory(str(self.place / name)))
        if before is not None:
            shutil.rmtree(before)


class Session:
    """What `ray.tune.report` and its like find in a process where a function runs.

    The names are those of Ray's own session, which stores checkpoints in a way of its own.
    """

    world_rank = 0
    """The only worker's; with None, as in Tune's own trials, `ray.train` refuses its calls."""

    def __init__(
        self,
        trial_id: str,
        trial_name: str,
        trial_dir: str,
        trial_resources: Any,
        loaded_checkpoint: train.Checkpoint | None,
    ) -> None:
        self.trial_id = trial_id
        self.trial_name = trial_name
        self.trial_dir = trial_dir
        self.trial_resources = trial_resources
        self.loaded_checkpoint = loaded_checkpoint
        self.experiment_name = ""
        self._reports: queue.Queue[Report | BaseException | None] = queue.Queue()
        self._wanted = threading.Semaphore(0)
        self._is_over = False

    def report(
        self, metrics: Mapping[str, Any], checkpoint: train.Checkpoint | None = None
    ) -> None:
        """Hand over what the function reports, and wait until more is wanted of it.

        Raises TrainableError where one of both is not what it has to be.
        """
        if not isinstance(metrics, Mapping):
            raise TrainableError(f"tune.report() takes a dictionary of metrics, got {metrics!r}")
        if checkpoint is not None and not isinstance(checkpoint, train.Checkpoint):
            raise TrainableError(
                f"tune.report(): checkpoint must be a tune.Checkpoint, got {checkpoint!r}; make one"
                " by tune.Checkpoint.from_directory(folder)"
            )
        if checkpoint is not None:
            self.loaded_checkpoint = checkpoint
        self.put(Report(dict(metrics), checkpoint))
        self.wait()

    def put(self, result: "Report | BaseException | None") -> None:
        """Hand over a report, what the function raised, or that it returned."""
        self._reports.put(result)

    def take(self) -> "Report | BaseException | None":
        """Let the function go on, and wait for what it hands over."""
        self._wanted.release()
        return self._reports.get()

    def wait(self) -> None:
        """Wait, in the function's thread, until more is wanted; SystemExit where no more is."""
        if not self._is_over:
            self._wanted.acquire()
        if self._is_over:
            raise SystemExit

    def end(self) -> None:
        """Let the function go on only to its end."""
        self._is_over = True
        self._wanted.release()


class TrainCalls(train_fn_utils.LocalTrainFnUtils):
    """What the calls of `ray.train` do in a trial: they are its only worker's."""

    def __init__(self, told: Session) -> None:
        super().__init__(told.experiment_name)
        self._told = told

    def report(
        self,
        metrics: dict[str, Any],
        checkpoint: train.Checkpoint | None = None,
        *others: Any,
        **named: Any,
    ) -> None:
        """Report as `ray.tune.report` does.

        Raises TrainableError where Ray Train is asked for more than to keep a checkpoint.
        """
        for name in ("validation", "checkpoint_upload_fn"):
            if named.get(name):
                raise TrainableError(
                    f"train.report(): a trial keeps its checkpoints itself and has no {name};"
                    " report metrics and a checkpoint"
                )
        self._told.report(metrics, checkpoint)

    def get_checkpoint(self) -> train.Checkpoint | None:
        """The one that the trial goes on from, or that it reported last."""
        return self._told.loaded_checkpoint


class Runner:
    """A function in a thread that goes on while its next report is waited for."""

    def __init__(self, function: Function, config: Config, told: Session) -> None:
        self._function = function
        self._config = config
        self._told = told
        self._thread = threading.Thread(target=self._run, name="function", daemon=True)
        RAY._session = told
        TRAIN.set_train_fn_utils(TrainCalls(told))
        self._thread.start()

    def next(self) -> Report | None:
        """The next report, None where the function has returned; raises what it raised."""
        result = self._told.take()
        if isinstance(result, SystemExit):
            raise TrainableError(f"the function called sys.exit({result.code!r})") from result
        if isinstance(result, TypeError) and (told := _misreported(result)):
            raise TrainableError(told) from result
        if isinstance(result, BaseException):
            raise result
        return result

    def end(self) -> bool:
        """Have the function end where it waits in a report; whether it did."""
        self._told.end()
        self._thread.join(END_S)
        if not self._thread.is_alive() and RAY._session is self._told:
            RAY._session = None
            TRAIN.set_train_fn_utils(None)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._told.wait()
            self._call()
        except BaseException as error:
            self._told.put(error)
        else:
            self._told.put(None)

    def _call(self) -> None:
        """Call the function; what it yields or returns is reported as well."""
        result = self._function(self._config)
        if isinstance(result, types.GeneratorType):
            for each in result:
                self._told.report(each)
        elif result is not None:
            self._told.report(result)


def _misreported(error: TypeError) -> str | None:
    """How to report, where `report` was called with other arguments than it takes."""
    call = CALL.match(str(error))
    raised_in = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
    if call is None or not raised_in.is_relative_to(Path(ray.__file__).parent):
        return None
    name = call["name"] or "loss"
    return f'tune.report() takes a dictionary of metrics: tune.report({{"{name}": …}})' + (
        "" if call["name"] else ", and a checkpoint by its name: checkpoint=…"
    )


def name_of(function: Function) -> str:
    """What a function is called; one with arguments filled in, or an object, by what it calls."""
    if isinstance(function, functools.partial):
        return name_of(function.func)
    return str(getattr(function, "__name__", type(function).__name__))


def as_class(function: Function) -> type[FunctionTrainable]:
    """The trainable whose trials call that function, or any object that can be called as one."""
    name = name_of(function)
    names = {
        "function": staticmethod(function),
        "__module__": getattr(function, "__module__", None) or type(function).__module__,
        "__doc__": function.__doc__ or f"Trials of the function {name}.",
    }
    return types.new_class(name, (FunctionTrainable,), {}, lambda body: body.update(names))
