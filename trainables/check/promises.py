"""Try the promises of a trainable one after the other."""

import os
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from ray.tune import Trainable

from trainables import as_trainable
from trainables.check import random_state
from trainables.check.export import try_export
from trainables.check.subject import Subject, describe_error, named_errors, stepper
from trainables.check.training import try_reset, try_training
from trainables.contract import DONE, Config, TrainableError
from trainables.function.trainable import name_of
from trainables.report import flatten_metrics, is_number

LOSS = "loss"
"""The default objective of a trainable that reports several numbers."""


@dataclass(frozen=True)
class Promise:
    """A promise that was tried."""

    text: str
    """The promise, or how it is broken."""
    is_broken: bool = False


def try_promises(
    trainable: type[Trainable] | Callable[[Config], Any],
    config: Config,
    *,
    metric: str | None,
    data_dir: Path | None = None,
) -> Generator[Promise, None, None]:
    """Try the promises of a class or function; one that is broken ends its group alone.

    Without a metric, the only number that is reported is the objective, or `loss` among several.
    The process, its folder and its environment are as before once this is exhausted or closed.

    Raises TrainableError where it cannot be tuned at all.
    """
    name = name_of(trainable)
    checked_class = as_trainable(trainable, name)
    subject = Subject(checked_class, {"seed": 0, **config}, metric or "", Path())
    data_dir = None if data_dir is None else data_dir.resolve()
    reported: set[str] = set()
    with _process_restored(), tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        os.chdir(folder)  # a trial's working directory is one of its own, too
        subject = replace(subject, folder=Path(folder))
        yield from _try_group(_try_refusals(subject), reported)
        try:
            subject = replace(subject, shared=_load_shared(checked_class, data_dir))
            subject = replace(subject, metric=metric or _find_objective(subject))
        except TrainableError as error:
            yield Promise(str(error), is_broken=True)
            return
        for group in (try_training, try_export, try_reset):
            yield from _try_group(group(subject), reported)


def _try_group(group: Iterator[str], reported: set[str]) -> Iterator[Promise]:
    """Try a group up to the first that is broken, which is given where it was not before."""
    try:
        for text in group:
            yield Promise(text)
    except TrainableError as error:
        if str(error) not in reported:
            reported.add(str(error))
            yield Promise(str(error), is_broken=True)


def _try_refusals(subject: Subject) -> Iterator[str]:
    """Call `check_config` with the configuration, and with numbers that it may have to refuse."""
    trainable: Any = subject.trainable
    config = subject.config
    if not hasattr(trainable, "check_config"):
        return
    with named_errors("check_config()"):
        trainable.check_config(dict(config))
    for name, value in config.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or name == "seed":
            continue
        for other in (type(value)(0), -abs(value)):
            _check_refusal(trainable, config, name, other)
    yield "check_config() takes the configuration, and refuses others by ValueError alone"


def _check_refusal(trainable: Any, config: Config, name: str, value: float) -> None:
    try:
        trainable.check_config({**config, name: value})
    except ValueError:
        return
    except (Exception, SystemExit) as error:
        raise TrainableError(
            f"check_config(): must refuse by ValueError; {name} = {value!r} raised"
            f" {describe_error(error)}"
        ) from error


def _load_shared(trainable: type[Trainable], data_dir: Path | None) -> Mapping[str, Any]:
    """Load the trials' shared data; raise TrainableError where it is not given by name."""
    if not hasattr(trainable, "shared"):
        return {}
    with named_errors("shared()"):
        shared = trainable.shared(data_dir, False)
    if not isinstance(shared, Mapping):
        raise TrainableError(f"shared(): must give values by name, gave {type(shared).__name__}")
    return shared


def _find_objective(subject: Subject) -> str:
    """Find the objective in a first report: the only number, or `loss` among several."""
    with subject.trial() as trial:
        with named_errors(stepper(trial)):
            report = subject.trainable.step(trial)
        if not isinstance(report, Mapping):
            raise TrainableError(f"step() must return a dictionary of metrics, got {report!r}")
    names = [
        name for name, value in flatten_metrics(report).items() if is_number(value) and name != DONE
    ]
    if len(names) == 1 or LOSS in names:
        return LOSS if LOSS in names else names[0]
    raise TrainableError(
        f"metric: which of the numbers is the objective: {', '.join(names) or 'there are none'}?"
        " say it by --metric NAME"
    )


@contextmanager
def _process_restored() -> Iterator[None]:
    """Restore what trials change in a process: random state, threads, folder and environment."""
    environment = dict(os.environ)
    numbers = random_state.capture()
    threads, folder = torch.get_num_threads(), Path.cwd()
    try:
        yield
    finally:
        random_state.restore(numbers)
        torch.set_num_threads(threads)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
