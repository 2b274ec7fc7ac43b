"""Rows and cells of the pages that list runs and show a trial, in words."""

from typing import Any

from app.run import store, summaries
from app.run.formatting import configuration, duration, number
from app.run.store import Run


def list_row(row: summaries.Row) -> dict[str, Any]:
    """Return a run's row of the list in words."""
    if "error" in row:
        return {"name": row["name"], "status": row["status"], "error": row["error"]}
    best = row["best"]
    value = None if best is None else best["metrics"].get(row["metric"])
    return {
        "name": row["name"],
        "status": str(row["status"]),
        "error": None,
        "began": (row["began"] or "")[:16].replace("T", " "),
        "took": duration(row["seconds"]),
        "trials": f"{row['finished']} of {row['trials']}",
        "best": "" if value is None else f"{row['metric']} {number(value)}",
        "config": "" if best is None else configuration(best["config"]),
    }


def trial_page(run: Run, asked: str) -> dict[str, Any]:
    """Return what the page of a trial shows."""
    trial_id = store.find_trial(run, asked)
    found = next(trial for trial in run.result["trials"] if trial["trial_id"] == trial_id)
    names = list(dict.fromkeys(name for epoch in found["history"] for name in epoch))
    rows = [
        ["" if epoch.get(name) is None else number(epoch[name]) for name in names]
        for epoch in found["history"]
    ]
    best = run.result["best"]
    reason, _, lines = (found["error"] or "").partition("\n")
    return {
        "name": run.name,
        "trial_id": trial_id,
        "status": str(found["status"]),
        "is_best": best is not None and best["trial_id"] == trial_id,
        "config": [(name, number(value)) for name, value in found["config"].items()],
        "reason": reason,
        "lines": lines,
        "took": duration(found["seconds"]),
        "epochs": found["epochs"],
        "metrics": names,
        "rows": rows,
    }
