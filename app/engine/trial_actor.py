"""What runs in a trial's process: the trainable, so that it resumes and its failures are told."""

import contextlib
import faulthandler
import logging
import math
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ray.air.constants import TRAINING_ITERATION
from ray.tune import Trainable

from app.engine.artifact_sync import Belongings, Quarters
from app.experiment.result_keys import BACK, CONTROL, ENDED, FAILURE, LEFT_OUT, REFUSED, REPORT
from app.run.store import log_path, trial_folder
from app.storage.remote_folder import PlaceError
from trainables.check.outputs import check_outputs
from trainables.contract import (
    Config,
    Metrics,
    ProgramFailed,
    ProgramKilled,
    Reported,
    TrainableError,
    checked,
)
from trainables.errors import reason, trial_log
from trainables.script.trainable import ScriptTrainable

ENDINGS = (Exception, SystemExit, KeyboardInterrupt)
"""What ends a trial where it is raised; Ray would take the latter two for its own."""
QUARTERS = "__quarters__"
"""The name under which a trial is given where its run is kept, where that is behind a URI."""


@dataclass(frozen=True)
class Terms:
    """What every trial of a run is held to."""

    metric: str
    """The objective, which each step must report."""
    folder: Path
    """The run's folder, below which checkpoints are named; on a node that has none, another one."""
    logged: bool = False
    """Whether a trial's output goes to a file of its own below the run's folder."""
    retried: bool = False
    """Whether an exception ends the process, for Tune to go on from the last checkpoint."""
    step_timeout: float | None = None
    """Seconds after which a step, or another of the trainable's methods, counts as hung, and ends
    the process."""


