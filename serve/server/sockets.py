"""Listening sockets: bind, listen, and ask for pending connections."""

import errno
import select
import socket
from typing import Any

BACKLOG = 2048


class AddressError(Exception):
    """A host or port that cannot be bound or listened on."""


def bind(host: str, port: int) -> socket.socket:
    """Bind a socket to an address; it does not listen yet.

    Raises AddressError if the address cannot be bound.
    """
    return _bind(host, port, socket.SO_REUSEADDR)


def _bind(host: str, port: int, *options: int) -> socket.socket:
    family, address = resolve(host, port)
    listener = socket.socket(family, socket.SOCK_STREAM)
    for option in options:
        listener.setsockopt(socket.SOL_SOCKET, option, 1)
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise _address_error(host, port, error) from error
    return listener


def reserve(host: str, port: int) -> socket.socket:
    """Bind a socket that never listens, so that nobody but a proxy of Ray Serve takes its port."""
    with bind(host, port) as free:
        port = free.getsockname()[1]
    return _bind(host, port, socket.SO_REUSEADDR, socket.SO_REUSEPORT)


def bind_shared(host: str, port: int, count: int) -> list[socket.socket]:
    """Bind `count` sockets to one address; the kernel distributes connections among them."""
    if count == 1:
        return [bind(host, port)]
    if port:  # SO_REUSEPORT sockets of another server would silently share the address.
        bind(host, port).close()
    listeners: list[socket.socket] = []
    for _ in range(count):
        listeners.append(_bind(host, port, socket.SO_REUSEADDR, socket.SO_REUSEPORT))
        port = listeners[0].getsockname()[1]
    return listeners


def resolve(host: str, port: int) -> tuple[socket.AddressFamily, Any]:
    """Resolve a host to an address family and an address to bind."""
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise AddressError(f"--host: {host!r} is no address of this machine: {error}") from error
    return family, address


def listen(listener: socket.socket, host: str) -> str:
    """Listen on a bound socket, and return its URL.

    Raises AddressError if another process has begun to listen there since the bind.
    """
    port = listener.getsockname()[1]
    try:
        listener.listen(BACKLOG)
    except OSError as error:
        raise _address_error(host, port, error) from error
    return url(host, port)


def url(host: str, port: int) -> str:
    """URL of a server on this host and port."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def has_pending_connection(listener: socket.socket) -> bool:
    """Whether a connection waits to be accepted."""
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    return bool(poll.poll(0))


def _address_error(host: str, port: int, error: OSError) -> AddressError:
    if error.errno == errno.EADDRINUSE:
        return AddressError(f"--port: {port} is in use on {host}; choose another with --port")
    return AddressError(f"--host: cannot listen on {host} port {port}: {error.strerror}")
