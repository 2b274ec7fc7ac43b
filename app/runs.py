"""Read runs and act on them: `python -m app.runs list`."""

import argparse
import json
import signal
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

from app.run import comparison, removal, store, tables, trial_output, trial_rows
from app.run.errors import JournalError
from app.run.formatting import size
from app.run.selection import ORDERS, select
from app.run.status import RunStatus
from app.run.store import StoreError
from app.run.summaries import UNREADABLE, summaries
from app.storage.remote_folder import StorageError
from app.storage.working_copy import location
from app.terminal import Version, command, in_one_line, sentence
from trainables.errors.choices import unknown


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command; known mistakes end it with one line and status 1, Ctrl-C with 130."""
    try:
        arguments = parser().parse_args(argv)
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
    with_name = argparse.ArgumentParser(add_help=False)
    with_name.add_argument("name", metavar="NAME", help="the run's name, or how it begins")
    yes = argparse.ArgumentParser(add_help=False)
    yes.add_argument("--yes", action="store_true", help="remove without a question")
    commands = argparse.ArgumentParser(
        prog="python -m app.runs", description="Read runs and act on them."
    )
    commands.add_argument("--version", action=Version)
    add = commands.add_subparsers(dest="command", required=True, metavar="COMMAND").add_parser
    _add_list(add("list", parents=[runs, as_json], help="all runs, the newest first"))
    _add_show(add("show", parents=[with_name, runs], help="one run and its trials"))
    compare = add("compare", parents=[with_name, runs, as_json], help="runs side by side")
    compare.add_argument("others", nargs="+", metavar="NAME", help="the runs to compare it with")
    logs = add("logs", parents=[with_name, runs], help="what a trial printed")
    logs.add_argument("trial", metavar="TRIAL", help="the trial's number")
    logs.add_argument("--follow", action="store_true", help="go on until the trial ends")
    export = add("export", parents=[with_name, runs], help="export a trial's model")
    export.add_argument("--trial", metavar="ID", help="the trial (the best)")
    target = "where its model goes (the run's own model is replaced)"
    export.add_argument("--to", metavar="FOLDER", type=Path, help=target)
    report = add("report", parents=[with_name, runs], help="write a run's report, an HTML file")
    report.add_argument("--to", metavar="FILE", type=Path, help="where (report.html of the run)")
    _add_watch(add("watch", parents=[runs], help="show runs in a browser, as they go on"))
    add("repair", parents=[with_name, runs], help="keep what can be read of a damaged journal")
    delete = add("delete", parents=[runs, yes], help="remove runs, with their models")
    delete.add_argument("names", nargs="+", metavar="NAME", help="the run's whole name")
    losers = "remove the checkpoints of all trials but the best and the model's"
    prune = add("prune", parents=[runs, yes], help=losers)
    ended = "the run's name, or how it begins (all runs that have ended)"
    prune.add_argument("names", nargs="*", metavar="NAME", help=ended)
    add("stop", parents=[with_name, runs], help="end a run that is going on, and wait for its end")
    return commands


def _add_list(command: argparse.ArgumentParser) -> None:
    orders = f"the order: {', '.join(ORDERS)} (began: the newest first)"
    _add_choice(command, "--sort", ORDERS, default="began", metavar="ORDER", help=orders)
    statuses = [*(status.value for status in RunStatus), UNREADABLE]
    only = f"only runs of this status: {', '.join(statuses)}"
    _add_choice(command, "--status", statuses, metavar="STATUS", help=only)
    only = "only runs of the experiment of that name"
    command.add_argument("--experiment", metavar="NAME", help=only)


def _add_choice(
    command: argparse.ArgumentParser, flag: str, names: Iterable[str], **named: Any
) -> None:
    """Add a flag for one of some names; another text is a known mistake, not one of usage."""

    def read(text: str) -> str:
        if text not in names:
            raise StoreError(f"{flag}: {unknown(text, names)}")
        return text

    command.add_argument(flag, type=read, choices=names, **named)  # choices: for completion


def _list(arguments: argparse.Namespace) -> None:
    rows = select(
        summaries(store.open_runs(arguments.runs)),
        sort=arguments.sort,
        status=arguments.status,
        experiment=arguments.experiment,
    )
    print(json.dumps(rows, indent=2) if arguments.json else tables.list_table(rows))


def _add_show(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--metric", metavar="NAME", action="append", default=[], help="show this metric too")
    add("--epochs", action="store_true", help="a line for each epoch of each trial")
    form = command.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--csv", action="store_true", help="print CSV: a row for each trial or epoch")


def _show(arguments: argparse.Namespace) -> None:
    run = store.find(store.open_runs(arguments.runs), arguments.name)
    metrics = trial_rows.chosen_metrics(run, arguments.metric)
    if arguments.json:
        print(json.dumps(run.result))
    elif arguments.csv and arguments.epochs:
        print(trial_rows.as_csv(trial_rows.epoch_rows(run, metrics)), end="")
    elif arguments.csv:
        print(trial_rows.as_csv(trial_rows.trial_rows(run, metrics)), end="")
    elif arguments.epochs:
        print(tables.epoch_table(run, metrics))
    else:
        print(tables.run_table(run, arguments.metric))


def _compare(arguments: argparse.Namespace) -> None:
    runs = store.open_runs(arguments.runs)
    names = (arguments.name, *arguments.others)
    compared = comparison.compare([store.find(runs, name) for name in names])
    text = json.dumps(compared, indent=2) if arguments.json else tables.comparison_table(compared)
    print(text)


def _logs(arguments: argparse.Namespace) -> None:
    run = store.find(store.open_runs(arguments.runs), arguments.name)
    trial = store.find_trial(run, arguments.trial)
    output = trial_output.read_output(run, trial, follow=arguments.follow)
    is_empty = True
    for text in trial_output.for_terminal(output) if sys.stdout.isatty() else output:
        print(text, end="", flush=True)
        is_empty = is_empty and not text
    if is_empty:
        why = "has no log: it printed nothing, or an older version ran it"
        print(f"{run.name}: trial {trial} {why}", file=sys.stderr)


def _export(arguments: argparse.Namespace) -> None:
    # What exports a model is slow to import, and nothing else here needs it.
    from app.engine.model_export import export_again
    from app.engine.outcome import RunError
    from app.experiment.errors import ExperimentError
    from trainables.contract import TrainableError

    run = store.find(store.open_runs(arguments.runs), arguments.name)
    try:
        with redirect_stdout(sys.stderr):  # A user's code may print.
            folder = export_again(run, arguments.trial, arguments.to and arguments.to.absolute())
        print(location(folder))
    except (ExperimentError, RunError, TrainableError) as error:
        raise StoreError(str(error)) from error


def _report(arguments: argparse.Namespace) -> None:
    from app.report.page import fetch, write_report, write_to

    run = store.find(store.open_runs(arguments.runs), arguments.name)
    fetch(run)
    if arguments.to is None:
        print(location(write_report(run)))
    else:
        print(write_to(run, arguments.to.absolute()))


def _add_watch(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("name", metavar="NAME", nargs="?", help="the run to begin with (all runs)")
    add("--port", type=_port, default=8081, metavar="N", help="port to listen on (8081)")
    add("--dashboard", metavar="URL", help="address of Ray's dashboard, to link to")


def _port(text: str) -> int:
    if not text.isdecimal():
        raise StoreError(f"--port: needs a number from 0 to 65535, got {text!r}")
    return int(text)


def _watch(arguments: argparse.Namespace) -> None:
    from app.watch.server import listen, serve

    runs = store.open_runs(arguments.runs)
    name = arguments.name
    path = "" if name is None else f"runs/{store.find_folder(runs, name).name}"
    say = partial(print, file=sys.stderr, flush=True)
    with listen(arguments.port) as listener:
        serve(runs, listener, say, path=path, dashboard=arguments.dashboard)


def _repair(arguments: argparse.Namespace) -> None:
    from app.run.repair import repair  # slow to import, and nothing else here needs it

    folder = store.find_folder(store.open_runs(arguments.runs), arguments.name)
    dropped, copy = repair(folder)
    for reason in dropped:
        print(f"dropped: {reason}")
    if copy is None:
        print(f"{folder.name}: its journal is sound; nothing was changed")
    else:
        print(f"the journal as it was: {location(copy)}")


def _delete(arguments: argparse.Namespace) -> None:
    removals = removal.plan_deletion(store.open_runs(arguments.runs), arguments.names)
    _remove(removals, "delete", is_confirmed=arguments.yes)


def _prune(arguments: argparse.Namespace) -> None:
    runs = store.open_runs(arguments.runs)
    removals, passed_over = removal.plan_pruning(runs, arguments.names)
    for reason in passed_over:
        print(f"passed over: {in_one_line(reason)}", file=sys.stderr)
    _remove(removals, "prune", is_confirmed=arguments.yes)


def _remove(removals: Sequence[removal.Removal], verb: str, *, is_confirmed: bool) -> None:
    """Say what is to be removed, ask, and remove it."""
    if not removals:
        print(f"there is nothing to {verb}", file=sys.stderr)
        return
    if not is_confirmed:
        print(tables.removal_table(removals), file=sys.stderr)
        if not _is_agreed(f"{verb} this and free {size(sum(one.size for one in removals))}?"):
            print("nothing was removed", file=sys.stderr)
            return
    for planned in removals:
        removal.remove(planned)
        print(f"{planned.folder.name}: freed {size(planned.size)} ({planned.what})", flush=True)


def _is_agreed(question: str) -> bool:
    """Ask on the terminal; raises StoreError where there is none to ask on."""
    if not sys.stdin.isatty():
        raise StoreError("nothing was removed: there is no terminal to ask on; add --yes")
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _stop(arguments: argparse.Namespace) -> None:
    run = store.find(store.open_runs(arguments.runs), arguments.name)
    store.request_stop(run)
    print(f"asked {run.name} to stop; waiting for its end", file=sys.stderr)
    print(tables.heading(store.wait_for_end(run).result))


COMMANDS: Mapping[str, Callable[[argparse.Namespace], None]] = {
    "list": _list,
    "show": _show,
    "compare": _compare,
    "logs": _logs,
    "export": _export,
    "report": _report,
    "watch": _watch,
    "repair": _repair,
    "delete": _delete,
    "prune": _prune,
    "stop": _stop,
}


if __name__ == "__main__":
    command(main)