def supervised(trainable: type[Trainable], terms: Terms) -> type[Trainable]:
    """The trainable with our control of it.

    A trial starts from the checkpoint that its configuration names. What it raises, a missing
    objective or one that is not finite ends the trial with a sentence, and its process trains
    the next one: an exception is the trial's, the loss of a process the machine's.
    """
    metric = terms.metric

    class Supervised(trainable):  # type: ignore[misc, valid-type]
        # Two underscores: the names of one are the trainable's own to use.
        __failure: str | None = None
        __refusal: str | None = None
        __is_broken = False
        __is_watched = False
        __latest = math.nan
        __saved: Sequence[tuple[int, str]] = ()
        __back: Mapping[str, Any] = MappingProxyType({})
        __quarters: Quarters | None = None
        __belongings: Belongings | None = None

        def setup(self, config: Config, **shared: Any) -> None:
            control = config.pop(CONTROL, None)
            if control is None:  # the trainable's own reset_config calls its setup
                trainable.setup(self, config, **shared)
                return
            self.config = config
            self.__quarters = shared.pop(QUARTERS, None)
            self.__begin(control, self._storage)
            self.__shared = self.__here(shared)
            self.__attempt(lambda: self.__set_up(config))
            if not self.__failure:
                self.__refusal = self.__refused()
            self.__go_on_from(control)

        def __refused(self) -> str | None:
            """Why the class's labels do not fit its outputs; None where they do."""
            try:
                with self.__watched():
                    check_outputs(self)
            except TrainableError as error:
                return str(error)
            return None

        def __set_up(self, config: Config) -> None:
            self.__is_broken = False
            try:
                with self.__watched():
                    trainable.setup(self, config, **self.__shared)
            except BaseException:
                self.__is_broken = True
                raise

        def reset(self, new_config: Config, storage: Any = None) -> bool:
            self.__failure, self.__latest = None, math.nan
            control = new_config.pop(CONTROL)
            self.__begin(control, storage)
            done = self.__attempt(lambda: trainable.reset(self, new_config, storage))
            self.__go_on_from(control)
            return self.__failure is not None or bool(done)

        def reset_config(self, new_config: Config) -> bool:
            if not self.__is_broken:
                with self.__watched():
                    return bool(trainable.reset_config(self, new_config))
            # The trial before this one failed in its setup, on which a reset may rely.
            self.__set_up(new_config)
            return True

        def step(self) -> Metrics:
            if self.__refusal:
                return {"done": True, metric: math.nan, FAILURE: self.__refusal, REFUSED: True}
            with self.__watched():
                reported: Reported | None
                reported = None if self.__failure else self.__attempt(self.__reported)
            trial_log.flush()
            if not (reported and reported.metrics) and self.__belongings is not None:
                self.__belongings.send_last()
            back, self.__back = self.__back, {}
            if reported is None:
                return {"done": True, metric: math.nan, FAILURE: self.__failure, **back}
            if not reported.metrics:
                return {
                    "done": True,
                    ENDED: True,
                    TRAINING_ITERATION: self._iteration,
                    metric: self.__latest,
                }
            self.__latest = reported.metrics[metric]
            return {**_result(reported, metric), **back}

        def save_checkpoint(self, checkpoint_dir: str) -> Any:
            # What failed may have no state, and its checkpoint is thrown away.
            if self.__failure or self.__refusal:
                return None
            try:
                with self.__watched():
                    return trainable.save_checkpoint(self, checkpoint_dir)
            except Exception as error:
                # Asked while what was written of it is still there.
                if full := reason.no_room(error, Path(checkpoint_dir)):
                    raise full from error
                raise

        def load_checkpoint(self, checkpoint: Any) -> None:
            with self.__watched():
                trainable.load_checkpoint(self, checkpoint)

        @contextlib.contextmanager
        def __watched(self) -> Iterator[None]:
            """End this process if it hangs here; what the trainable calls of itself is within."""
            if self.__is_watched:
                yield
                return
            self.__is_watched = True
            try:
                with _ended_if_hung(terms.step_timeout):
                    yield
            finally:
                self.__is_watched = False

        def save(self, checkpoint_dir: str | None = None) -> Any:
            try:
                return self.__save(checkpoint_dir)
            except ENDINGS as error:
                _log(error)
                raise (_going_on(error, terms) or reason.Failed(reason.told(error))) from None

        def __save(self, checkpoint_dir: str | None) -> Any:
            saved = trainable.save(self, checkpoint_dir)
            assert saved.checkpoint is not None  # a class gives one whenever it saves
            folder = Path(saved.checkpoint.path)
            # The journal counts the epoch from now on, and must not outlive it at a loss of power.
            if self.__belongings is None:
                _to_disk(folder)
            elif REPORT in saved.metrics:
                self.__belongings.send(folder)
            else:
                shutil.rmtree(folder)
            return saved

        def restore(self, checkpoint_path: Any) -> None:
            # Tune's own, which it has with the metrics of its epoch.
            path = Path(checkpoint_path.checkpoint.path).absolute()
            epoch, name = (
                checkpoint_path.metrics.get(TRAINING_ITERATION, 0),
                str(Path(*path.parts[-3:])),
            )
            if (epoch, name) not in self.__saved[:1]:  # from which this process began
                latest = (epoch, str(path) if self.__belongings is None else name)
                self.__take_up([latest, *(each for each in self.__saved if each[0] < epoch)])

        def stop(self) -> None:
            try:
                trainable.stop(self)
            finally:
                self.__leave()

        def __reported(self) -> Reported:
            by = getattr(trainable, "reports_by", "step()")
            return checked(trainable.step(self), metric, epoch=self._iteration + 1, by=by)

        def __begin(self, control: dict[str, Any], storage: Any) -> None:
            folder = terms.folder
            if self.__quarters is not None:
                folder = self.__quarters.folder
                self.trial_quarters = self.__quarters.from_here()
                self.__leave()
                self.__belongings = self.__quarters.belongings(control["trial_id"])
                self.__belongings.fetch()
                self.__belongings.follow()
                # Tune's own check would look for the folder of the run's process.
                storage.storage_fs_path = str(folder)
                storage._create_validation_file()
            self.trial_folder = trial_folder(folder, control["trial_id"])
            if terms.logged:
                self.trial_log = log_path(folder, control["trial_id"])
                _write_to(self.trial_log)

        def __leave(self) -> None:
            """Leave the trial before; what is left of a script may go on for a while."""
            if self.__belongings is None:
                return
            if isinstance(self, ScriptTrainable):
                self.__belongings.leave()
            else:
                self.__belongings.send_last()

        def __here(self, shared: dict[str, Any]) -> dict[str, Any]:
            """What trials share, on this node."""
            if self.__quarters is None or not isinstance(self, ScriptTrainable):
                return shared
            script, quarters = shared["script"], self.trial_quarters
            code = quarters.code(script.digest)
            return {**shared, "script": replace(script, code=code, quarters=quarters)}

        def __go_on_from(self, control: dict[str, Any]) -> None:
            self.__saved, self.__back = control["checkpoints"], {}
            if self.__saved and not self.__failure:
                self.__attempt(lambda: self.__take_up(self.__saved))

        def __take_up(self, saved: Sequence[tuple[int, str]]) -> None:
            """Go on from the first that can be read, or begin; the next result says which."""
            why, self.__back = "", {}
            for epoch, name in saved:
                lost = self.__load(epoch, name)
                if lost is None:
                    break
                why = why or f"its checkpoint of epoch {epoch} {lost}"
            else:
                self._iteration = 0
            if why:
                self.__back = {BACK: {"epoch": self._iteration, "reason": why}}

        def __load(self, epoch: int, name: str) -> str | None:
            """Go on from a checkpoint; gives what is wrong with one from which that is not had."""
            here = self.__belongings
            folder = terms.folder / name if here is None else here.fetched(name)
            lost = None
            try:
                if folder is None or not folder.is_dir():
                    lost = "is gone"
                else:
                    trainable.restore(self, str(folder))
            except (MemoryError, PlaceError):
                raise
            except Exception as error:
                trial_log.print_trace()
                lost = f"cannot be read ({reason.told(error)})"
                self.__begin_anew()
            finally:
                if here is not None and folder is not None:
                    shutil.rmtree(folder, ignore_errors=True)
            if lost is not None and isinstance(self, ScriptTrainable):
                self.reports, lost = epoch, None  # what counts of it is where the script has put it
            self._iteration = epoch
            return lost

        def __begin_anew(self) -> None:
            """Set the trial up afresh after a checkpoint that may have been read in part."""
            if trainable.reset_config is Trainable.reset_config or not self.reset_config(
                dict(self.config)
            ):
                with contextlib.suppress(Exception):
                    trainable.cleanup(self)
                self.__set_up(self.config)

        def __attempt(self, act: Callable[[], Any]) -> Any:
            try:
                return act()
            except ENDINGS as error:
                _log(error)
                if goes_on := _going_on(error, terms):
                    if self.__belongings is not None:
                        # The next process may be there before this one has ended.
                        self.__belongings.leave()
                    raise goes_on from None
                self.__failure = reason.told(error)
                return None

    Supervised.__name__ = trainable.__name__
    return Supervised


