"""Run one of the three commands: `tuneport tune`, `tuneport runs` or `tuneport serve`."""

import argparse
import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from app.terminal import Version

COMMANDS = {
    "tune": ("app.tune", "search an experiment and export its best model"),
    "runs": ("app.runs", "read runs and act on them"),
    "serve": ("serve.__main__", "serve a model over HTTP"),
}
"""Modules of the commands; each has a `parser`, and is run as Python runs it."""
COMPLETING = "_ARGCOMPLETE"
"""Variable that a shell sets where it asks for completions."""
NAMES_OF_RUNS = ("name", "names", "others", "resume", "warm_start", "follow")
"""Arguments that are completed by the names of runs."""

NAMES_OF_RULES = {
    "search": "app.experiment.search_algorithms:ALGORITHMS",
    "early_stopping": "app.experiment.early_stopping:RULES",
}
"""Arguments that are completed by the names of a table."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command that the first argument names; without any, list them."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    if COMPLETING in os.environ:
        _complete(os.environ["COMP_LINE"].split())
    name = parser().parse_args(arguments[:1]).command
    if name is None:
        parser().print_help()
        return
    module = COMMANDS[name][0].removesuffix(".__main__")
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments[1:]])


def parser(
    commands: Mapping[str, argparse.ArgumentParser] | None = None,
) -> argparse.ArgumentParser:
    """Return the parser of the first argument.

    Args:
        commands: Parsers of what follows, by command, for those that are to be completed.
    """
    first = argparse.ArgumentParser(prog="tuneport", description=__doc__)
    first.add_argument("--version", action=Version)
    add = first.add_subparsers(dest="command", metavar="COMMAND").add_parser
    for name, (_, summary) in COMMANDS.items():
        parents = [commands[name]] if commands and name in commands else []
        add(name, help=summary, parents=parents, add_help=False)
    return first


def _complete(words: Sequence[str]) -> None:
    """Answer the shell and exit."""
    import argcomplete

    typed = {
        name: _completed(importlib.import_module(module).parser())
        for name, (module, _) in COMMANDS.items()
        if name in words[1:2]
    }
    argcomplete.autocomplete(parser(typed))


def _completed(command: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Let a command's arguments that name runs be completed by their names."""
    for action in command._actions:
        if isinstance(action, argparse._SubParsersAction):
            for subcommand in action.choices.values():
                _completed(subcommand)
        elif action.dest in NAMES_OF_RUNS:
            action.completer = _names_of_runs  # type: ignore[attr-defined]  # argcomplete's hook
        elif action.dest in NAMES_OF_RULES:
            module, _, table = NAMES_OF_RULES[action.dest].partition(":")
            action.choices = list(getattr(importlib.import_module(module), table))
    return command


def _names_of_runs(prefix: str, parsed_args: argparse.Namespace, **_: Any) -> list[str]:
    """Return the names of runs on this machine: a store behind a URI would be slow."""
    from app.run import store

    place = getattr(parsed_args, "runs", None) or "runs"
    return [] if "://" in place else store.names(Path(place).resolve())


if __name__ == "__main__":
    main()
