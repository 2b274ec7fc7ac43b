"""docs/security.md has every bound, as the code has it."""

import argparse
import importlib
import pkgutil
import re
from pathlib import Path
from typing import Any

import pytest

import serve.formats
import serve.http
import serve.server.connection_table
from serve.settings import ClientLimits, Settings, add_client_flags, add_site_flags
from tests.support import ROOT

LIMITS = ClientLimits()
NAMED = {
    "bytes of unanswered requests and unread replies": "server.connection_table:MAX_HELD_BYTES",
    "the same of one connection, not counted for its address": "server.connection_table:FREE_BYTES",
    "pause in reading after a refusal for overload": "http.inference:OVERLOAD_PAUSE_SECONDS",
    "time that a connection may be idle": "server.server:KEEP_ALIVE_SECONDS",
    "time for a handler's answer": "runtime.script_backend:ANSWER_SECONDS",
    "time to drain after SIGTERM": "server.server:DRAIN_SECONDS",
    "time to read a refusal": "server.protocol:LINGER_SECONDS",
    "a request's line and headers": "server.protocol:MAX_HEAD_BYTES",
    "headers of a request, or its trailers": "server.protocol:MAX_HEADERS",
    "chunk sizes and trailers since the last byte of a body": "server.protocol:MAX_HEAD_BYTES",
    "a body": "settings:MAX_BODY_BYTES",
    "a body once it is decompressed": "settings:MAX_BODY_BYTES",
    "a body too large that is read to its end": "http.body:MAX_DRAINED_BYTES",
    "large bodies in work at once": "http.inference:LARGE_REQUESTS",
    "lists and objects in JSON": "formats.json_codec:MAX_CONTAINERS",
    "texts in JSON": "formats.json_codec:MAX_TEXTS",
    "values in JSON outside one nested list of numbers": "formats.json_numbers:MAX_VALUES",
    "bytes of a number in large JSON": "formats.json_numbers:MAX_NUMBER_BYTES",
    "depth of JSON": "formats.json_codec:_MAX_DEPTH",
    "lines of CSV": "formats.csv_codec:MAX_LINES",
    "axes of an NPY array": "formats.npy_codec:_MAX_AXES",
    "pixels of a picture's side": "formats.pictures:LARGEST_SIDE",
    "pictures in JSON": "formats.picture_bodies:MAX_PICTURES",
    "scans of a JPEG": "formats.pictures:MAX_SCANS",
    "characters of a form's boundary": "formats.picture_bodies:_MAX_BOUNDARY",
    "types of `Accept` that are tried on a handler": "formats.negotiation:MAX_CHOICES",
    "characters of a host": "http.access:_MAX_HOST",
    "characters of a path in the log": "http.request_log:MAX_PATH_LENGTH",
    "characters of a key": "settings:MIN_KEY_LENGTH",
}
"""Bounds that are constants, by their rows."""
DERIVED = {
    "connections of one address": LIMITS.max_connections,
    "connections": 2 * LIMITS.max_connections,
    "requests in work": LIMITS.max_requests,
    "requests in work of one address": LIMITS.max_requests // 2,
    "the same of one address": serve.server.connection_table.MAX_HELD_BYTES // 2,
    "time for a request to come": LIMITS.read_timeout_s,
    "time that a reply may be left unread": LIMITS.write_timeout_s,
    "time to wait for a turn": Settings().wait_s,
}
"""Bounds that flags set, or that follow from others."""
NO_BOUNDS = {
    "formats.json_codec:_MAX_QUOTED": "cuts what an error quotes",
    "formats.negotiation:MAX_QUOTED": "cuts what an error quotes",
    "http.metrics:MAX_SHARE": "is about the server's own time",
    "http.v2:MAX_SIZE": "is the range of a number",
}
UNITS = {"": 1, "s": 1, "KiB": 1024, "MiB": 1024 * 1024}
SECTION = (ROOT / "docs/security.md").read_text().split("## Bounds")[1].split("\n## ")[0]
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in SECTION.splitlines()
    if line.startswith("|")
][2:]


def constant(name: str) -> Any:
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(f"serve.{module}"), attribute)


def parsed(cell: str) -> float:
    number, _, unit = cell.partition(" ")
    return float(number.replace(",", "")) * UNITS[unit]


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_its_values_are_the_codes(row: list[str]) -> None:
    name, value, _, _ = row
    assert parsed(value) == (constant(NAMED[name]) if name in NAMED else DERIVED[name])


def test_its_table_has_every_bound_once() -> None:
    assert sorted(row[0] for row in ROWS) == sorted([*NAMED, *DERIVED])


def test_every_constant_that_bounds_a_client_is_in_it() -> None:
    found = set()
    for package in (serve.server, serve.http, serve.formats):
        for entry in pkgutil.iter_modules(package.__path__):
            module = importlib.import_module(f"{package.__name__}.{entry.name}")
            found |= {
                f"{module.__name__.removeprefix('serve.')}:{name}"
                for name in re.findall(r"^(_?(?:MAX|LARGEST)_\w+) ?[:=]", source(module), re.M)
            }
    assert sorted(found - set(NAMED.values()) - NO_BOUNDS.keys()) == []


def source(module: Any) -> str:
    return Path(module.__file__).read_text()


def test_its_flags_are_the_commands() -> None:
    parser = argparse.ArgumentParser()
    add_client_flags(parser)
    add_site_flags(parser)
    flags = {option for action in parser._actions for option in action.option_strings}
    named = set(re.findall(r"`(--[a-z-]+)", " ".join(row[2] for row in ROWS)))
    assert named <= flags
    limits = {flag for flag in flags if flag.startswith("--max-") or flag.endswith("-timeout")}
    assert limits <= named
