"""Tune an experiment and export its best model: `python -m app.tune --num-samples 20`."""

if __name__ == "__main__":  # before imports that may take seconds
    from app.cluster.signals import exit_on_signals

    exit_on_signals()

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from app.cluster.connection import ClusterError, find_address
from app.cluster.signals import Interrupted, SignalHandler
from app.engine.closing import closing_lines, early_stopping_lines
from app.engine.model_export import export_missing
from app.engine.outcome import RunError
from app.engine.plan import ClusterOptions
from app.engine.progress import progress
from app.engine.resumption import check_no_script_flags, is_finished, resumed_experiment
from app.engine.runner import run
from app.experiment import loading
from app.experiment.errors import ExperimentError
from app.experiment.flags import add_flags, number_of, typed_values, whole
from app.experiment.schema import Experiment, ResourceTable
from app.experiment.script_table import ScriptTable
from app.run import store
from app.run.commands import resume_command, show_command
from app.run.errors import JournalError
from app.run.layout import MODEL
from app.run.store import StoreError
from app.search.warm_start import WarmStart, warm_start
from app.storage.remote_folder import StorageError
from app.terminal import (
    OutputError,
    ReaderGone,
    Version,
    command,
    in_one_line,
    sentence,
    stdout_to_stderr,
)
from trainables.contract import TrainableError

KNOWN = (
    ClusterError,
    ExperimentError,
    JournalError,
    RunError,
    StorageError,
    StoreError,
    TrainableError,
)
"""Errors that are shown in one line; all others keep their traceback."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command; known errors end it with one line and status 1, a signal with a sentence."""
    signals = SignalHandler(progress(sys.stderr).say)
    try:
        with signals.handled():
            _tune(parser().parse_args(argv), signals)
    except KNOWN as error:
        sys.exit(sentence(error))
    except Interrupted as interrupt:
        progress(sys.stderr).say(signals.last_words())
        sys.exit(interrupt.status)


def parser() -> argparse.ArgumentParser:
    """The command's flags; one that is not typed leaves the experiment's own value."""
    flags = argparse.ArgumentParser(
        prog="python -m app.tune",
        description="Search an experiment's hyperparameters, then export the best trial's model.",
        argument_default=argparse.SUPPRESS,
    )
    add = flags.add_argument
    add("--version", action=Version)
    add("experiment", nargs="?", type=Path, default=None, metavar="EXPERIMENT.toml")
    add("--name", dest="run_name", metavar="NAME", default=None, help="the run's name")
    add("--runs", default="runs", metavar="PLACE", help="where runs are kept (runs)")
    add_flags(flags, Experiment)
    add_flags(flags, ScriptTable)
    add_flags(flags, ResourceTable)
    add("--resume", metavar="NAME", default=None, help="go on with an interrupted run")
    warm = "start from what an earlier run learned (may be given more than once)"
    add("--warm-start", metavar="NAME", action="append", default=[], help=warm)
    log = "only say what the script's regexes find in this log"
    add("--check-log", type=Path, metavar="FILE", default=None, help=log)
    add("--address", metavar="ADDR", default=None, help="join a Ray cluster: auto or host:port")
    wait = "seconds to wait for nodes with room for a trial (0)"
    add("--wait", type=number_of("--wait"), default=0.0, metavar="S", help=wait)
    page = "show the run in a browser as it goes on, on port 8081 or a free one after it"
    add("--watch", action="store_true", default=False, help=page)
    add("--serve", action="store_true", default=False, help="serve the best model at the end")
    improved = "export the best model so far whenever it improves"
    add("--export-best", action="store_true", default=False, help=improved)
    add("--port", type=whole("--port"), default=8080, metavar="N", help="port to serve on (8080)")
    add("--json", action="store_true", default=False, help="print result.json and nothing else")
    return flags


def _tune(arguments: argparse.Namespace, signals: SignalHandler) -> None:
    if arguments.check_log is not None:
        _check_log(loading.load(arguments.experiment, typed_values(arguments)), arguments.check_log)
        return
    address = find_address(arguments.address)
    runs = store.open_runs(arguments.runs)
    asked, folder = _experiment_and_folder(arguments, runs)
    is_over = arguments.resume is not None and is_finished(store.read(folder), asked)
    signals.last_words = partial(_how_to_go_on, folder, address)
    if is_over:
        signals.last_words = partial(_how_to_look, folder)
    _check_port(arguments)
    if not 0 <= arguments.wait < math.inf:
        raise ExperimentError(f"--wait: needs seconds of at least 0, got {arguments.wait:g}")
    shown = progress(sys.stderr)
    if is_over:
        shown.say(f"{folder.name} is finished; ask for more by --num-samples or --epochs")
        result = _with_model(store.read(folder), shown.say)
        _print_outcome(arguments, result, folder, [])
        return
    if arguments.resume is not None and (unknown := store.unknown_keys(store.read(folder))):
        shown.say(f"passed over, as this version does not know it: {', '.join(unknown)}")
    warm = _warm(arguments, asked, runs)
    for remark in warm.messages if warm else ():
        shown.say(remark)
    try:
        # Ray and the trainable print to stderr; stdout is for the result.
        with _page(arguments, folder), stdout_to_stderr():
            record = run(
                asked,
                folder,
                shown,
                resume=arguments.resume is not None,
                warm=warm,
                options=ClusterOptions(arguments.address, arguments.wait),
                export_best=arguments.export_best,
                needs_model=_needs_model(arguments),
                signals=signals,
            )
    except Interrupted:
        if arguments.json and store.exists(folder):
            _print_json(folder)
        raise
    signals.last_words = partial(_how_to_look, folder)
    _print_outcome(arguments, record.as_json(), folder, early_stopping_lines(asked, record))


