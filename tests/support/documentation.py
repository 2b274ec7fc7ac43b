"""Renew what documentation takes from the code: `python -m tests.support.documentation`.

`docs/cli.md` is made from the commands' parsers, the tables of keys in `docs/experiments.md` from
the schema, and the arguments that `docs/sagemaker.md` says are ignored from `app.sagemaker.aws`.
`tests/test_documentation.py` holds that they are as this module makes them.
"""

import argparse
import os
import re
import textwrap
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from app.experiment.json_schema import json_schema
from app.sagemaker.aws import KNOWN
from tests.support import ROOT

CLI, EXPERIMENTS, SAGEMAKER = (
    ROOT / f"docs/{name}.md" for name in ("cli", "experiments", "sagemaker")
)
IGNORED = re.compile(r"(<!-- ignored -->\n).*?(<!-- end -->)", re.DOTALL)
HEAD = """# Commands

Made from the commands' own `--help` by `python -m tests.support.documentation`. Results go to
stdout, everything else to stderr. A known mistake is one line, `error: …`, and exit status 1; an
unknown flag exits with 2, Ctrl-C with 130, SIGTERM with 143, SIGHUP with 129.
`python -m serve` drains and exits with 0 on SIGTERM.
"""
WIDTH = "80"
NAMES = {
    "search": "search.md#algorithms",
    "early_stopping": "search.md#early-stopping",
    "value": "#the-value-that-counts",
}
"""Tables of the names that a key takes."""


def cli_page() -> str:
    """Return `docs/cli.md`."""
    # The help is as wide as the terminal, and coloured in some.
    os.environ |= {"COLUMNS": WIDTH, "NO_COLOR": "1"}
    return HEAD + "".join(
        f"\n## `{name}`\n\n```\n{parser.format_help()}```\n" for name, parser in parsers()
    )


def parsers() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield each command, `app.runs` with each of its own, and its parser."""
    from app import runs, tune
    from serve.__main__ import parser as serve_parser

    for parser in (tune.parser(), runs.parser(), serve_parser()):
        yield parser.prog, parser
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for name, command in action.choices.items():
                    yield f"{parser.prog} {name}", command


def with_key_tables(page: str) -> str:
    """Return `docs/experiments.md` with tables of the schema between its marks."""
    schema = json_schema()
    for name, table in (
        ("experiment", schema),
        ("resources", schema["$defs"]["ResourceTable"]),
        ("script", schema["$defs"]["ScriptTable"]),
    ):
        mark = re.compile(rf"(<!-- keys: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        assert mark.search(page), name
        page = mark.sub(partial(_fill, key_table(table)), page)
    return page


def with_ignored_arguments(page: str) -> str:
    """Return `docs/sagemaker.md` with the arguments that only AWS uses and it does not explain."""
    rest = IGNORED.sub("", page)
    names = (name for name in sorted(KNOWN) if f"`{name}`" not in rest)
    lines = textwrap.fill(", ".join(f"`{name}`" for name in names) + ".", 120)
    return IGNORED.sub(partial(_fill, f"{lines}\n"), page)


def _fill(text: str, marks: re.Match[str]) -> str:
    """Return marks of a page with the text between them."""
    return marks[1] + text + marks[2]


def key_table(schema: Mapping[str, Any]) -> str:
    """Return a table with a line for each key of a table of the schema."""
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for key, entry in schema["properties"].items():
        entry = entry if "description" in entry else {**entry, "description": "Its first group."}
        default = f"`{entry['default']}`" if entry.get("default") not in (None, [], {}) else ""
        meaning = re.sub(r"; (.)", lambda found: f". {found[1].upper()}", entry["description"])
        rows.append(f"| `{key}` | {_type(key, entry)} | {default} | {meaning} |")
    return "\n".join(rows) + "\n"


def _type(key: str, entry: Mapping[str, Any]) -> str:
    """Name the type of a key: TOML's word for it, or where the names stand that it takes."""
    if "enum" in entry:
        return f"[name]({NAMES[key]})" if key in NAMES else "text"
    if "$ref" in entry:
        return "table"
    if "anyOf" in entry:
        return f"[name or table]({NAMES[key]})"
    words = {"object": "table", "array": "list", "string": "text", "integer": "whole number"}
    kind = entry["type"]
    return str(words.get(kind, kind))


if __name__ == "__main__":
    CLI.write_text(cli_page(), encoding="utf-8")
    for path, renew in ((EXPERIMENTS, with_key_tables), (SAGEMAKER, with_ignored_arguments)):
        path.write_text(renew(path.read_text(encoding="utf-8")), encoding="utf-8")
