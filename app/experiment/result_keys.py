"""Keys of a trial's result and configuration that Tune or this project sets itself."""

import sys
from typing import Any

CONTROL = "__tuneport__"
"""Key of a trial's configuration: values that the search passes to the trial's process."""
RESERVED = (CONTROL, "seed")
"""Keys of a configuration that no parameter can have."""
REPORT = "report"
"""Key of a result: the metrics, as the trainable reported them."""
ENDED = "ended"
"""Key of a trial's last result: the trainable says that the trial is complete."""
LEFT_OUT = "left out"
"""Key of a result: reported values that are no numbers, by name, each with a description."""
BACK = "back"
"""Key of a result: the epoch from which the trial was resumed, and why from no later one."""
FAILURE = "failure"
"""Key of a result: the reason for which the trial failed."""
REFUSED = "refused"
"""Key of a result: the reason for which no trial of the run can do what its class says."""
TAKEN = frozenset(
    {
        *(
            "",
            REPORT,
            FAILURE,
            ENDED,
            BACK,
            LEFT_OUT,
            REFUSED,
            "epoch",
            "done",
            "config",
            "pid",
            "hostname",
            "node_ip",
            "date",
        ),
        *("timestamp", "training_iteration", "trial_id", "experiment_tag", "checkpoint_dir_name"),
        *("time_this_iter_s", "time_total_s", "time_since_restore", "iterations_since_restore"),
    }
)
"""Keys of a result that no metric can have: Tune and this project set them."""


def is_finite(value: Any) -> bool:
    """Tell whether the value of an objective is a number that can be compared."""
    # By comparison, as an integer may be too large for a float.
    return isinstance(value, (int, float)) and abs(value) <= sys.float_info.max
