"""Schedulers by name: early stopping, with settings that suit trials of a few epochs.

As it comes, Ray's median rule waits for 60 seconds, and its ASHA judges after the first epoch and
then hardly again. These settings were chosen by replaying recorded learning curves, as
`python -m tests.benchmarks.replay stopping` does. To add a scheduler, write a class in a file of
its own and add its line to `SCHEDULERS`; the settings that its name takes are in
`app.experiment.early_stopping`.
"""

from collections.abc import Callable, Mapping

from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from app.search.median_stopping import MedianStopping
from app.search.successive_halving import SuccessiveHalving

SCHEDULERS: Mapping[str, Callable[..., TrialScheduler]] = {
    "off": FIFOScheduler,
    "median": MedianStopping,
    "asha": SuccessiveHalving,
}
"""Schedulers by the names that `--early-stopping` takes; each is called with its settings."""