@contextmanager
def _page(arguments: argparse.Namespace, folder: Path) -> Iterator[None]:
    """Serve the page of the run during the block if that was asked for."""
    if not arguments.watch:
        yield
        return
    from app.watch.beside import page_beside

    with page_beside(folder):
        yield


def _check_log(asked: Experiment, log: Path) -> None:
    """Print what each regex finds in a log; raise ExperimentError without an objective."""
    found = asked.kind.check_log(log, progress(sys.stderr).say)
    print("\n".join(map(str, found)), flush=True)
    if not any(tried.values for tried in found if tried.name == asked.metric):
        raise ExperimentError(f"--check-log: nothing in {log} is a value of {asked.metric!r}")


def _print_outcome(
    arguments: argparse.Namespace,
    result: dict[str, Any],
    folder: Path,
    remarks: Sequence[str],
) -> None:
    """Print the result, and serve the model if that was asked for.

    Raises RunError, after printing, if the model is asked for or could not be made.
    """
    with ExitStack() as printing, _result_named(folder):
        if arguments.serve:
            printing.enter_context(suppress(ReaderGone))
        if arguments.json:
            _print_json(folder)
        else:
            lines = [*closing_lines(result, folder), *remarks]
            print("\n".join(map(in_one_line, lines)), flush=True)
    if result["model_error"] and (arguments.serve or result["export_failed"]):
        raise RunError(result["model_error"])
    if arguments.serve:
        server = [sys.executable, "-m", "serve", str(folder / MODEL)]
        os.execv(sys.executable, [*server, "--port", str(arguments.port)])


@contextmanager
def _result_named(folder: Path) -> Iterator[None]:
    """Say where the result is if it cannot be printed."""
    try:
        yield
    except OutputError as error:
        raise OutputError(f"{error}; {_how_to_look(folder)}") from error


def _needs_model(arguments: argparse.Namespace) -> str | None:
    """Return the flag that needs a model, if one was typed."""
    flags = {"--export-best": arguments.export_best, "--serve": arguments.serve}
    return next((flag for flag, is_typed in flags.items() if is_typed), None)


def _with_model(earlier: store.Run, say: Callable[[str], None]) -> dict[str, Any]:
    """Return the result of a finished run, after another try at an export that failed."""
    if not earlier.result["export_failed"]:
        return earlier.result
    with stdout_to_stderr():
        return export_missing(earlier, say).as_json()


def _experiment_and_folder(arguments: argparse.Namespace, runs: Path) -> tuple[Experiment, Path]:
    """Return the experiment that the command asks for, and the folder of its run."""
    flags = typed_values(arguments)
    if arguments.resume is not None:
        if arguments.run_name is not None:
            raise ExperimentError("--name: a resumed run keeps its name; leave one of them out")
        check_no_script_flags(flags)
        earlier = store.find(runs, arguments.resume)
        return resumed_experiment(earlier, arguments.experiment, flags), earlier.folder
    asked = loading.load(arguments.experiment, flags)
    name = arguments.run_name or f"{asked.name}-{time.strftime('%Y%m%d-%H%M%S')}"
    return asked, store.new_folder(runs, name)


def _warm(arguments: argparse.Namespace, asked: Experiment, runs: Path) -> WarmStart | None:
    """Return what earlier runs give the search; None if none is named."""
    if not arguments.warm_start:
        return None
    if arguments.resume is not None:
        raise ExperimentError("--warm-start: a resumed run knows what it knew; leave it out")
    return warm_start(asked, [store.find(runs, name) for name in arguments.warm_start])


def _check_port(arguments: argparse.Namespace) -> None:
    """Raise ExperimentError now for a port on which nothing could be served at the end."""
    port = arguments.port
    if not 0 <= port < 65536:
        raise ExperimentError(f"--port: needs a number from 0 to 65535, got {port}")
    if arguments.serve:
        from serve.server.sockets import AddressError, bind

        try:
            bind("127.0.0.1", port).close()
        except AddressError as error:
            raise ExperimentError(str(error)) from error


def _print_json(folder: Path) -> None:
    print(json.dumps(store.read(folder).result), flush=True)


def _how_to_look(folder: Path) -> str:
    return f"the run is whole: {show_command(folder)}"


def _how_to_go_on(folder: Path, address: str | None) -> str:
    if not store.exists(folder):
        return "interrupted before the first trial: nothing to go on with"
    return f"interrupted; go on by: {resume_command(folder, address)}"


if __name__ == "__main__":
    command(main)
