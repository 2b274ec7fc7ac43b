"""How much clients are allowed: the flags of `python -m serve` that say so, and their values."""

import argparse
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

KEY_VARIABLE = "TUNEPORT_API_KEY"
ADDRESS_VARIABLE = "RAY_ADDRESS"
SHORTEST_KEY = 16
MOST_WORKERS = 256


class SettingError(Exception):
    """A limit that cannot be kept, or a key that cannot be read."""


@dataclass(frozen=True)
class Allowance:
    """What one client may take of the server."""

    read_s: float = 20.0
    """Seconds that a request, head and body, may take to come."""
    write_s: float = 20.0
    """Seconds that a client may leave a reply unread."""
    per_client: int = 512
    """Connections of one address."""
    at_once: int = 128
    """Requests in work; more are sent away at once."""


@dataclass(frozen=True)
class Settings:
    """What the flags about clients say."""

    allowance: Allowance = field(default_factory=Allowance)
    wait_s: float = 60.0
    """Seconds that a request may wait for its turn; SageMaker waits as long for its answer."""
    api_key: str | None = field(default=None, repr=False)
    """What every client has to know; nothing where there is none."""
    log_json: bool = False
    """Whether each request is a line on stderr."""


@dataclass(frozen=True)
class Scale:
    """How many replicas of an endpoint Ray Serve runs, and where."""

    least: int = 1
    most: int = 1
    """As many as the requests in work ask for, up to this."""
    address: str | None = None
    """The Ray cluster to join; nothing where one is started on this machine."""


def settings_of(values: Mapping[str, Any]) -> Settings:
    """The settings that `asdict` made these values of."""
    return Settings(**{**values, "allowance": Allowance(**values["allowance"])})


_SECONDS = {
    "read-timeout": ("a request may take to come", Allowance.read_s),
    "write-timeout": ("a reply may be left unread", Allowance.write_s),
    "deadline": ("a request may wait for its turn", Settings.wait_s),
}
_COUNTS = {
    "max-connections": ("connections of one address", Allowance.per_client),
    "max-requests": ("requests in work; more get 503 at once", Allowance.at_once),
}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Let a command take the flags about clients."""
    group = parser.add_argument_group("what clients may do")
    for name, (meaning, value) in _SECONDS.items():
        text = f"seconds that {meaning} (%(default)s)"
        group.add_argument(f"--{name}", metavar="S", default=f"{value:g}", help=text)
    for name, (meaning, count) in _COUNTS.items():
        text = f"{meaning} (%(default)s)"
        group.add_argument(f"--{name}", metavar="N", default=str(count), help=text)
    group.add_argument(
        "--api-key-file", metavar="FILE",
        help="the key that every client has to send, or a browser's user to type as the password"
        f" (default: {KEY_VARIABLE}, or none)",
    )  # fmt: skip
    group.add_argument(
        "--log-json", action="store_true", help="a line of JSON on stderr for each request"
    )


def add_ray_flags(parser: argparse.ArgumentParser) -> None:
    """Let a command take the flags about workers, and about Ray Serve."""
    parser.add_argument(
        "--workers", metavar="N", default="1",
        help="processes that answer, each with a socket of its own; with --ray, replicas (1)",
    )  # fmt: skip
    group = parser.add_argument_group("on Ray Serve")
    group.add_argument("--ray", action="store_true", help="answer by replicas on Ray Serve")
    group.add_argument(
        "--max-workers", metavar="M", help="replicas at most, as many as are needed (as --workers)"
    )
    group.add_argument(
        "--address", metavar="ADDR",
        help=f"join this Ray cluster: auto or host:port (default: {ADDRESS_VARIABLE}, or none: "
        "Ray starts on this machine)",
    )  # fmt: skip


def read_ray_flags(arguments: argparse.Namespace) -> Scale | None:
    """How many replicas are asked for on Ray Serve, if they are."""
    values = {name: getattr(arguments, name) for name in ("max_workers", "address")}
    if not arguments.ray:
        for name, value in values.items():
            if value is not None:
                raise SettingError(f"--{name.replace('_', '-')}: means replicas; say --ray too")
        return None
    least = _count("workers", arguments.workers)
    most = _count("max-workers", values["max_workers"] or str(least))
    if most < least:
        raise SettingError(f"--max-workers: expected at least {least}, as --workers, got {most}")
    return Scale(least, most, values["address"] or os.environ.get(ADDRESS_VARIABLE) or None)


def read_workers(arguments: argparse.Namespace) -> int:
    """How many processes are to answer on this machine."""
    text: str = arguments.workers
    if not (text.isdecimal() and 1 <= int(text) <= MOST_WORKERS):
        raise SettingError(f"--workers: expected a number from 1 to {MOST_WORKERS}, got {text!r}")
    return int(text)


def read_flags(arguments: argparse.Namespace) -> Settings:
    """What the flags say, checked."""
    values = vars(arguments)
    seconds = {name: _seconds(name, values[name.replace("-", "_")]) for name in _SECONDS}
    counts = {name: _count(name, values[name.replace("-", "_")]) for name in _COUNTS}
    allowance = Allowance(
        seconds["read-timeout"],
        seconds["write-timeout"],
        counts["max-connections"],
        counts["max-requests"],
    )
    key = _api_key(arguments.api_key_file)
    return Settings(allowance, seconds["deadline"], key, arguments.log_json)


def _seconds(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.01 <= value <= 3600:
        raise SettingError(f"--{name}: expected seconds from 0.01 to 3600, got {text!r}")
    return value


def _count(name: str, text: str) -> int:
    if not (text.isdecimal() and 1 <= int(text) <= 65536):
        raise SettingError(f"--{name}: expected a number from 1 to 65536, got {text!r}")
    return int(text)


def _api_key(file: str | None) -> str | None:
    """The key; never from the command line, where every process of the machine can read it."""
    where = KEY_VARIABLE if file is None else f"--api-key-file: {file}"
    if file is None:
        key = os.environ.get(KEY_VARIABLE)
    else:
        try:
            key = Path(file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingError(f"{where}: cannot be read: {error}") from error
    if key is not None and not (len(key) >= SHORTEST_KEY and key.isascii() and key.isprintable()):
        raise SettingError(
            f"{where}: expected a key of at least {SHORTEST_KEY} visible ASCII characters"
        )
    return key
