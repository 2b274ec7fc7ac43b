"""Read runs and act on them: `python -m app.runs list`."""

import argparse
import codecs
import io
import json
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from app.run import comparison, failure_summary, store
from app.run.formatting import configuration, duration, number
from app.run.journal import JournalError
from app.run.result_file import RESULT
from app.run.status import FINISHED
from app.run.store import Run, StoreError, folder_of
from app.run.summaries import model_remark, summaries
from app.storage.remote_folder import StorageError
from app.storage.run_storage import run_storage
from app.storage.working_copy import location
from app.terminal import command, escaped, in_one_line, sentence

POLL_S = 0.2
"""How often a run that is going on is looked at."""
CHUNK = 2**16


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command; known mistakes end it with one line and status 1, Ctrl-C with 130."""
    arguments = parser().parse_args(argv)
    try:
        COMMANDS[arguments.command](arguments)
    except (JournalError, StorageError, StoreError) as error:
        sys.exit(sentence(error))
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


def parser() -> argparse.ArgumentParser:
    """The command's sub-commands and flags."""
    runs = argparse.ArgumentParser(add_help=False)
    runs.add_argument("--runs", default="runs", metavar="PLACE", help="where runs are kept (runs)")
    as_json = argparse.ArgumentParser(add_help=False)
    as_json.add_argument("--json", action="store_true", help="print JSON")
    named = argparse.ArgumentParser(add_help=False)
    named.add_argument("name", metavar="NAME", help="the run's name, or how it begins")
    commands = argparse.ArgumentParser(
        prog="python -m app.runs", description="Read runs and act on them."
    )
    add = commands.add_subparsers(dest="command", required=True, metavar="COMMAND").add_parser
    add("list", parents=[runs, as_json], help="all runs, the newest first")
    add("show", parents=[named, runs, as_json], help="one run and its trials")
    compare = add("compare", parents=[named, runs, as_json], help="runs side by side")
    compare.add_argument("others", nargs="+", metavar="NAME", help="the runs to compare it with")
    logs = add("logs", parents=[named, runs], help="what a trial printed")
    logs.add_argument("trial", metavar="TRIAL", help="the trial's number")
    logs.add_argument("--follow", action="store_true", help="go on until the trial ends")
    export = add("export", parents=[named, runs], help="export a trial's model")
    export.add_argument("--trial", metavar="ID", help="the trial (the best)")
    target = "where its model goes (the run's own model is replaced)"
    export.add_argument("--to", metavar="FOLDER", type=Path, help=target)
    add("repair", parents=[named, runs], help="keep what can be read of a damaged journal")
    add("stop", parents=[named, runs], help="end a run that is going on, and wait for its end")
    return commands


def _list(arguments: argparse.Namespace) -> None:
    found = summaries(store.place(arguments.runs))
    if arguments.json:
        print(json.dumps(found, indent=2))
    else:
        print(table(("run", "status", "trials", "best", "trial", "model"), map(_cells, found)))


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    if "error" in row:
        return (row["name"], row["status"], "", "", "", "")
    best = row["best"]
    value = _value(best, row["metric"]) if best else ""
    trial = f"{best['trial_id']}  {configuration(best['config'])}" if best else ""
    trials = f"{row['finished']} of {row['trials']}"
    named = f"{row['metric']} {value}" if value else ""
    return (row["name"], row["status"], trials, named, trial, _model(row))


def _model(result: Mapping[str, Any]) -> str:
    """A run's model, its trial where that is not the best one, and why an export failed."""
    told = model_remark(result)
    model = f"{result['model']} ({told})" if told else result["model"]
    return "; ".join(filter(None, (model, result["model_error"])))


def _value(outcome: Mapping[str, Any], metric: str) -> str:
    value = outcome["metrics"].get(metric)
    return "" if value is None else number(value)


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
            print(in_one_line(f"trial {trial['trial_id']}: {trial['error'].splitlines()[0]}"))
    as_typed = store.named(run.folder, run.folder.parent)
    for remark in (*failure_summary.counted(result), *failure_summary.lost_best(result, as_typed)):
        print(in_one_line(remark))
    path = location(run.folder / result["model"]) if result["model"] else None
    if told := _model({**result, "model": path}):
        print(f"model: {told}")


def _heading(result: Mapping[str, Any]) -> str:
    reason = f" ({result['reason']})" if result["reason"] else ""
    took = duration(result["seconds"])
    return in_one_line(f"{result['name']}: {result['status']}{reason} after {took}")


def _trial_cells(trial: Mapping[str, Any], result: Mapping[str, Any]) -> tuple[str, ...]:
    best = result["best"]
    mark = " *" if best and best["trial_id"] == trial["trial_id"] else ""
    return (
        trial["trial_id"] + mark,
        trial["status"],
        configuration({**trial["config"], **_seed(trial)}),
        str(trial["epochs"]),
        _value(trial, result["metric"]),
        f"{trial['seconds']:.1f}",
    )


