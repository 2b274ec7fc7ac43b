"""The function that each of Ray Train's workers runs: the user's, which fails in one sentence."""

import logging
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import train
from ray.train.v2._internal import util as ray_util
from ray.train.v2._internal.execution import context as ray_context

from trainables.contract import Config, ProgramFailed, TrainableError
from trainables.errors import reason, trial_log

SETTLE_S = 30.0
"""Seconds in which a worker that lost touch with another one waits for Ray to see that one gone."""
LOST_TOUCH = re.compile("gloo|NCCL|connection|socket|timed? ?out", re.IGNORECASE)
"""Words of errors of torch.distributed by which a worker has lost touch with another one."""


@dataclass(frozen=True)
class WorkerLoop:
    """The user's function with what a worker needs to run it."""

    trainable: Any
    """The class of the function, which carries its source to the worker."""
    config: Config
    checkpoint: train.Checkpoint | None
    """The checkpoint that `ray.train.get_checkpoint()` gives first."""
    log: Path | None
    """The trial's log, where this node shares it."""

    def __call__(self) -> None:
        """Run the function.

        Raises TrainableError for a mistake that another attempt would repeat, else ProgramFailed:
        the user's own exception may be unknown to whoever unpickles it.
        """
        logging.getLogger(ray_context.__file__).setLevel(logging.WARNING)  # a line each report
        # The trace of what is raised below, where the user's own has been printed.
        logging.getLogger(ray_util.__name__).setLevel(logging.CRITICAL)
        if self.log is not None:
            trial_log.write_to(self.log)
            trial_log.print_whole_lines()
        # Ray Train itself would go on from its own last checkpoint, of which no epoch may tell.
        ray_context.get_train_context().checkpoint = self.checkpoint
        try:
            self.trainable.function(dict(self.config))
        except TrainableError as error:
            raise TrainableError(reason.describe(error)) from None
        except BaseException as error:
            trial_log.print_trace()
            if isinstance(error, RuntimeError) and LOST_TOUCH.search(str(error)):
                time.sleep(SETTLE_S)  # and is ended meanwhile, where the other one is gone
            raise ProgramFailed(reason.describe(error)) from None
        finally:
            trial_log.flush()
