"""Serve a model over HTTP: `python -m serve [MODEL]`, a folder or a run, the newest by default."""

import argparse
import contextlib
import os
import select
import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from serve.server.sockets import AddressError, bind_shared, resolve
from serve.settings import (
    SettingError,
    add_client_flags,
    add_ray_flags,
    add_site_flags,
    read_client_flags,
    read_ray_flags,
    read_workers,
)

if TYPE_CHECKING:
    from serve.launch import Endpoint

STDERR = 2


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command; a known mistake is one line on stderr and exit status 1."""
    _open_closed_streams()
    arguments = parser().parse_args(argv)
    if arguments.version:
        from importlib import metadata

        print(f"tuneport {metadata.version('tuneport')}")
        return
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    # NumPy reads this when it is loaded; threads that wait for each other take a small matrix
    # product from 0.1 ms to 16.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from serve.models.artifact import ArtifactError
    from serve.rollout.admin import AdminError
    from serve.rollout.run_dir import RunDirError
    from serve.workers.process import WorkerLostError

    known_errors = (
        AddressError,
        AdminError,
        ArtifactError,
        RunDirError,
        SettingError,
        WorkerLostError,
    )
    try:
        if arguments.reload or arguments.rollback:
            print(_change_model(arguments), flush=True)
        else:
            serve(arguments)
    except known_errors as error:
        sys.exit(f"error: {error}")


def serve(arguments: argparse.Namespace) -> None:
    """Load the model, then listen and serve until a signal."""
    from serve import launch
    from serve.models.storage import find_model

    settings, ray_options = read_client_flags(arguments), read_ray_flags(arguments)
    followed = _followed_model(arguments)
    find = partial(find_model, arguments.model, arguments.runs)
    endpoint = launch.Endpoint(find, followed, arguments.host, settings, _say)
    port = _port(arguments.port)
    if ray_options is None:
        _serve_here(endpoint, port, read_workers(arguments))
    else:
        launch.serve_on_ray(endpoint, port, ray_options)


def _serve_here(endpoint: "Endpoint", port: int, workers: int) -> None:
    from serve import launch
    from serve.rollout import run_dir

    # Bind before the model is loaded, so that a wrong address fails at once, and listen after, so
    # that no client connects too early.
    with contextlib.ExitStack() as stack:
        listeners = bind_shared(endpoint.host, port, workers)
        for listener in listeners:
            stack.enter_context(listener)
        run_folder = stack.enter_context(run_dir.create(*listeners[0].getsockname()[:2]))
        if workers == 1:
            launch.serve_in_process(endpoint, run_folder, listeners)
        else:
            launch.serve_by_workers(endpoint, run_folder, listeners)


def _followed_model(arguments: argparse.Namespace) -> Path | None:
    """Return the model folder of the run to follow, if there is one."""
    from serve.models.artifact import ArtifactError
    from serve.rollout.poller import find_model_folder

    if arguments.follow is None:
        return None
    if arguments.model is not None:
        raise ArtifactError("--follow: serves the model of its run; leave MODEL out")
    if "://" in arguments.runs:
        raise ArtifactError(f"--follow: follows a run of this machine, got --runs {arguments.runs}")
    return find_model_folder(arguments.follow, Path(arguments.runs).absolute())


def _change_model(arguments: argparse.Namespace) -> str:
    """Let a running server reload or roll back its model, and return its answer."""
    from serve.models.storage import find_model
    from serve.rollout import admin, run_dir

    port = _port(arguments.port)
    _, address = resolve(arguments.host, port)
    run_folder = run_dir.find(str(address[0]), port)
    if run_folder is None:
        others = ", ".join(f"{host} port {number}" for host, number in run_dir.list_servers())
        raise admin.AdminError(
            f"you have no server on {address[0]} port {port}; "
            + (f"you have {others}: give --host and --port" if others else "start one first")
        )
    if arguments.rollback:
        if arguments.model is not None:
            raise admin.AdminError("--rollback: returns to the previous version; leave MODEL out")
        return admin.send_request(run_folder.socket, "rollback")
    model = find_model(arguments.model, arguments.runs)
    return admin.send_request(run_folder.socket, "reload", model=model)


def parser() -> argparse.ArgumentParser:
    """Return the command's flags."""
    flags = argparse.ArgumentParser(
        prog="python -m serve", description="Serve a model over HTTP, with a page to draw digits."
    )
    flags.add_argument("--version", action="store_true", help="print the version")
    flags.add_argument(
        "model", nargs="?", metavar="MODEL",
        help="a model's folder or URI, or a run's name (default: the newest run with a model)",
    )  # fmt: skip
    flags.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    flags.add_argument("--port", default="8080", help="port to listen on (%(default)s)")
    flags.add_argument("--runs", default="runs", help="where runs are kept (%(default)s)")
    change = flags.add_mutually_exclusive_group()
    change.add_argument(
        "--reload", action="store_true",
        help="switch the server that runs on this port to this model",
    )  # fmt: skip
    change.add_argument(
        "--follow", metavar="RUN",
        help="serve a run's best model so far, and each better one once it is exported",
    )  # fmt: skip
    change.add_argument(
        "--rollback", action="store_true", help="switch it back to the previous version"
    )
    add_ray_flags(flags)
    add_client_flags(flags)
    add_site_flags(flags)
    return flags


def _stop(number: int, frame: FrameType | None) -> None:
    """Exit with status 0; a running server replaces this handler by its own."""
    sys.exit(0)


def _port(text: str) -> int:
    if not (text.isdecimal() and int(text) <= 65535):
        raise AddressError(f"--port: expected a number from 0 to 65535, got {text!r}")
    return int(text)


def _open_closed_streams() -> None:
    """Open the standard streams that are closed, for a socket would get their descriptors."""
    for descriptor, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(descriptor)
        except OSError:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))


def _say(line: str) -> None:
    with contextlib.suppress(OSError):  # Nobody reads it any more, or the disk is full.
        if select.select((), (STDERR,), (), 0)[1]:  # A pipe that is full would hold this thread.
            print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
