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

from app.cluster.connection import ClusterError
from app.cluster.signals import Interrupted, SignalHandler
from app.engine.model_export import export_missing
from app.engine.outcome import RunError
from app.engine.plan import ClusterOptions
from app.engine.progress import progress
from app.engine.runner import run
from app.experiment import loading, schema
from app.experiment.early_stopping import OFF, with_rule
from app.experiment.errors import ExperimentError
from app.experiment.flags import OF_SCRIPTS, add_flags, number_of, typed_values, whole
from app.experiment.schema import Experiment, ResourceTable
from app.experiment.script_table import ScriptTable
from app.export import model_exporter
from app.run import failure_summary, journal, store
from app.run.commands import resume_command, run_arguments, show_command
from app.run.formatting import configuration, count, duration, number, times
from app.run.journal import JournalError
from app.run.record import Record
from app.run.status import RunStatus, TrialStatus
from app.run.store import StoreError
from app.run.summaries import model_remark
from app.search.warm_start import WarmStart, warm_start
from app.storage.remote_folder import StorageError
from app.storage.working_copy import location
from app.terminal import OutputError, ReaderLeft, command, in_one_line, only_talking, sentence
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
"""Mistakes that are told in one line; everything else keeps its traceback."""
RESOURCES = tuple(ResourceTable.model_fields)
CHANGEABLE = ("num_samples", "max_concurrent", "time_budget", *RESOURCES)
"""What may change when a run is resumed."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command; known mistakes end it with one line and status 1, a signal in words."""
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
    runs = store.open_runs(arguments.runs)
    asked, folder = _asked(arguments, runs)
    is_over = arguments.resume is not None and _is_finished(folder, asked)
    signals.last_words = (
        partial(_how_to_look, folder) if is_over else partial(_how_to_go_on, folder)
    )
    _check_port(arguments)
    if not 0 <= arguments.wait < math.inf:
        raise ExperimentError(f"--wait: needs seconds of at least 0, got {arguments.wait:g}")
    shown = progress(sys.stderr)
    if is_over:
        shown.say(f"{folder.name} is finished; ask for more trials by --num-samples")
        result = _completed(store.read(folder), shown.say)
        _print_outcome(arguments, result, folder, runs, [])
        return
    if arguments.resume is not None and (unknown := store.unknown_keys(store.read(folder))):
        shown.say(f"passed over, as this version does not know it: {', '.join(unknown)}")
    warm = _warm(arguments, asked, runs)
    for remark in warm.messages if warm else ():
        shown.say(remark)
    try:
        # What Ray and the trainable print is talk; stdout is for the result.
        with only_talking():
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
    saved = [] if arguments.json else _early_stopping(asked, record)
    _print_outcome(arguments, record.as_json(), folder, runs, saved)


def _check_log(asked: Experiment, log: Path) -> None:
    """Print what each regex finds in a log; status 1 where the objective's finds nothing."""
    found = asked.kind.check_log(log, progress(sys.stderr).say)
    print("\n".join(map(str, found)), flush=True)
    if not any(tried.values for tried in found if tried.name == asked.metric):
        raise ExperimentError(f"--check-log: nothing in {log} is a value of {asked.metric!r}")


def _print_outcome(
    arguments: argparse.Namespace,
    result: dict[str, Any],
    folder: Path,
    runs: Path,
    saved: Sequence[str],
) -> None:
    """What came out, and the model served where that was asked for.

    Raises RunError, once that is printed, where the model could not be made or is asked for.
    """
    with ExitStack() as printing, _run_is_whole(folder):
        if arguments.serve:
            printing.enter_context(suppress(ReaderLeft))
        if arguments.json:
            _print_json(folder)
        else:
            print(
                "\n".join(map(in_one_line, [*_closing(result, folder, runs), *saved])), flush=True
            )
    if result["model_error"] and (arguments.serve or result["export_failed"]):
        raise RunError(result["model_error"])
    if arguments.serve:
        server = [sys.executable, "-m", "serve", str(folder / "model")]
        os.execv(sys.executable, [*server, "--port", str(arguments.port)])


@contextmanager
def _run_is_whole(folder: Path) -> Iterator[None]:
    """Say where the result is where it cannot be printed."""
    try:
        yield
    except OutputError as error:
        raise OutputError(f"{error}; {_how_to_look(folder)}") from error


def _needs_model(arguments: argparse.Namespace) -> str | None:
    """The flag that was typed and is of no use without a model."""
    flags = {"--export-best": arguments.export_best, "--serve": arguments.serve}
    return next((flag for flag, is_typed in flags.items() if is_typed), None)


def _completed(earlier: store.Run, say: Callable[[str], None]) -> dict[str, Any]:
    """The outcome of a run that is finished, once an export that failed was tried again."""
    if not earlier.result["export_failed"]:
        return earlier.result
    with only_talking():
        return export_missing(earlier, say).as_json()


def _asked(arguments: argparse.Namespace, runs: Path) -> tuple[Experiment, Path]:
    """The experiment that the command asks for, and the folder of its run."""
    flags = typed_values(arguments)
    if arguments.resume is not None:
        if arguments.run_name is not None:
            raise ExperimentError("--name: a resumed run keeps its name; leave one of them out")
        return _resumed(arguments, flags, runs)
    asked = loading.load(arguments.experiment, flags)
    name = arguments.run_name or f"{asked.name}-{time.strftime('%Y%m%d-%H%M%S')}"
    return asked, store.new_folder(runs, name)