def _seed(trial: Mapping[str, Any]) -> dict[str, Any]:
    """The seed of a trial that has another than others of its configuration."""
    return {"seed": trial["seed"]} if "seed" in trial else {}


def _compare(arguments: argparse.Namespace) -> None:
    runs = store.place(arguments.runs)
    names = (arguments.name, *arguments.others)
    compared = comparison.compare([store.find(runs, name) for name in names])
    if arguments.json:
        print(json.dumps(compared, indent=2))
        return
    columns = ("run", *(run["name"] for run in compared["runs"]))
    remarks = map(escaped, comparison.remarks(compared))
    print("\n".join([table(columns, comparison.cells(compared)), *remarks]))


def _logs(arguments: argparse.Namespace) -> None:
    run = store.find(store.place(arguments.runs), arguments.name)
    trial = store.trial_id(run, arguments.trial)
    nothing = True
    printed = _printed(run, trial, follow=arguments.follow)
    for text in for_terminal(printed) if sys.stdout.isatty() else printed:
        print(text, end="", flush=True)
        nothing = nothing and not text
    if nothing:
        why = "has no log: it printed nothing, or an older version ran it"
        print(f"{run.name}: trial {trial} {why}", file=sys.stderr)


def for_terminal(texts: Iterable[str]) -> Iterator[str]:
    """Parts of a log with their control characters shown; a carriage return ends a line."""
    lines = io.IncrementalNewlineDecoder(None, translate=True)
    yield from (escaped(lines.decode(text)) for text in texts)
    yield escaped(lines.decode("", final=True))


def _printed(run: Run, trial: str, *, follow: bool) -> Iterator[str]:
    """What a trial printed, and, where that is followed, what it prints until it ends."""
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    read = 0
    while True:
        # Asked before reading, so that the last words are read after the end.
        more = follow and _may_print(run, trial)
        path = store.log(run.folder, trial)
        for chunk in _chunks(path, read):
            read += len(chunk)
            yield decode(chunk)
        if not more:
            break
        time.sleep(POLL_S)
    yield decode(b"", True)


def _chunks(path: Path, start: int) -> Iterator[bytes]:
    """What a file holds from there on; nothing where there is no file."""
    try:
        with path.open("rb") as file:
            file.seek(start)
            while chunk := file.read(CHUNK):
                yield chunk
    except FileNotFoundError:
        return
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from error


def _may_print(run: Run, trial: str) -> bool:
    """Whether a process has the run in hand and the trial is not finished."""
    if not run_storage(run.folder).is_running():
        return False
    run_storage(run.folder).refresh(RESULT)
    trials = store.read(run.folder).result["trials"]
    return any(each["trial_id"] == trial and each["status"] not in FINISHED for each in trials)


def _export(arguments: argparse.Namespace) -> None:
    # What exports a model is slow to import, and nothing else here needs it.
    from app.engine.model_export import export_again
    from app.engine.outcome import RunError
    from app.experiment.errors import ExperimentError
    from trainables.contract import TrainableError

    run = store.find(store.place(arguments.runs), arguments.name)
    try:
        with redirect_stdout(sys.stderr):  # A user's code may print.
            folder = export_again(run, arguments.trial, arguments.to and arguments.to.absolute())
        print(location(folder))
    except (ExperimentError, RunError, TrainableError) as error:
        raise StoreError(str(error)) from error


def _repair(arguments: argparse.Namespace) -> None:
    # As an export, it may have to fetch the run.
    from app.run.repair import repair

    folder = folder_of(store.place(arguments.runs), arguments.name)
    dropped, kept = repair(folder)
    for told in dropped:
        print(f"dropped: {told}")
    if kept is None:
        print(f"{folder.name}: its journal is sound; nothing was changed")
    else:
        print(f"the journal as it was: {location(kept)}")


def _stop(arguments: argparse.Namespace) -> None:
    run = store.find(store.place(arguments.runs), arguments.name)
    store.request_stop(run)
    print(f"asked {run.name} to stop; waiting for its end", file=sys.stderr)
    while run_storage(run.folder).is_running():
        time.sleep(POLL_S)
    run_storage(run.folder).refresh(RESULT)
    store.withdraw_stop(run)
    print(_heading(store.read(run.folder).result))


COMMANDS: Mapping[str, Callable[[argparse.Namespace], None]] = {
    "list": _list,
    "show": _show,
    "compare": _compare,
    "logs": _logs,
    "export": _export,
    "repair": _repair,
    "stop": _stop,
}


def table(columns: Sequence[str], rows: Iterable[tuple[str, ...]]) -> str:
    """Cells in aligned columns under their names."""
    lines = [tuple(map(in_one_line, line)) for line in (columns, *rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


if __name__ == "__main__":
    command(main)
