"""Check that a trainable keeps the promises of `trainables/contract.py`.

X
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
    workers: int = 1,
) -> None:
    """Put a class or function through what `trainables/contract.py` promises, without Ray.

    `config` is a trial's, its seed 0 unless given; all runs on the CPU, in a folder of its own as
    a trial does. Seven epochs are trained, so a slice of the data will do. Metrics in which two
    fresh trials differ, such as a time, are not compared any further; in the objective they must
    not differ. With several workers, each but the first in a process of its own, four more epochs
    are trained, or five.

    Raises TrainableError for the first promise that is broken, and says how.
    """
    from trainables.check.promises import promises

    tried = promises(trainable, config, metric=metric, data_dir=data_dir, workers=workers)
    with closing(tried):
        for promise in tried:
            if promise.is_broken:
                raise TrainableError(promise.text)
