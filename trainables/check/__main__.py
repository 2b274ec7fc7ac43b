"""Put a trainable through its promises: `python -m trainables.check my_file.py:Mine --set lr=0.1`.

`trainables/contract.py` says what each promise is. Each is told on a line of its own as it is
tried; the status is 0 where all hold, 1 where one is broken and 2 where the command is typed wrong.
In a test of one's own, `check_trainable(Mine, {"lr": 0.1}, metric="loss")` does the same.
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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, redirect_stdout
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables import BUILTIN, resolve
from trainables.contract import Config, TrainableError

if TYPE_CHECKING:
    from trainables.check.promises import Promise

BUILTIN_EXPERIMENTS = Path(__file__).parents[1]
TIMEOUT_S = 600.0
"""How long a promise may take unless told otherwise."""
GRACE_S = 30.0
"""How much longer before a process that cannot even be interrupted is ended."""
ADVICE = "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS"
"""By this variable Ray says whether it tells a function how it is to call Ray next year."""
WANTS = re.compile(r"raised KeyError: '([^']+)'")
"""What a method says that did not find a value in its configuration."""


@dataclass
class Question:
    """What is to be checked, by an experiment's file and by what was typed."""

    name: str | None = None
    """The trainable, as an experiment has it."""
    folder: Path = field(default_factory=Path.cwd)
    """Where its file is looked up from."""
    config: Config = field(default_factory=dict)
    metric: str | None = None
    data_dir: Path | None = None
    workers: int = 1


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command; exits with status 1, and one sentence, where a promise is broken."""
    flags = _parser()
    arguments = flags.parse_args(argv)
    try:
        question = _question(arguments)
        if question.name is None:
            flags.error("say what to check: FILE:NAME, or --experiment FILE.toml")
        broken = _check(question, arguments.timeout)
    except TrainableError as error:
        sys.exit(f"error: {' '.join(str(error).split())}")
    if broken:
        more = f", the first of {len(broken)} broken promises" if len(broken) > 1 else ""
        sys.exit(f"error: {broken[0]}{more}")


def _parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(
        prog="python -m trainables.check",
        description="Put a class or function through the promises of trainables/contract.py.",
    )
    add = flags.add_argument
    what = "my_file.py:Mine, package.module:Mine, or a built-in one, such as mnist"
    add("trainable", nargs="?", metavar="FILE:NAME", help=what)
    value = "a value of the configuration, such as lr=0.01 (may be given more than once)"
    add("--set", dest="values", action="append", default=[], type=_value, metavar="K=V", help=value)
    whole = "take the trainable, the metric, the middle of the space and the fixed values from it"
    add("--experiment", type=Path, metavar="FILE.toml", help=whole)
    objective = "the objective (the only number that is reported, or loss)"
    add("--metric", metavar="NAME", help=objective)
    add("--data-dir", type=Path, metavar="DIR", help="dataset folder (the packaged copy)")
    add("--workers", type=int, metavar="N", help="processes that train each trial (1)")
    slow = f"how long a promise may take ({TIMEOUT_S:g})"
    add("--timeout", type=float, default=TIMEOUT_S, metavar="S", help=slow)
    return flags


def _value(text: str) -> tuple[str, Any]:
    """A name and its value: as TOML has it, or JSON, or else a text."""
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


def _question(arguments: argparse.Namespace) -> Question:
    """Merge what was typed into the experiment's file; a built-in trainable has its own."""
    own = BUILTIN_EXPERIMENTS / f"{arguments.trainable}.toml"
    file = arguments.experiment or (own if arguments.trainable in BUILTIN else None)
    asked = Question() if file is None else _read(file)
    if arguments.trainable is not None:
        asked.name, asked.folder = arguments.trainable, Path.cwd()
    asked.config |= dict(arguments.values)
    asked.metric = arguments.metric or asked.metric
    asked.data_dir = arguments.data_dir or asked.data_dir
    asked.workers = arguments.workers or asked.workers
    return asked


def _read(file: Path) -> Question:
    """What an experiment's file says; raises TrainableError where it cannot be read."""
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise TrainableError(f"--experiment {file}: {error.strerror}") from error
    except ValueError as error:
        raise TrainableError(f"--experiment {file}: {error}") from error
    folder, data_dir = file.resolve().parent, table.get("data_dir")
    return Question(
        table.get("trainable"),
        folder,
        {**_middle(table.get("space", {})), **table.get("fixed", {}), **_seed(table)},
        table.get("metric"),
        None if data_dir is None else folder / data_dir,
        table.get("resources", {}).get("workers_per_trial", 1),
    )


def _seed(table: Mapping[str, Any]) -> Config:
    return {"seed": table["seed"]} if "seed" in table else {}


