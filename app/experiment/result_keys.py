"""Keys of a trial's result and configuration that Tune or this project sets itself."""

import math
from typing import Any

CONTROL = "__tuneport__"
"""The key under which a trial's configuration carries what the search says of it."""


RESERVED = (CONTROL, "seed")


REPORT = "report"
"""The key of a result under which the metrics are, as the trainable reported them."""


ENDED = "ended"
"""The key of a result after which comes no other: its trainable says that the trial is complete."""


LEFT_OUT = "left out"
"""The key of a result that names what it reports that is no number, and says what each is."""


BACK = "back"
"""The key of a result that says from which epoch its trial went on, and why from no later one."""


FAILURE = "failure"
"""The key of a result that says why a trial failed."""


REFUSED = "refused"
"""The key of a result by which no trial of the run can do what its class says."""


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
"""Names in a result that no objective can have: Tune and this project set them."""


def is_finite(value: Any) -> bool:
    """Whether an objective is a number that can be compared."""
    return isinstance(value, (int, float)) and math.isfinite(value)
