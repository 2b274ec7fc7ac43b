"""Serve a model over HTTP: `python -m serve [MODEL]`, a folder or a run, the newest by default."""

import argparse
import gc
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from threading import Event
from types import FrameType
from typing import TYPE_CHECKING

from serve.listening import AddressError, bound, listen, resolved, url
from serve.settings import (
    Scale,
    SettingError,
    Settings,
    add_flags,
    add_ray_flags,
    read_flags,
    read_ray_flags,
)

if TYPE_CHECKING:
    from serve.api import Application
    from serve.registry import Registry
    from serve.shelf import Version

LOOK_SECONDS = 1.0
"""How often it is looked whether the Ray that serves is still there."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command; a known mistake is one line on stderr and exit status 1."""
    arguments = _parser().parse_args(argv)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    # NumPy reads this when it is loaded; threads that wait for each other take a small matrix
    # product from 0.1 ms to 16.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from serve.admin import AdminError
    from serve.artifact import ArtifactError
    from serve.premises import PremisesError

    try:
        if arguments.reload or arguments.rollback:
            print(_changed(arguments), flush=True)
        else:
            settings, scale = read_flags(arguments), read_ray_flags(arguments)
            where = (arguments.model, arguments.runs, arguments.host, arguments.port)
            if scale is None:
                serve(*where, settings)
            else:
                serve_on_ray(*where, settings, scale)
    except (AdminError, ArtifactError, AddressError, PremisesError, SettingError) as error:
        sys.exit(f"error: {error}")


def serve(model: str | None, runs: str, host: str, port: str, settings: Settings) -> None:
    """Find, verify and warm the model, then listen and answer until a signal."""
    from serve import admin, premises
    from serve.models import Models
    from serve.remote import located
    from serve.shelf import Shelf
    from serve.versions import Versions

    # The address is taken before the model is loaded, and listened on after: what is wrong with
    # it is known at once, and no request is answered, or kept waiting, too early.
    with (
        bound(host, _number(port)) as listener,
        premises.opened(*listener.getsockname()[:2]) as place,
        Models() as models,
    ):
        with located(model, runs) as folder:
            versions = Versions(Shelf(place.models), models, folder, _say)
        app = _app(models.registry, host, settings)

        from serve.server import Server

        def begin() -> None:
            _say(_ready(versions.current, listen(listener, host)))

        server = Server(app, models, settings, begin)
        gc.freeze()  # What is loaded by now stays; the collector need not visit it again.
        with admin.answering(place.socket, versions):
            server.run(sockets=[listener])


def serve_on_ray(
    model: str | None, runs: str, host: str, port: str, settings: Settings, scale: Scale
) -> None:
    """Find and verify the model, then let replicas on Ray Serve answer until a signal."""
    from serve import admin, premises
    from serve.deployment import Fleet, Place, Stopped, deployed, joined
    from serve.remote import located
    from serve.shelf import Shelf
    from serve.versions import Versions

    with bound(host, _number(port)) as listener:
        address, number = listener.getsockname()[:2]
    stop = Event()
    with premises.opened(address, number) as own, suppress(Stopped), joined(scale):
        # Ray has put handlers of its own in the place of ours; and what rises in Ray is lost there.
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, lambda *_: stop.set())
        place = Place(host, number, _hosts(host))
        with Fleet() as fleet:
            with located(model, runs) as folder:
                versions = Versions(Shelf(own.models), fleet, folder, _say)
            with deployed(fleet, place, settings, scale, stop):
                _say(_ready(versions.current, url(host, number)))
                with admin.answering(own.socket, versions):
                    while not stop.wait(LOOK_SECONDS):
                        fleet.check()


def _changed(arguments: argparse.Namespace) -> str:
    """What a running server says to another model, or to the one before."""
    from serve import admin, premises
    from serve.remote import located

    port = _number(arguments.port)
    _, address = resolved(arguments.host, port)
    place = premises.found(str(address[0]), port)
    if place is None:
        others = ", ".join(premises.known())
        raise admin.AdminError(
            f"no server of yours answers on {address[0]} port {port}; "
            + (f"there are {others}: say --host and --port" if others else "start one first")
        )
    if arguments.rollback:
        if arguments.model is not None:
            raise admin.AdminError("--rollback: goes back to the version before; leave MODEL out")
        return str(admin.ask(place.socket, admin.ROLLBACK, {})["said"])
    with located(arguments.model, arguments.runs) as model:
        return str(admin.ask(place.socket, admin.RELOAD, {"model": str(model)})["said"])


def _app(registry: "Registry", host: str, settings: Settings) -> "Application":
    from serve.api import create_app

    return create_app(
        registry,
        hosts=_hosts(host),
        api_key=settings.api_key,
        wait_s=settings.wait_s,
        log=sys.stderr if settings.log_json else None,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m serve", description="Serve a model over HTTP, with a page to draw digits."
    )
    parser.add_argument(
        "model", nargs="?", metavar="MODEL",
        help="a model's folder or its URI, or a run's name (default: the newest run's)",
    )  # fmt: skip
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", default="8080", help="port to listen on (%(default)s)")
    parser.add_argument("--runs", default="runs", help="where runs are kept (%(default)s)")
    change = parser.add_mutually_exclusive_group()
    change.add_argument(
        "--reload", action="store_true",
        help="let the server that runs on this port answer by this model from now on",
    )  # fmt: skip
    change.add_argument(
        "--rollback", action="store_true", help="let it answer by the version before again"
    )
    add_ray_flags(parser)
    add_flags(parser)
    return parser


def _stop(number: int, frame: FrameType | None) -> None:
    """End with status 0; while requests are answered the server has handlers of its own."""
    sys.exit(0)


def _number(port: str) -> int:
    if not (port.isdecimal() and int(port) <= 65535):
        raise AddressError(f"--port: expected a number from 0 to 65535, got {port!r}")
    return int(port)


def _hosts(host: str) -> frozenset[str] | None:
    """The hosts to answer for: on a loopback address its names, elsewhere any."""
    from serve.limits import LOOPBACK_HOSTS

    if host == "localhost" or host == "::1" or host.startswith("127."):
        return LOOPBACK_HOSTS | ({host} if ":" not in host else set())
    return None


def _ready(version: "Version", address: str) -> str:
    return f"serving {version.said} on {address} - ctrl-c stops"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
