"""Check a trainable: `python -m trainables.check my_file.py:Mine --set lr=0.1`.

Each promise is a line, printed as soon as it was tried. The exit status is 0 where all hold, 1
where one is broken and 2 for a mistake in the command line.
"""

import argparse
import faulthandler
import json
import logging
import os
import re
import signal
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables import resolve
from trainables.check.request import CheckRequest, read_request
from trainables.contract import Config, TrainableError

if TYPE_CHECKING:
    from trainables.check.promises import Promise

TIMEOUT_S = 600.0
"""Default limit for one promise."""
GRACE_S = 30.0
"""Seconds beyond the limit before a process that cannot even be interrupted is ended."""
MIGRATION_WARNINGS = "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS"
"""Variable by which Ray warns functions of calls that will change."""
CHATTY = ("ray.tune.trainable", "ray.train._internal.storage")
"""Ray's loggers of every checkpoint that is loaded or reported."""
MISSING_KEY = re.compile(r"raised KeyError: '([^']+)'")
"""The text of a broken promise whose method misses a value in its configuration."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command; exits with status 1, and one sentence, where a promise is broken."""
    flags = _parser()
    arguments = flags.parse_args(argv)
    try:
        request = read_request(arguments)
        if request.name is None:
            flags.error("say what to check: FILE:NAME, or --experiment FILE.toml")
        broken = _check(request, arguments.timeout)
    except TrainableError as error:
        sys.exit(f"error: {' '.join(str(error).split())}")
    except BrokenPipeError:  # the reader of the lines has gone, as in `| head -1`
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # what Python flushes at exit
        sys.exit(128 + signal.SIGPIPE)
    if broken:
        more = f", the first of {len(broken)} broken promises" if len(broken) > 1 else ""
        sys.exit(f"error: {broken[0]}{more}")


def _parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(
        prog="python -m trainables.check",
        description="Check that a class or function keeps the promises of trainables/contract.py.",
    )
    add = flags.add_argument
    name = "my_file.py:Mine, package.module:Mine, or a built-in one, such as mnist"
    add("trainable", nargs="?", metavar="FILE:NAME", help=name)
    value = "a value of the configuration, such as lr=0.01 (may be given more than once)"
    add("--set", dest="values", action="append", default=[], type=_value, metavar="K=V", help=value)
    whole = "take the trainable, the metric, the middle of the space and the fixed values from it"
    add("--experiment", type=Path, metavar="FILE.toml", help=whole)
    objective = "the objective (the only number that is reported, or loss)"
    add("--metric", metavar="NAME", help=objective)
    add("--data-dir", type=Path, metavar="DIR", help="dataset folder (the packaged copy)")
    slow = f"how long a promise may take ({TIMEOUT_S:g})"
    add("--timeout", type=float, default=TIMEOUT_S, metavar="S", help=slow)
    return flags


def _value(text: str) -> tuple[str, Any]:
    """Parse NAME=VALUE: the value is TOML, else JSON, else a number such as `1e-3`, else text."""
    name, is_given, value = text.partition("=")
    if not name or not is_given:
        raise argparse.ArgumentTypeError(f"{text!r} is no NAME=VALUE")
    readers: tuple[Callable[[str], Any], ...] = (
        lambda value: tomllib.loads(f"value = {value}")["value"],
        json.loads,
        float,
    )
    for read in readers:
        try:
            return name, read(value)
        except ValueError:
            continue
    return name, value


def _check(request: CheckRequest, limit_s: float) -> list[str]:
    """Print each promise as it is tried; return the text of those that are broken.

    Output of the trainable goes to stderr. Raises TrainableError where it cannot be tuned at all.
    """
    if request.name == "script":
        raise TrainableError(
            "script: a training script promises nothing; try its regexes on what it printed, by"
            " python -m app.tune --entry-point FILE --check-log LOG"
        )
    if request.workers > 1:
        raise TrainableError(
            f"workers_per_trial: what {request.workers} workers do is not checked here; try a trial"
            " of an epoch, by python -m app.tune FILE.toml --num-samples 1 --epochs 1"
        )
    broken = []
    out = sys.stdout
    with redirect_stdout(sys.stderr), _quiet(), _time_limit(limit_s) as restart:
        for promise in _try_promises(request):
            text = _describe(promise, request.config)
            out.write(f"{'broken' if promise.is_broken else 'holds '}  {text}\n")
            out.flush()
            broken += [text] if promise.is_broken else []
            restart()
    return broken


def _try_promises(request: CheckRequest) -> "Iterator[Promise]":
    from trainables.check.promises import try_promises
    from trainables.check.subject import TimedOut

    assert request.name is not None  # it was asked for
    try:
        promises = try_promises(
            resolve(request.name, request.folder),
            request.config,
            metric=request.metric,
            data_dir=request.data_dir,
        )
        with closing(promises):
            yield from promises
    except TimedOut as error:  # in an import, or where a trial is to end
        raise TrainableError(f"{request.name}: hung; {error}") from error


def _describe(promise: "Promise", config: Config) -> str:
    """Put a promise into one line, with the flag that would give a missing value."""
    text = " ".join(promise.text.split())
    missing = MISSING_KEY.search(text) if promise.is_broken else None
    if missing is None or missing[1] in config:
        return text
    return f"{text}; is it a value of the configuration? give it by --set {missing[1]}=VALUE"


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Ray's advice, and let Python leave no caches."""
    loggers = [logging.getLogger(name) for name in CHATTY]
    levels, dont_write = [logger.level for logger in loggers], sys.dont_write_bytecode
    warnings = os.environ.get(MIGRATION_WARNINGS)
    os.environ[MIGRATION_WARNINGS] = "0"
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    sys.dont_write_bytecode = True
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        sys.dont_write_bytecode = dont_write
        os.environ.pop(MIGRATION_WARNINGS)
        os.environ.update({} if warnings is None else {MIGRATION_WARNINGS: warnings})


@contextmanager
def _time_limit(limit_s: float) -> Iterator[Callable[[], None]]:
    """Raise TimedOut in code that takes longer; yields a function that restarts the clock."""
    from trainables.check.subject import TimedOut

    def interrupt(signum: int, frame: Any) -> None:
        raise TimedOut(f"nothing came of it in {limit_s:g} s")

    def restart() -> None:
        signal.setitimer(signal.ITIMER_REAL, limit_s, limit_s)
        # Code that holds the interpreter's lock is never interrupted.
        faulthandler.dump_traceback_later(limit_s + GRACE_S, exit=True, file=2)

    handler = signal.signal(signal.SIGALRM, interrupt)
    timer = signal.getitimer(signal.ITIMER_REAL)
    restart()
    try:
        yield restart
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.setitimer(signal.ITIMER_REAL, *timer)
        signal.signal(signal.SIGALRM, handler)


if __name__ == "__main__":
    main()
