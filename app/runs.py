"""Read runs and act on them: `python -m app.runs list`."""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from app import store
from app.experiment import ExperimentError
from app.journal import JournalError
from app.progress import configuration, duration, number
from app.run import RunError, export_again
from app.store import Run, StoreError
from trainables.contract import TrainableError

KNOWN = (ExperimentError, JournalError, RunError, StoreError, TrainableError)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command; known mistakes end it with one line and status 1."""
    arguments = parser().parse_args(argv)
    try:
        COMMANDS[arguments.command](arguments)
    except KNOWN as error:
        sys.exit(f"error: {' '.join(str(error).split())}")


def parser() -> argparse.ArgumentParser:
    """The command's sub-commands and flags."""
    runs = argparse.ArgumentParser(add_help=False)
    runs.add_argument("--runs", default="runs", metavar="PLACE", help="where runs are kept (runs)")
    as_json = argparse.ArgumentParser(add_help=False)
    as_json.add_argument("--json", action="store_true", help="print JSON")
    commands = argparse.ArgumentParser(
        prog="python -m app.runs", description="Read runs and act on them."
    )
    add = commands.add_subparsers(dest="command", required=True, metavar="COMMAND").add_parser
    add("list", parents=[runs, as_json], help="all runs, the newest first")
    show = add("show", parents=[runs, as_json], help="one run and its trials")
    show.add_argument("name", metavar="NAME", help="the run's name, or how it begins")
    export = add("export", parents=[runs], help="export a trial's model")
    export.add_argument("name", metavar="NAME", help="the run's name, or how it begins")
    export.add_argument("--trial", metavar="ID", help="the trial (the best)")
    return commands


def _list(arguments: argparse.Namespace) -> None:
    found = [_row(run) for run in store.all_runs(store.place(arguments.runs))]
    if arguments.json:
        print(json.dumps(found, indent=2))
    else:
        print(table(("run", "status", "trials", "best", "trial", "model"), map(_cells, found)))


def _row(run: Run) -> dict[str, Any]:
    """A run in a line: its outcome without its trials."""
    outcome = {key: value for key, value in run.result.items() if key not in ("trials", "versions")}
    trials = run.result["trials"]
    finished = sum(trial["status"] in ("completed", "stopped") for trial in trials)
    return {**outcome, "trials": len(trials), "finished": finished}


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    best = row["best"]
    value = f"{row['metric']} {number(best['metrics'][row['metric']])}" if best else ""
    trial = f"{best['trial_id']}  {configuration(best['config'])}" if best else ""
    trials = f"{row['finished']} of {row['trials']}"
    return (row["name"], row["status"], trials, value, trial, row["model"] or "")


def _show(arguments: argparse.Namespace) -> None:
    run = store.find(store.place(arguments.runs), arguments.name)
    result = run.result
    if arguments.json:
        print(json.dumps(result))
        return
    print(_heading(result))
    columns = ("trial", "status", "configuration", "epochs", result["metric"], "seconds")
    print(table(columns, (_trial_cells(trial, result) for trial in result["trials"])))
    for trial in result["trials"]:
        if trial["error"]:
            print(f"trial {trial['trial_id']}: {trial['error'].splitlines()[0]}")
    if result["model"]:
        print(f"model: {run.folder / result['model']}")


def _heading(result: Mapping[str, Any]) -> str:
    reason = f" ({result['reason']})" if result["reason"] else ""
    return f"{result['name']}: {result['status']}{reason} after {duration(result['seconds'])}"


def _trial_cells(trial: Mapping[str, Any], result: Mapping[str, Any]) -> tuple[str, ...]:
    best = result["best"]
    mark = " *" if best and best["trial_id"] == trial["trial_id"] else ""
    value = trial["metrics"].get(result["metric"])
    return (
        trial["trial_id"] + mark,
        trial["status"],
        configuration(trial["config"]),
        str(trial["epochs"]),
        "" if value is None else number(value),
        f"{trial['seconds']:.1f}",
    )


def _export(arguments: argparse.Namespace) -> None:
    run = store.find(store.place(arguments.runs), arguments.name)
    print(export_again(run, arguments.trial))


COMMANDS: Mapping[str, Callable[[argparse.Namespace], None]] = {
    "list": _list,
    "show": _show,
    "export": _export,
}


def table(columns: Sequence[str], rows: "map[tuple[str, ...]] | Any") -> str:
    """Cells in aligned columns under their names."""
    lines = [tuple(columns), *rows]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


if __name__ == "__main__":
    main()