def _resumed(
    arguments: argparse.Namespace, flags: dict[str, Any], runs: Path
) -> tuple[Experiment, Path]:
    """The experiment of an earlier run, with what may change in it changed."""
    for key, flag in OF_SCRIPTS.items():
        if key in flags:
            raise ExperimentError(f"{flag}: a resumed run keeps its script; leave it out")
    earlier = store.find(runs, arguments.resume)
    journal.check_exists(earlier.folder)
    before = store.read_experiment(earlier).as_json()
    wanted = (
        before if arguments.experiment is None else loading.load(arguments.experiment, {}).as_json()
    )
    if "data_dir" in flags:
        flags["data_dir"] = str(Path(flags["data_dir"]).resolve())
    if "early_stopping" in flags:
        asked = flags["early_stopping"]
        flags["early_stopping"] = with_rule(before["early_stopping"], asked)
    wanted = {**wanted, **flags}
    for key, value in before.items():
        if key not in CHANGEABLE and key not in ("resources", "folder") and wanted[key] != value:
            raise ExperimentError(
                f"--resume {earlier.name}: its {key} is {value!r} and cannot become"
                f" {wanted[key]!r}; what may change is {', '.join(CHANGEABLE)}"
            )
    changes = {key: flags[key] for key in CHANGEABLE if key in flags and key not in RESOURCES}
    resources = {**before["resources"], **{key: flags[key] for key in RESOURCES if key in flags}}
    asked = schema.from_table({**before, **changes, "resources": resources})
    asked.kind.check_environment()
    return asked, earlier.folder


def _warm(arguments: argparse.Namespace, asked: Experiment, runs: Path) -> WarmStart | None:
    """What the earlier runs that are named give the search; None where none is named."""
    if not arguments.warm_start:
        return None
    if arguments.resume is not None:
        raise ExperimentError("--warm-start: a resumed run knows what it knew; leave it out")
    return warm_start(asked, [store.find(runs, name) for name in arguments.warm_start])


def _is_finished(folder: Path, asked: Experiment) -> bool:
    """Whether a run completed what is asked of it now."""
    earlier = store.read(folder)
    before = store.read_experiment(earlier)
    more = asked.num_samples > before.num_samples or asked.time_budget != before.time_budget
    return bool(earlier.result["status"] == RunStatus.COMPLETED) and not more


def _check_port(arguments: argparse.Namespace) -> None:
    """Raise ExperimentError now for a port on which nothing can be served at the end."""
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


def _closing(result: dict[str, Any], folder: Path, runs: Path) -> list[str]:
    """The best trial, its model, how to serve it and how to look again."""
    best = result["best"]
    metrics = "  ".join(f"{name} {number(value)}" for name, value in best["metrics"].items())
    lines = [
        f"best: trial {best['trial_id']}  {configuration(best['config'])}",
        f"      epoch {best['epoch']}  {metrics}",
    ]
    if result["model"]:
        told = model_remark(result)
        lines += [
            f"model: {location(folder / result['model'])}" + (f" ({told})" if told else ""),
            _how_to_serve(folder, runs, folder / result["model"]),
        ]
    if (folder / model_exporter.WEIGHTS).is_file():
        lines.append(f"weights: {location(folder / model_exporter.WEIGHTS)}")
    ended = f"; {result['reason']}" if result["reason"] else ""
    return [
        *lines,
        *_losses(result),
        *failure_summary.describe_failures(result),
        *failure_summary.describe_lost_best(result, run_arguments(folder)),
        f"look again: {show_command(folder)}",
        f"{count(len(result['trials']), 'trial')} in {duration(result['seconds'])}{ended}",
    ]


def _how_to_serve(folder: Path, runs: Path, model: Path) -> str:
    """The command that serves the run's model, or why none does."""
    from serve.runtime.servable import find_obstacle

    # One that is kept behind a URI may be there alone: whoever serves it fetches it first.
    if model.is_dir() and (why_not := find_obstacle(model)) is not None:
        return f"it cannot be served: {why_not}"
    return f"serve it: python -m serve {run_arguments(folder)}"


def _losses(result: dict[str, Any]) -> list[str]:
    """What the run lost on its way, and which trials went on all the same."""
    lines = [
        f"node {node} was lost; went on elsewhere: trial {', '.join(trials)}"
        for node, trials in result["lost_nodes"].items()
    ]
    again = [trial for trial in result["trials"] if trial["restarts"]]
    if again:
        told = ", ".join(f"trial {trial['trial_id']} {times(trial['restarts'])}" for trial in again)
        lines.append(f"started again from the last checkpoint: {told}")
    return lines


def _early_stopping(asked: Experiment, record: Record) -> list[str]:
    """Say which trials the rule stopped, and how many epochs that saved."""
    if asked.expected_epochs is None or asked.early_stopping.name == OFF:
        return []
    rule = f"early stopping ({asked.early_stopping.name})"
    lines = []
    if record.stopped:
        first = record.trials[record.stopped[0]]
        which = f"trial {first.trial_id} after epoch {first.epochs}"
        one = len(record.stopped) == 1
        several = f"{len(record.stopped)} trials; first {which}"
        lines.append(f"{rule} stopped {which if one else several}")
    sound = [trial for trial in record.trials.values() if trial.status != TrialStatus.FAILED]
    trained, whole = sum(trial.epochs for trial in sound), asked.epochs * len(sound)
    return [*lines, f"{rule} saved {_part(whole - trained, whole)}"]


def _part(epochs: int, of: int) -> str:
    return f"{epochs} of {count(of, 'epoch')}" if epochs else "nothing"


def _how_to_look(folder: Path) -> str:
    return f"the run is whole: {show_command(folder)}"


def _how_to_go_on(folder: Path) -> str:
    if not store.exists(folder):
        return "interrupted before the first trial: nothing to go on with"
    return f"interrupted; go on by: {resume_command(folder)}"


if __name__ == "__main__":
    command(main)
