"""Trials and epochs of a run as rows, for tables and CSV."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from app.run.store import Run, StoreError
from app.terminal import escaped

Row = dict[str, Any]


def chosen_metrics(run: Run, names: Sequence[str]) -> list[str]:
    """Return the metrics to show: those named, or all that were reported, the objective first.

    Raises StoreError for one that no trial reported.
    """
    trials = run.result["trials"]
    reported = dict.fromkeys(
        name for trial in trials for epoch in trial["history"] for name in epoch if name != "epoch"
    )
    objective = run.result["metric"]
    known = [objective, *(name for name in reported if name != objective)]
    for name in names:
        if name not in known:
            raise StoreError(
                f"--metric: no trial of {run.name} reported {name!r}; reported: {', '.join(known)}"
            )
    return list(dict.fromkeys(names)) or known


def trial_rows(run: Run, metrics: Sequence[str]) -> list[Row]:
    """Return a row for each trial, named as Ray and pandas name them: `config.lr`."""
    return [
        {
            "trial_id": trial["trial_id"],
            "status": trial["status"],
            **_config(trial),
            "epochs": trial["epochs"],
            **{f"metrics.{name}": trial["metrics"].get(name) for name in metrics},
            "seconds": trial["seconds"],
            "error": trial["error"],
        }
        for trial in run.result["trials"]
    ]


def epoch_rows(run: Run, metrics: Sequence[str]) -> list[Row]:
    """Return a row for each epoch of each trial."""
    return [
        {
            "trial_id": trial["trial_id"],
            **_config(trial),
            "epoch": epoch.get("epoch"),
            **{f"metrics.{name}": epoch.get(name) for name in metrics},
        }
        for trial in run.result["trials"]
        for epoch in trial["history"]
    ]


def as_csv(rows: Iterable[Row]) -> str:
    """Return rows as CSV with a heading."""
    table = list(rows)
    names = dict.fromkeys(name for row in table for name in row) or ("trial_id",)
    columns = sorted(names, key=lambda name: _PLACES.get(name.partition(".")[0], 1))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in table)
    return text.getvalue()


_PLACES = {
    "trial_id": 0,
    "status": 0,
    "epochs": 2,
    "epoch": 2,
    "metrics": 3,
    "seconds": 4,
    "error": 4,
}
"""Places of columns: conditional parameters, which some trials lack, stay beside the others."""


def _config(trial: Mapping[str, Any]) -> Row:
    seed = {"seed": trial["seed"]} if "seed" in trial else {}
    return {f"config.{name}": value for name, value in {**trial["config"], **seed}.items()}


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return escaped(value)
    return json.dumps(value) if isinstance(value, (list, dict, bool)) else value