def _result(reported: Reported, metric: str) -> Metrics:
    """What Tune is given of an epoch."""
    result = {metric: reported.metrics[metric], REPORT: reported.metrics}
    if reported.left_out:
        result[LEFT_OUT] = dict(reported.left_out)
    return {**result, "done": True, ENDED: True} if reported.is_last else result


def _going_on(error: BaseException, terms: Terms) -> BaseException | None:
    """What ends the process, for Tune to start the trial again or to end the run; None if nothing.

    It is pickled on its way, so that what a user may have made of an exception stays here.
    """
    if isinstance(error, (PlaceError, reason.Failed, reason.NoRoom)) or _is_rays(error):
        return error
    if full := reason.no_room(error, terms.folder):
        return full
    if isinstance(error, ProgramKilled):
        return error
    if not terms.retried:
        return None
    if isinstance(error, TrainableError):
        return error if isinstance(error, ProgramFailed) else None
    return reason.Failed(reason.told(error))


def _is_rays(error: BaseException) -> bool:
    """Whether an exception ends this process because Ray, or a signal that Ray handles, says so."""
    return hasattr(error, "ray_terminate_msg")


def _log(error: BaseException) -> None:
    """Write where a failure came from into the trial's log; a sentence of ours needs none."""
    if not isinstance(error, TrainableError):
        trial_log.print_trace()


def _write_to(path: Path) -> None:
    """Let what this process and its libraries print go to the trial's own file from here on."""
    # The log is for what the trainable has to say, not for Ray's advice and checkpoints.
    for chatty in ("ray.train._internal.storage", "ray.tune.trainable"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    reason.tell_exits()
    trial_log.write_to(path)


@contextlib.contextmanager
def _ended_if_hung(seconds: float | None) -> Iterator[None]:
    """End this process, and say where it was, if it is here for longer."""
    if seconds is None:
        yield
        return
    # Even what holds the interpreter's lock is ended.
    faulthandler.dump_traceback_later(seconds, exit=True, file=2)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def _to_disk(folder: Path) -> None:
    """Wait until a folder's files, and their names, are on the disk."""
    for path in (*folder.rglob("*"), folder):
        file = os.open(path, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)


HUNG = "Timeout ("
"""How the last words of a process begin that was ended because it hung."""
WATCHED = {
    "__set_up": "setup",
    "reset_config": "reset_config",
    "step": "an epoch",
    "save_checkpoint": "save_checkpoint",
    "load_checkpoint": "load_checkpoint",
    "__refused": "model() or example_input()",
}
"""What hung, by the name of our method that called it."""
OURS = re.compile(r'^  File ".*\bapp/engine/trial_actor\.py", line \d+ in (?:.*\.)?(\w+)$')


def hung(words: Sequence[str]) -> str:
    """What took too long, by the last words of the process; the outermost call is what did."""
    calls = [found[1] for line in words if (found := OURS.match(line))]
    return next((WATCHED[name] for name in reversed(calls) if name in WATCHED), "an epoch")
