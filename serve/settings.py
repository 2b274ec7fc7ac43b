"""Settings of `python -m serve`: limits on clients, workers, and Ray, with their flags."""

import argparse
import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MAX_BODY_BYTES = 6 * 1024 * 1024
"""Largest body of a request; SageMaker's own limit."""
KEY_VARIABLE = "TUNEPORT_API_KEY"
ADDRESS_VARIABLE = "RAY_ADDRESS"
MIN_KEY_LENGTH = 16
MAX_WORKERS = 256
ANY = "*"
"""Any host, or any origin."""
_HOST_NAME = re.compile(r"\*|(\*\.)?[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?|\[[0-9a-f:.]+\]")
_ORIGIN = re.compile(
    r"\*|[a-z][a-z0-9+.-]*://[a-z0-9_.-]+(:\d{1,5})?|[a-z]+://\[[0-9a-f:]+\](:\d+)?"
)
_ROOT_PATH = re.compile(r"(/[A-Za-z0-9_.~-]+)*")


class SettingError(Exception):
    """A setting that is out of range, cannot be read, or cannot be met."""


@dataclass(frozen=True)
class ClientLimits:
    """Limits on time, connections and requests."""

    read_timeout_s: float = 20.0
    """Seconds that a request, head and body, may take to come."""
    write_timeout_s: float = 20.0
    """Seconds that a client may leave a reply unread."""
    max_connections: int = 512
    """Connections of one address; in all there are twice as many."""
    max_requests: int = 128
    """Requests in work on the server, of which one address may have half."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses and networks of proxies whose `X-Forwarded-For` names the client."""


