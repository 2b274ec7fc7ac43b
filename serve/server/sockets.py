"""The address of a server: taken, listened on, and given up without losing who has come."""

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
ACCEPTED = 512
"""Connections accepted at most in a turn of the event loop, before those there are get theirs."""
FULL = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
FULL_SECONDS = 0.1
"""How long those who come wait where this process or machine can hold no more connections."""
SO_ATTACH_FILTER = 26
_NO_SYN = (
    (0x30, 0, 0, 13),  # Load the byte of TCP's flags,
    (0x54, 0, 0, 0x12),  # of them SYN and ACK;
    (0x15, 0, 1, 0x02),  # where that is SYN alone,
    (0x06, 0, 0, 0),  # take nothing of the packet,
    (0x06, 0, 0, 0xFFFFFFFF),  # else all.
)
"""The kernel's own little program, by which a socket drops who asks for a new connection."""


class AddressError(Exception):
    """A host or port that cannot be listened on."""


def bound(host: str, port: int) -> socket.socket:
    """A socket that has the address, and does not listen yet."""
    return _bound(host, port, socket.SO_REUSEADDR)


def _bound(host: str, port: int, *options: int) -> socket.socket:
    family, address = resolved(host, port)
    listener = socket.socket(family, socket.SOCK_STREAM)
    for option in options:
        listener.setsockopt(socket.SOL_SOCKET, option, 1)
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise _refused(host, port, error) from error
    return listener


def bound_together(host: str, port: int, count: int) -> list[socket.socket]:
    """As many sockets with one address, among which the kernel shares out who connects."""
    if count == 1:
        return [bound(host, port)]
    if port:  # Other servers' sockets of this kind would share the address without a word.
        bound(host, port).close()
    listeners: list[socket.socket] = []
    for _ in range(count):
        listeners.append(_bound(host, port, socket.SO_REUSEADDR, socket.SO_REUSEPORT))
        port = listeners[0].getsockname()[1]
    return listeners


def resolved(host: str, port: int) -> tuple[socket.AddressFamily, Any]:
    """The family and the address that a host's name means."""
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise AddressError(f"--host: {host!r} is no address of this machine: {error}") from error
    return family, address


def listen(listener: socket.socket, host: str) -> str:
    """Listen, and the address to say so; another process may have been quicker since the bind."""
    port = listener.getsockname()[1]
    try:
        listener.listen(BACKLOG)
    except OSError as error:
        raise _refused(host, port, error) from error
    return url(host, port)


def url(host: str, port: int) -> str:
    """Where a server of this host and port is found."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


class Door:
    """Lets in who connects to a socket, all who wait in each turn of the event loop.

    libuv lets in one in a turn, so that under a crowd, which makes turns long, those who come new
    would wait for seconds.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        listener: socket.socket,
        protocol: Callable[[], asyncio.Protocol],
    ) -> None:
        self.arriving: set[asyncio.Task[Any]] = set()
        """Connections that are accepted, and not yet the protocol's."""
        self._loop = loop
        self._listener = listener
        self._protocol = protocol
        self._is_open = True
        listener.listen(BACKLOG)
        listener.setblocking(False)
        self._listen()

    def close(self) -> None:
        """Let in nobody any more."""
        self._is_open = False
        self._loop.remove_reader(self._listener)

    def _listen(self) -> None:
        if self._is_open:
            self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        for _ in range(ACCEPTED):
            try:
                line, _ = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in FULL:
                    raise
                self._loop.remove_reader(self._listener)
                self._loop.call_later(FULL_SECONDS, self._listen)
                return
            line.setblocking(False)
            coming = self._loop.create_task(
                self._loop.connect_accepted_socket(self._protocol, line)
            )
            self.arriving.add(coming)
            coming.add_done_callback(self.arriving.discard)


def refuse_new(listener: socket.socket) -> None:
    """Let no new connection come, so that after those that have come it can be closed.

    A connection that is waiting to be accepted when its socket is closed is reset, although its
    client may have sent a request. Where the kernel does not know how, this does nothing.
    """
    code = b"".join(struct.pack("HBBI", *step) for step in _NO_SYN)
    buffer = ctypes.create_string_buffer(code)
    program = struct.pack("HP", len(_NO_SYN), ctypes.addressof(buffer))
    with contextlib.suppress(OSError):
        listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)


def is_awaited(listener: socket.socket) -> bool:
    """Whether a connection waits to be accepted."""
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    return bool(poll.poll(0))


def _refused(host: str, port: int, error: OSError) -> AddressError:
    if error.errno == errno.EADDRINUSE:
        return AddressError(f"--port: {port} is in use on {host}; choose another with --port")
    return AddressError(f"--host: cannot listen on {host} port {port}: {error.strerror}")
