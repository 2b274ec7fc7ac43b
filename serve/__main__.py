"""Serve a model over HTTP: `python -m serve [MODEL]`, a folder or a run, the newest by default."""

import argparse
import errno
import gc
import os
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from serve.settings import SettingError, Settings, add_flags, read_flags

if TYPE_CHECKING:
    from serve.api import Application
    from serve.engine import Predictor
    from serve.process import ModelProcess
    from serve.registry import Registry

DRAIN_SECONDS = 20
"""How long requests may go on after a signal; SageMaker ends a container after 30."""
KEEP_ALIVE_SECONDS = 65
"""Longer than proxies keep a connection they think is free, so that none is cut under a request."""
BACKLOG = 2048


class AddressError(Exception):
    """A host or port that cannot be listened on."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command; a known mistake is one line on stderr and exit status 1."""
    arguments = _parser().parse_args(argv)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    # NumPy reads this when it is loaded; threads that wait for each other take a small matrix
    # product from 0.1 ms to 16.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from serve.artifact import ArtifactError

    try:
        settings = read_flags(arguments)
        serve(arguments.model, arguments.runs, arguments.host, arguments.port, settings)
    except (ArtifactError, AddressError, SettingError) as error:
        sys.exit(f"error: {error}")


def serve(model: str | None, runs: str, host: str, port: str, settings: Settings) -> None:
    """Find, verify and warm the model, then listen and answer until a signal."""
    from serve.artifact import find

    folder = find(model, _local(runs))
    # The address is taken before the model is loaded, and listened on after: what is wrong with
    # it is known at once, and no request is answered, or kept waiting, too early.
    with _bound(host, _number(port)) as listener, _loaded(folder) as loaded:
        from serve.registry import Model, Registry

        app = _app(Registry(Model.of(loaded)), host, settings)
        gc.freeze()  # What is loaded by now stays; the collector need not visit it again.
        address = _listening(listener, host)
        manifest = loaded.manifest
        run = f" (run {manifest.run})" if manifest.run else ""
        _say(f"serving {manifest.name} {manifest.version}{run} on {address} - ctrl-c stops")
        _answer(app, listener, settings)


def _app(registry: "Registry", host: str, settings: Settings) -> "Application":
    from serve.api import create_app

    return create_app(
        registry,
        hosts=_hosts(host),
        api_key=settings.api_key,
        wait_s=settings.wait_s,
        log=sys.stderr if settings.log_json else None,
    )


def _loaded(folder: Path) -> AbstractContextManager["Predictor | ModelProcess"]:
    """The model of a folder, verified and warm: a network right here, or handlers in a process."""
    from serve.artifact import read_manifest
    from serve.manifest import HANDLERS_FORMAT

    if read_manifest(folder).format == HANDLERS_FORMAT:
        from serve.process import ModelProcess

        return ModelProcess(folder)
    from serve.engine import load

    return nullcontext(load(folder))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m serve", description="Serve a model over HTTP, with a page to draw digits."
    )
    parser.add_argument(
        "model", nargs="?", metavar="MODEL",
        help="a model's folder, or a run's name (default: the newest run that has a model)",
    )  # fmt: skip
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", default="8080", help="port to listen on (%(default)s)")
    parser.add_argument("--runs", default="runs", help="folder where runs are kept (%(default)s)")
    add_flags(parser)
    return parser


def _stop(number: int, frame: FrameType | None) -> None:
    """End with status 0; while requests are answered the server has handlers of its own."""
    sys.exit(0)


def _local(runs: str) -> Path:
    from serve.artifact import ArtifactError

    if "://" in runs:
        raise ArtifactError(f"--runs: expected a folder on this machine, got {runs}")
    return Path(runs).absolute()


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


def _bound(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise AddressError(f"--host: {host!r} is no address of this machine: {error}") from error
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise _refused(host, port, error) from error
    return listener


def _listening(listener: socket.socket, host: str) -> str:
    """Listen, and the address to say so; another process may have been quicker since the bind."""
    port = listener.getsockname()[1]
    try:
        listener.listen(BACKLOG)
    except OSError as error:
        raise _refused(host, port, error) from error
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def _refused(host: str, port: int, error: OSError) -> AddressError:
    if error.errno == errno.EADDRINUSE:
        return AddressError(f"--port: {port} is in use on {host}; choose another with --port")
    return AddressError(f"--host: cannot listen on {host} port {port}: {error.strerror}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _answer(app: "Application", listener: socket.socket, settings: Settings) -> None:
    import uvicorn

    from serve.connections import limited

    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=limited(settings.allowance, app.front.refused),
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
