"""Events: the lines of a journal, of some kinds with fields of their own."""

import json
from collections.abc import Mapping
from typing import Any

from app.run.status import FINISHED, RunStatus
from app.storage.json_fields import (
    NEEDED,
    TEXT,
    Fields,
    are_configs,
    are_evaluated,
    is_config,
    is_count,
    is_metrics,
    is_model_of,
    is_number,
    is_trial,
    validate,
)

Event = dict[str, Any]

OF_TRIAL: Fields = {"trial_id": (is_trial, NEEDED)}
KINDS: Mapping[str, Fields] = {
    "run": {"versions": (dict, {})},
    "warm": {
        "evaluated": (are_evaluated, NEEDED),
        "failed": (are_configs, []),
        "points": (are_configs, NEEDED),
    },
    "trial": {
        **OF_TRIAL,
        "config": (is_config, NEEDED),
        "leg": (is_count, 1),
        "seed": (int | None, None),
    },
    "restart": {**OF_TRIAL, "node": (TEXT, None), "reason": (TEXT, None)},
    "node": {"node": (str, NEEDED)},
    "epoch": {
        **OF_TRIAL,
        "epoch": (is_count, NEEDED),
        "metrics": (is_metrics, NEEDED),
        "seconds": (is_number, 0.0),
        "checkpoint": (TEXT, None),
        "done": (bool, False),
    },
    "extend": OF_TRIAL,
    "back": {**OF_TRIAL, "epoch": (is_count, NEEDED), "reason": (TEXT, None)},
    "end": {
        **OF_TRIAL,
        "status": (FINISHED.__contains__, NEEDED),
        "error": (TEXT, None),
        "rule": (TEXT, None),
    },
    "model": {
        "model": (TEXT, NEEDED),
        "of": (is_model_of, None),
        "error": (TEXT, None),
        "failed": (bool, False),
    },
    "status": {"status": (tuple(RunStatus).__contains__, NEEDED), "reason": (TEXT, None)},
}
"""The fields of each kind of event, beside the seconds since its run began."""


def parse_event(line: bytes) -> Event:
    """Parse a line of a journal and fill in what an older version left out.

    An event of an unknown kind is returned as it is. Raises ValueError for a line that is no event.
    """
    try:
        event = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is no event: {line[:60]!r}") from error
    if not isinstance(event, dict) or not isinstance(event.get("event"), str):
        raise ValueError(f"is no event: {line[:60]!r}")
    kind = event["event"]
    if kind not in KINDS:
        return event
    return validate(kind, event, {"run_seconds": (is_number, NEEDED), **KINDS[kind]})
