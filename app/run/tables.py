"""Tables of runs and trials, as `app.runs` prints them."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from app.run import comparison, failure_summary
from app.run.commands import run_arguments
from app.run.formatting import configuration, duration, number, size
from app.run.removal import Removal
from app.run.store import Run
from app.run.summaries import Row, model_remark
from app.storage.working_copy import location
from app.terminal import escaped, in_one_line


def list_table(rows: Iterable[Row]) -> str:
    """Return a table with a line for each run."""
    columns = ("run", "status", "began", "took", "trials", "best", "trial", "model")
    return table(columns, map(_run_cells, rows))


def run_table(run: Run, metrics: Sequence[str] = ()) -> str:
    """Return what there is to say of one run: its outcome, trials, failures and model.

    Args:
        run: The run.
        metrics: Metrics that are shown beside the objective.
    """
    result = run.result
    shown = list(dict.fromkeys((result["metric"], *metrics)))
    columns = ("trial", "status", "configuration", "epochs", *shown, "seconds")
    lines = [
        heading(result),
        table(columns, (_trial_cells(trial, result, shown) for trial in result["trials"])),
    ]
    lines += [
        in_one_line(f"trial {trial['trial_id']}: {trial['error'].splitlines()[0]}")
        for trial in result["trials"]
        if trial["error"]
    ]
    argument = run_arguments(run.folder)
    lines += map(in_one_line, failure_summary.describe_failures(result))
    lines += map(in_one_line, failure_summary.describe_lost_best(result, argument))
    path = location(run.folder / result["model"]) if result["model"] else None
    if model := _model({**result, "model": path}):
        lines.append(f"model: {model}")
    return "\n".join(lines)


def epoch_table(run: Run, metrics: Sequence[str]) -> str:
    """Return a table with a line for each epoch of each trial."""
    rows = (
        (trial["trial_id"], str(epoch.get("epoch", "")), *(_cell(epoch, name) for name in metrics))
        for trial in run.result["trials"]
        for epoch in trial["history"]
    )
    return table(("trial", "epoch", *metrics), rows)


def comparison_table(compared: Mapping[str, Any]) -> str:
    """Return a table with a column for each run of a comparison, and remarks below it."""
    columns = ("run", *(run["name"] for run in compared["runs"]))
    remarks = map(escaped, comparison.remarks(compared))
    return "\n".join([table(columns, comparison.cells(compared)), *remarks])


def removal_table(removals: Iterable[Removal]) -> str:
    """Return a table with a line for each run of which something is to be removed."""
    rows = ((planned.folder.name, size(planned.size), planned.what) for planned in removals)
    return table(("run", "frees", "contents"), rows)


def heading(result: Mapping[str, Any]) -> str:
    """Return a run's name, how it ended and how long it took."""
    reason = f" ({result['reason']})" if result["reason"] else ""
    took = duration(result["seconds"])
    return in_one_line(f"{result['name']}: {result['status']}{reason} after {took}")


def table(columns: Sequence[str], rows: Iterable[tuple[str, ...]]) -> str:
    """Align cells under the names of their columns."""
    lines = [tuple(map(in_one_line, line)) for line in (columns, *rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _run_cells(row: Row) -> tuple[str, ...]:
    began = _local_time(row["began"])
    if "error" in row:
        return (row["name"], row["status"], began, "", "", "", "", "")
    best = row["best"]
    value = _value(best, row["metric"]) if best else ""
    trial = f"{best['trial_id']}  {configuration(best['config'])}" if best else ""
    trials = f"{row['finished']} of {row['trials']}"
    objective = f"{row['metric']} {value}" if value else ""
    took = duration(row["seconds"])
    return (row["name"], row["status"], began, took, trials, objective, trial, _model(row))


def _local_time(time: str | None) -> str:
    return "" if time is None else f"{datetime.fromisoformat(time).astimezone():%Y-%m-%d %H:%M}"


def _trial_cells(
    trial: Mapping[str, Any], result: Mapping[str, Any], metrics: Sequence[str]
) -> tuple[str, ...]:
    best = result["best"]
    mark = " *" if best and best["trial_id"] == trial["trial_id"] else ""
    # Trials of one configuration differ by their seeds.
    seed = {"seed": trial["seed"]} if "seed" in trial else {}
    return (
        trial["trial_id"] + mark,
        trial["status"],
        configuration({**trial["config"], **seed}),
        str(trial["epochs"]),
        *(_value(trial, metric) for metric in metrics),
        f"{trial['seconds']:.1f}",
    )


def _model(result: Mapping[str, Any]) -> str:
    """The run's model, its trial where that is not the best one, and why an export failed."""
    remark = model_remark(result)
    model = f"{result['model']} ({remark})" if remark else result["model"]
    return "; ".join(filter(None, (model, result["model_error"])))


def _value(outcome: Mapping[str, Any], metric: str) -> str:
    return _cell(outcome["metrics"], metric)


def _cell(values: Mapping[str, Any], name: str) -> str:
    value = values.get(name)
    return "" if value is None else number(value)