def _middle(space: Mapping[str, Any]) -> Config:
    """The middle of a space; a parameter is left out whose `when` the others do not meet."""
    found: Config = {}
    for _ in space:  # a parameter may stand before the one that it depends on
        for name, parameter in space.items():
            when = parameter.get("when", {}) if isinstance(parameter, Mapping) else {}
            if name not in found and all(found.get(key) in when[key] for key in when):
                found[name] = _half_way(name, parameter)
    return found


def _half_way(name: str, parameter: Any) -> Any:
    """The value in the middle of a range as it is scaled and stepped, or of a list."""
    try:
        kind = parameter["type"].lower()
        if kind == "categorical":
            return parameter["values"][len(parameter["values"]) // 2]
        low, high = parameter["low"], parameter["high"]
        scale = parameter.get("scale", "linear")
        if kind not in ("continuous", "integer") or scale not in SCALES:
            raise KeyError(kind)
        value = SCALES[scale](low, high)
        if "step" in parameter:
            value = _on_step(value, low, parameter["step"])
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise TrainableError(
            f"space.{name}: cannot be read here: {parameter!r}; give it by --set {name}=VALUE"
        ) from error
    return round(value) if kind == "integer" else value


def _on_step(value: float, low: float, step: float) -> float:
    """The last step from `low` on that is not above a value: a search tries no other ones."""
    first, by = Decimal(str(low)), Decimal(str(step))
    return float(first + (Decimal(str(value)) - first) // by * by)


SCALES: Mapping[str, Callable[[float, float], float]] = {
    "linear": lambda low, high: (low + high) / 2,
    "log": lambda low, high: float((low * high) ** 0.5),
    "reverse-log": lambda low, high: 1 - float(((1 - low) * (1 - high)) ** 0.5),
}
"""The middle of a range, by its scale."""


def _check(question: Question, limit_s: float) -> list[str]:
    """Print each promise as it is tried, and give how those are broken that are.

    What the trainable prints is talk. Raises TrainableError where it cannot be tuned at all.
    """
    if question.name == "script":
        raise TrainableError(
            "script: a training script promises nothing; try its regexes on what it printed, by"
            " python -m app.tune --entry-point FILE --check-log LOG"
        )
    broken = []
    out = sys.stdout
    with redirect_stdout(sys.stderr), _quietly(), _limited(limit_s) as renew:
        for promise in _tried(question):
            text = _told(promise, question.config)
            out.write(f"{'broken' if promise.is_broken else 'holds '}  {text}\n")
            out.flush()
            broken += [text] if promise.is_broken else []
            renew()
    return broken


def _tried(question: Question) -> "Iterator[Promise]":
    from trainables.check.promises import Late, promises

    assert question.name is not None  # it was asked for
    try:
        tried = promises(
            resolve(question.name, question.folder),
            question.config,
            metric=question.metric,
            data_dir=question.data_dir,
            workers=question.workers,
        )
        with closing(tried):
            yield from tried
    except Late as late:  # in an import, or where a trial is to end
        raise TrainableError(f"{question.name}: hung; {late}") from late


def _told(promise: "Promise", config: Config) -> str:
    """A promise in one line, with the flag that gives a value which is missing."""
    text = " ".join(promise.text.split())
    wants = WANTS.search(text) if promise.is_broken else None
    if wants is None or wants[1] in config:
        return text
    return f"{text}; is it a value of the configuration? give it by --set {wants[1]}=VALUE"


@contextmanager
def _quietly() -> Iterator[None]:
    """Let neither Ray's advice nor Python's caches be left behind."""
    logger, written = logging.getLogger("ray.tune.trainable"), sys.dont_write_bytecode
    level, advised = logger.level, os.environ.get(ADVICE)
    os.environ[ADVICE] = "0"
    logger.setLevel(logging.ERROR)
    sys.dont_write_bytecode = True
    try:
        yield
    finally:
        logger.setLevel(level)
        sys.dont_write_bytecode = written
        os.environ.pop(ADVICE)
        os.environ.update({} if advised is None else {ADVICE: advised})


@contextmanager
def _limited(limit_s: float) -> Iterator[Callable[[], None]]:
    """Raise Late in what takes longer; what is given begins the time anew."""
    from trainables.check.promises import Late

    def late(signum: int, frame: Any) -> None:
        raise Late(f"nothing came of it in {limit_s:g} s")

    def renew() -> None:
        signal.setitimer(signal.ITIMER_REAL, limit_s, limit_s)
        # What holds the interpreter's lock is never interrupted.
        faulthandler.dump_traceback_later(limit_s + GRACE_S, exit=True, file=2)

    handled = signal.signal(signal.SIGALRM, late)
    before = signal.getitimer(signal.ITIMER_REAL)
    renew()
    try:
        yield renew
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.setitimer(signal.ITIMER_REAL, *before)
        signal.signal(signal.SIGALRM, handled)


if __name__ == "__main__":
    main()
