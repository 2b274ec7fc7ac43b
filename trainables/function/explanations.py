"""Explanations of what a training function raised, where Ray's words do not say what would do."""

import re
import traceback
from pathlib import Path

import ray
from ray.train._internal import session

from trainables.contract import TrainableError

RAY = Path(ray.__file__).parent
UNKNOWN_NAME = re.compile(r"report\(\) got an unexpected keyword argument '(\w+)'")
"""Python's words for `tune.report(loss=0.1)`."""
TENSOR = re.compile(r"Passing objects contain\w* Torch tensors")
"""Ray's words for a report with a tensor in it."""
TRAIN_CALL = re.compile(r"`ray\.train\.(?P<name>\w+)` is deprecated when running in a function")
"""Ray's words for a call of Ray Train in a trial of Ray Tune."""


def explain(error: BaseException) -> BaseException:
    """Return the exception of a function, or a TrainableError that says what would do instead."""
    if train_call := TRAIN_CALL.match(str(error)):
        name = train_call["name"]
        return TrainableError(
            f"ray.train.{name}() is for trials of several workers; with one worker call"
            f" ray.tune.{name}()"
        )
    if TENSOR.match(str(error)):
        return TrainableError(
            "tune.report(): a metric is a tensor; report a number, such as loss.item()"
        )
    if isinstance(error, (TypeError, AttributeError)) and _is_of_report(error):
        unknown = UNKNOWN_NAME.match(str(error))
        metric = unknown[1] if unknown else "loss"
        return TrainableError(
            "tune.report() takes a dictionary of metrics and, by its name, a checkpoint:"
            f' tune.report({{"{metric}": …}}, checkpoint=tune.Checkpoint.from_directory(folder))'
        )
    return error


def is_raised_by_ray(error: BaseException) -> bool:
    """Whether an exception was raised in Ray's code, and not in what Ray called."""
    return Path(_files_of(error)[-1]).is_relative_to(RAY)


def _is_of_report(error: BaseException) -> bool:
    """Whether Ray raised an exception in a report: a user's own may look the same."""
    return is_raised_by_ray(error) and session.__file__ in _files_of(error)


def _files_of(error: BaseException) -> list[str]:
    return [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
