"""Listening sockets: bind, listen, accept, and close without losing a connection."""

import asyncio
import contextlib
import ctypes
import errno
import select
import socket
import struct
from collections.abc import Callable
from typing import Any

BACKLOG = 2048
MAX_ACCEPTED = 512
"""Connections accepted in one turn of the event loop, so that open ones get theirs."""
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
RETRY_SECONDS = 0.1
"""Pause in accepting while the process or machine has no file descriptor or buffer left."""
SO_ATTACH_FILTER = 26
_NO_SYN = (
    (0x30, 0, 0, 13),  # Load the byte of TCP's flags.
    (0x54, 0, 0, 0x12),  # Keep SYN and ACK.
    (0x15, 0, 1, 0x02),  # If SYN alone is set,
    (0x06, 0, 0, 0),  # accept no byte of the packet,
    (0x06, 0, 0, 0xFFFFFFFF),  # else all.
)
"""Classic BPF program by which a socket drops packets that ask for a new connection."""


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


class Acceptor:
    """Accept all pending connections of a socket in each turn of the event loop.

    libuv accepts one a turn. Under load, which makes turns long, new clients would wait for
    seconds.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        listener: socket.socket,
        protocol: Callable[[], asyncio.Protocol],
    ) -> None:
        self.tasks: set[asyncio.Task[Any]] = set()
        """Accepted connections that their protocols do not have yet."""
        self._loop = loop
        self._listener = listener
        self._protocol = protocol
        self._is_open = True
        listener.listen(BACKLOG)
        listener.setblocking(False)
        self._listen()

    def close(self) -> None:
        """Stop accepting."""
        self._is_open = False
        self._loop.remove_reader(self._listener)

    def _listen(self) -> None:
        if self._is_open:
            self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        for _ in range(MAX_ACCEPTED):
            try:
                connection, _ = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    raise
                self._loop.remove_reader(self._listener)
                self._loop.call_later(RETRY_SECONDS, self._listen)
                return
            connection.setblocking(False)
            task = self._loop.create_task(
                self._loop.connect_accepted_socket(self._protocol, connection)
            )
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)


def refuse_new_connections(listener: socket.socket) -> None:
    """Drop new connection requests, so that the socket can be closed after accepting pending ones.

    Closing it earlier would reset pending connections, whose clients may have sent requests. Does
    nothing on a kernel without socket filters.
    """
    code = b"".join(struct.pack("HBBI", *step) for step in _NO_SYN)
    buffer = ctypes.create_string_buffer(code)
    program = struct.pack("HP", len(_NO_SYN), ctypes.addressof(buffer))
    with contextlib.suppress(OSError):
        listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)


def has_pending_connection(listener: socket.socket) -> bool:
    """Whether a connection waits to be accepted."""
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    return bool(poll.poll(0))


def _address_error(host: str, port: int, error: OSError) -> AddressError:
    if error.errno == errno.EADDRINUSE:
        return AddressError(f"--port: {port} is in use on {host}; choose another with --port")
    return AddressError(f"--host: cannot listen on {host} port {port}: {error.strerror}")
