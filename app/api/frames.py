"""Trials, epochs and runs as data frames of pandas, which is imported when one is made."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from app.api.trial import Trial

if TYPE_CHECKING:
    import pandas

Row = dict[str, Any]
Seconds = Mapping[tuple[str, int], float]
"""Seconds of training at the end of an epoch, by trial and number of the epoch."""


def trial_frame(trials: Iterable[Trial]) -> "pandas.DataFrame":
    """Make a row for each trial; a value that a trial lacks is missing."""
    rows = [
        {
            "trial_id": trial.trial_id,
            "status": str(trial.status),
            **_prefixed("config", trial.config),
            **_prefixed("metrics", trial.metrics),
            "seconds": trial.seconds,
            "error": trial.error,
        }
        for trial in trials
    ]
    return _frame(rows, ("trial_id", "status"), ("seconds", "error"))


def epoch_frame(trials: Iterable[Trial], seconds: Seconds) -> "pandas.DataFrame":
    """Make a row for each epoch of each trial."""
    rows = [
        {
            "trial_id": trial.trial_id,
            "epoch": epoch["epoch"],
            **_prefixed("metrics", {k: value for k, value in epoch.items() if k != "epoch"}),
            "seconds": seconds.get((trial.trial_id, epoch["epoch"])),
        }
        for trial in trials
        for epoch in trial.history
    ]
    return _frame(rows, ("trial_id", "epoch"), ("seconds",))


def run_frame(rows: Iterable[Row]) -> "pandas.DataFrame":
    """Make a row for each run of `app.run.summaries`; `began` is a time in UTC."""
    import pandas

    flat = [
        {
            **{key: value for key, value in row.items() if key not in ("best", "model_of")},
            "best": (row["best"] or {}).get("metrics", {}).get(row["metric"]),
            "trial_id": (row["best"] or {}).get("trial_id"),
        }
        if "best" in row
        else row
        for row in rows
    ]
    head = ("name", "status", "began", "metric", "mode", "best", "trial_id", "trials", "finished")
    frame = _frame(flat, (*head, "seconds"), ())
    return frame.assign(began=pandas.to_datetime(frame["began"], utc=True))


def _prefixed(prefix: str, values: Mapping[str, Any]) -> Row:
    return {f"{prefix}.{name}": value for name, value in values.items()}


def _frame(rows: Sequence[Row], first: Sequence[str], last: Sequence[str]) -> "pandas.DataFrame":
    import pandas

    between = dict.fromkeys(name for row in rows for name in row if name not in (*first, *last))
    columns = sorted(between, key=lambda name: not name.startswith("config."))
    return pandas.DataFrame(rows, columns=[*first, *columns, *last])