class Shares:
    """Count of what a limit is for, in all and by address, which may have half of it."""

    def __init__(self, most: int) -> None:
        """Set the limit of all addresses together."""
        self.most = most
        self.most_of_one = max(1, most // 2)
        self.total = 0
        self._by_address: dict[str, int] = {}

    def add(self, address: str, count: int = 1) -> None:
        """Count for an address, which gives it back by a negative count."""
        self.total += count
        count += self._by_address.get(address, 0)
        if count:
            self._by_address[address] = count
        else:
            del self._by_address[address]

    def of(self, address: str) -> int:
        """Return the count of an address."""
        return self._by_address.get(address, 0)


@dataclass(frozen=True)
class Settings:
    """Settings of an endpoint."""

    limits: ClientLimits = field(default_factory=ClientLimits)
    wait_s: float = 60.0
    """Seconds that a request may wait for its turn; SageMaker waits as long for an answer."""
    api_key: str | None = field(default=None, repr=False)
    """Key that every client has to send; None for no key."""
    log_json: bool = False
    """Whether each request is a line on stderr."""
    allowed_hosts: tuple[str, ...] = ()
    """Hosts that are served besides those that the listening address implies."""
    allow_origins: tuple[str, ...] = ()
    """Other sites whose pages may send requests."""
    root_path: str = ""
    """Path below which a proxy offers the endpoint."""


@dataclass(frozen=True)
class RayOptions:
    """Number of replicas on Ray Serve, and the cluster."""

    min_replicas: int = 1
    max_replicas: int = 1
    """Ray Serve starts up to as many if the requests in work need them."""
    address: str | None = None
    """Ray cluster to join; None starts Ray on this machine."""


def settings_from_json(values: Mapping[str, Any]) -> Settings:
    """Rebuild settings from `dataclasses.asdict`, which were JSON meanwhile."""
    from pydantic import TypeAdapter  # The command itself does without it.

    return TypeAdapter(Settings).validate_python(values)


_SECONDS = {
    "read-timeout": ("a request may take to come", ClientLimits.read_timeout_s),
    "write-timeout": ("a reply may be left unread", ClientLimits.write_timeout_s),
    "deadline": ("a request may wait for its turn", Settings.wait_s),
}
_COUNTS = {
    "max-connections": ("connections of one address, half of all", ClientLimits.max_connections),
    "max-requests": (
        "requests in work, half of them for one address; more are refused with 503",
        ClientLimits.max_requests,
    ),
}
_OF_CONNECTIONS = ("read-timeout", "write-timeout", "max-connections")
"""Limits that the transport enforces, which with `--ray` is Ray's."""
_DEFAULTS = {
    **{name: f"{value:g}" for name, (_, value) in _SECONDS.items()},
    **{name: str(count) for name, (_, count) in _COUNTS.items()},
}


def add_client_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags about clients to a command."""
    group = parser.add_argument_group("limits on clients")
    for name, (meaning, _) in _SECONDS.items():
        text = f"seconds that {meaning} (%(default)s)"
        group.add_argument(f"--{name}", metavar="S", default=_DEFAULTS[name], help=text)
    for name, (meaning, _) in _COUNTS.items():
        text = f"{meaning} (%(default)s)"
        group.add_argument(f"--{name}", metavar="N", default=_DEFAULTS[name], help=text)
    group.add_argument(
        "--api-key-file", metavar="FILE",
        help="file with the key that clients have to send, or enter in a browser as the password"
        f" (default: {KEY_VARIABLE}, or no key)",
    )  # fmt: skip
    group.add_argument(
        "--log-json",
        action="store_true",
        help="a line of JSON on stderr for each request; with --ray in Ray's log folder",
    )


def add_site_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags about names, other sites and proxies to a command."""
    group = parser.add_argument_group("behind a proxy, or beside a page")
    group.add_argument(
        "--allowed-host", metavar="HOST", action="append", default=[],
        help="host that clients may ask for, also *.domain, a network, or * for any; repeatable"
        " (besides localhost and --host, or with --host 0.0.0.0 any address and this machine's"
        " name)",
    )  # fmt: skip
    group.add_argument(
        "--allow-origin", metavar="ORIGIN", action="append", default=[],
        help="site whose pages may send requests, such as https://page.example, or * for any;"
        " repeatable (none)",
    )  # fmt: skip
    group.add_argument(
        "--root-path", metavar="PREFIX", default="",
        help="path below which a proxy offers the endpoint, such as /digits, whether the proxy"
        " removes it or not (none)",
    )  # fmt: skip
    group.add_argument(
        "--trusted-proxy", metavar="ADDR", action="append", default=[],
        help="address or network of a proxy whose X-Forwarded-For names the client, for the log"
        " and the limits of one address; repeatable (none)",
    )  # fmt: skip


def add_ray_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags about workers and Ray Serve to a command."""
    parser.add_argument(
        "--workers", metavar="N", default="1",
        help="worker processes, each with a listening socket; with --ray, replicas (%(default)s)",
    )  # fmt: skip
    group = parser.add_argument_group("on Ray Serve")
    group.add_argument("--ray", action="store_true", help="serve by replicas on Ray Serve")
    group.add_argument(
        "--max-workers",
        metavar="M",
        help="most replicas to start under load (default: as --workers)",
    )
    group.add_argument(
        "--address", metavar="ADDR",
        help=f"join this Ray cluster: auto or host:port (default: {ADDRESS_VARIABLE}, or "
        "start Ray on this machine)",
    )  # fmt: skip


def read_ray_flags(arguments: argparse.Namespace) -> RayOptions | None:
    """Return the options of Ray Serve, or None without `--ray`.

    Raises SettingError if a flag is out of range, needs `--ray`, or means nothing with it.
    """
    values = {name: getattr(arguments, name) for name in ("max_workers", "address")}
    if not arguments.ray:
        for name, value in values.items():
            if value is not None:
                raise SettingError(f"--{name.replace('_', '-')}: sets up Ray Serve; add --ray")
        return None
    for name in _OF_CONNECTIONS:
        if getattr(arguments, name.replace("-", "_")) != _DEFAULTS[name]:
            raise SettingError(f"--{name}: connections are Ray's with --ray; leave it out")
    minimum = _count("workers", arguments.workers)
    maximum = _count("max-workers", values["max_workers"] or str(minimum))
    if maximum < minimum:
        raise SettingError(
            f"--max-workers: expected at least {minimum}, as --workers, got {maximum}"
        )
    return RayOptions(
        minimum, maximum, values["address"] or os.environ.get(ADDRESS_VARIABLE) or None
    )


def read_workers(arguments: argparse.Namespace) -> int:
    """Return the number of workers on this machine."""
    return _count("workers", arguments.workers, MAX_WORKERS)


def read_client_flags(arguments: argparse.Namespace) -> Settings:
    """Return the settings; raises SettingError if a flag is out of range or no key can be read."""
    values = vars(arguments)
    seconds = {name: _seconds(name, values[name.replace("-", "_")]) for name in _SECONDS}
    counts = {name: _count(name, values[name.replace("-", "_")]) for name in _COUNTS}
    limits = ClientLimits(
        seconds["read-timeout"],
        seconds["write-timeout"],
        counts["max-connections"],
        counts["max-requests"],
        tuple(map(_proxy, arguments.trusted_proxy)),
    )
    key = _api_key(arguments.api_key_file)
    return Settings(
        limits,
        seconds["deadline"],
        key,
        arguments.log_json,
        tuple(map(_allowed_host, arguments.allowed_host)),
        tuple(map(_origin, arguments.allow_origin)),
        _root_path(arguments.root_path),
    )


def _seconds(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.01 <= value <= 3600:
        raise SettingError(f"--{name}: expected seconds from 0.01 to 3600, got {text!r}")
    return value


def _count(name: str, text: str, most: int = 65536) -> int:
    if not (text.isdecimal() and 1 <= int(text) <= most):
        raise SettingError(f"--{name}: expected a number from 1 to {most}, got {text!r}")
    return int(text)


def _allowed_host(text: str) -> str:
    """Return a host as it stands in a request, or a network."""
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        name = text.lower()
        if _HOST_NAME.fullmatch(name) is None:
            raise SettingError(
                f"--allowed-host: expected a host such as models.example, without port and path, "
                f"got {text!r}"
            ) from None
        return name
    if "/" in text:
        return str(network)
    return f"[{text.lower()}]" if network.version == 6 else text


def _origin(text: str) -> str:
    origin = text.lower()
    if _ORIGIN.fullmatch(origin) is None:
        raise SettingError(
            "--allow-origin: expected an origin such as https://page.example, without a path, "
            f"got {text!r}"
        )
    return origin


def _root_path(text: str) -> str:
    path = text.rstrip("/")
    if _ROOT_PATH.fullmatch(path) is None:
        raise SettingError(f"--root-path: expected a path such as /digits, got {text!r}")
    return path


def _proxy(text: str) -> str:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        raise SettingError(
            f"--trusted-proxy: expected an address or network such as 10.0.0.0/8, got {text!r}"
        ) from None
    return text


def _api_key(file: str | None) -> str | None:
    """Read the key: never from the command line, which every process of the machine can read."""
    where = KEY_VARIABLE if file is None else f"--api-key-file: {file}"
    if file is None:
        key = os.environ.get(KEY_VARIABLE)
    else:
        try:
            key = Path(file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingError(f"{where}: cannot be read: {error}") from error
    if key is not None and not (len(key) >= MIN_KEY_LENGTH and key.isascii() and key.isprintable()):
        raise SettingError(
            f"{where}: expected a key of at least {MIN_KEY_LENGTH} visible ASCII characters"
        )
    return key
