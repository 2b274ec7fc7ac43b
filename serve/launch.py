"""An endpoint from its model to its end: in this process, by workers, or on Ray Serve."""

import contextlib
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path

from serve.http.access import allowed_hosts
from serve.rollout import admin, run_dir
from serve.rollout.manager import Holder, Versions
from serve.rollout.poller import following, wait_for
from serve.rollout.run_dir import Premises
from serve.rollout.store import Shelf
from serve.server.sockets import bind, listen, url
from serve.settings import Scale, Settings

LOOK_SECONDS = 0.5
"""How often it is looked what replicas log, and whether their Ray is still there."""


@dataclass(frozen=True)
class Asked:
    """What is to be served, and to whom."""

    located: Callable[[], AbstractContextManager[Path]]
    """Finds the model's folder, which may be there only for a while."""
    followed: Path | None
    """The folder in which each newer model of a run comes, if one is followed."""
    host: str
    settings: Settings
    say: Callable[[str], None]
    """Takes what is worth a line."""


def alone(asked: Asked, place: Premises, listeners: Sequence[socket.socket]) -> None:
    """Answer in this process, until a signal."""
    from serve.rollout.loaded_models import (
        Models,  # It loads NumPy, which the process of a fleet does without.
    )

    with Models() as models, _changeable(asked, place, models) as versions:
        from serve.workers.http_server import create_server

        def begin() -> None:
            _begin(asked, versions, listeners)

        server = create_server(models, asked.host, asked.settings, begin)
        server.run(sockets=list(listeners))


def together(asked: Asked, place: Premises, listeners: Sequence[socket.socket]) -> None:
    """Answer in workers, one for each socket, and look after them, until a signal."""
    from serve.workers.supervisor import Fleet

    order = {"host": asked.host, "settings": asdict(asked.settings)}
    with Fleet(listeners, order, asked.say) as fleet, _changeable(asked, place, fleet) as versions:
        try:
            fleet.serve()
            _begin(asked, versions, listeners)
            threading.Event().wait()
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # It is ending; Ctrl-C hurries it.
            fleet.end()


def on_ray(asked: Asked, port: int, scale: Scale) -> None:
    """Answer by replicas on Ray Serve, until a signal."""
    from serve.ray_serve.deployment import Fleet, Place, Stopped, deployed, joined

    with bind(asked.host, port) as listener:
        address, number = listener.getsockname()[:2]
    stop = threading.Event()
    with run_dir.opened(address, number) as own, contextlib.suppress(Stopped), joined(scale):
        # Ray has put handlers of its own in the place of ours; and what rises in Ray is lost there.
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, lambda *_: stop.set())
        place = Place(asked.host, number, allowed_hosts(asked.host))
        with Fleet() as fleet:
            versions = _versions(asked, own, fleet)
            with deployed(fleet, place, asked.settings, scale, stop):
                asked.say(_ready(versions, url(asked.host, number)))
                with _changing(asked, own, versions):
                    while not stop.wait(LOOK_SECONDS):
                        _log(fleet.logged())
            _log(fleet.logged())


@contextlib.contextmanager
def _changeable(asked: Asked, place: Premises, holder: Holder) -> Iterator[Versions]:
    """The versions of the model, the first loaded, which may be changed while the block runs."""
    versions = _versions(asked, place, holder)
    with _changing(asked, place, versions):
        yield versions


def _versions(asked: Asked, place: Premises, holder: Holder) -> Versions:
    """The versions of the model, the first loaded."""
    if asked.followed is not None:
        wait_for(asked.followed, asked.say)
        return Versions(Shelf(place.models), holder, asked.followed, asked.say)
    with asked.located() as folder:
        return Versions(Shelf(place.models), holder, folder, asked.say)


@contextlib.contextmanager
def _changing(asked: Asked, place: Premises, versions: Versions) -> Iterator[None]:
    """Do what comes over the admin socket, and follow the run, while the block runs."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(admin.answering(place.socket, versions))
        if asked.followed is not None:
            stack.enter_context(following(asked.followed, versions, asked.say))
        yield


def _begin(asked: Asked, versions: Versions, listeners: Sequence[socket.socket]) -> None:
    addresses = [listen(listener, asked.host) for listener in listeners]
    asked.say(_ready(versions, addresses[0]))


def _log(lines: Sequence[str]) -> None:
    sys.stderr.writelines(lines)
    sys.stderr.flush()


def _ready(versions: Versions, address: str) -> str:
    return f"serving {versions.current.said} on {address} - ctrl-c stops"
