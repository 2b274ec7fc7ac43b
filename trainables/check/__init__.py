"""Check that a class or function keeps the promises of `trainables/contract.py`.

Promises are tried without Ray, on the CPU: steps, checkpoints, resets and exports.
How a trainable is found by its name is in `trainables`, and what a trial reports is checked again
as it runs, in `app.engine`. In a test of one's own:

    from trainables.check import check_trainable

    check_trainable(Mine, {"lr": 0.1}, metric="loss")

In a shell: `python -m trainables.check my_file.py:Mine --set lr=0.1`.
"""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.contract import Config, TrainableError

if TYPE_CHECKING:
    from ray.tune import Trainable


def check_trainable(
    trainable: "type[Trainable] | Callable[[Config], Any]",
    config: Config,
    *,
    metric: str,
    data_dir: Path | None = None,
) -> None:
    """Check the promises of a class or function, in a folder of its own as in a trial.

    Seven epochs are trained, so a slice of the data will do. Metrics in which two fresh trials
    differ, such as a time, are not compared any further; the objective must not differ.

    Args:
        trainable: A subclass of `ray.tune.Trainable`, or a function of one configuration.
        config: A trial's configuration; `seed` is 0 unless it is given.
        metric: The objective.
        data_dir: The folder that `shared()` reads; None for its default.

    Raises:
        TrainableError: The first promise that is broken, and how.
    """
    from trainables.check.promises import try_promises

    promises = try_promises(trainable, config, metric=metric, data_dir=data_dir)
    with closing(promises):
        for promise in promises:
            if promise.is_broken:
                raise TrainableError(promise.text)
