"""A trial's trainable, rebuilt in this process and restored from its checkpoint."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from app.export.onnx_conversion import silence_loggers
from app.export.trial_snapshot import TrialSnapshot
from app.export.user_code import ExportError, describe_error, wrap_errors

METHODS = ("model", "example_input")
"""Methods that a trainable needs for an export."""
RESTORE_LOGGER = "ray.tune.trainable.trainable"
"""Ray's logger of every checkpoint that is loaded."""
log = logging.getLogger(__name__)


@contextmanager
def restored_trial(snapshot: TrialSnapshot) -> Iterator[Any]:
    """Set up the trainable, on the CPU, and load the checkpoint; clean up after the block.

    Raises:
        ExportError: The trainable lacks a method that an export needs, or its code raised.
    """
    for method in METHODS:
        if not hasattr(snapshot.trainable, method):
            name = snapshot.experiment.trainable
            raise ExportError(f"{name} has no {method}(): nothing to export")
    with silence_loggers(RESTORE_LOGGER):
        with wrap_errors("setup()"):
            trial = _local_class(snapshot)(config=snapshot.config)
        try:
            if snapshot.checkpoint is not None:
                with wrap_errors("load_checkpoint()"):
                    trial.restore(str(snapshot.checkpoint))
                trial._iteration = snapshot.epoch.number  # which a checkpoint alone does not say
            yield trial
        finally:
            _clean_up(trial)


def _clean_up(trial: Any) -> None:
    """Call the trial's `cleanup`; an error there does not change the model, so it is logged."""
    try:
        trial.cleanup()
    except (Exception, SystemExit) as error:
        log.warning("cleanup() raised %s", describe_error(error))


def _local_class(snapshot: TrialSnapshot) -> Any:
    """Return the trainable as a class that is set up without a Ray session."""
    shared, base = snapshot.shared, snapshot.trainable

    class Local(base):  # type: ignore[misc, valid-type]  # a base by value
        def _setup_logdir(self) -> None:
            # Ray's own makes a folder in the user's home.
            self._logdir = str(snapshot.run_folder)
            self.trial_folder = snapshot.trial_folder

        def setup(self, config: dict[str, Any]) -> None:
            base.setup(self, config, **shared)

    Local.__name__ = base.__name__
    return Local
