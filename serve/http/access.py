"""Who may ask what: the hosts that are served, the sites and keys that may ask, a body's size."""

import base64
import hashlib
import hmac
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import NoReturn
from urllib.parse import urlsplit

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from serve.errors import (
    CrossSiteError,
    MisdirectedError,
    OverloadedError,
    TooLargeError,
    UnauthorizedError,
)
from serve.http.headers import Headers, headers_of, text

MAX_BODY = 6 * 1024 * 1024
"""The largest body in bytes; SageMaker's own limit."""
INLINE_BYTES = 64 * 1024
"""Bodies up to this are answered on the event loop; larger ones in a thread, so that none waits."""
LARGE_BODIES = 8
"""Large bodies held at once, those that wait for a thread included."""
DRAINED = 32 * 1024 * 1024
"""How much of a body too large is still read, and dropped, so that its sender reads the reply."""
LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})
SECURITY_HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
        b"frame-ancestors 'none'; object-src 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)
OPEN = "/ping"
"""The route that asks for no key, for those who only look whether the server is well."""
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::\d{1,5})?")
_AUTHORIZATION = re.compile(rb"(bearer|basic) +([^ ]+)", re.IGNORECASE)


@dataclass(frozen=True)
class Gate:
    """Who is let in."""

    hosts: frozenset[str] | None = None
    """The hosts that are served, or any."""
    key_sha256: bytes | None = None
    """The digest of the key that every client has to know, or none."""

    @classmethod
    def of(cls, hosts: Collection[str] | None, api_key: str | None) -> "Gate":
        """A gate for clients that name one of the hosts, and know the key."""
        digest = None if api_key is None else hashlib.sha256(api_key.encode()).digest()
        return cls(None if hosts is None else frozenset(hosts), digest)

    def admit(self, scope: Scope, headers: Headers) -> None:
        """Refuse what no route should see."""
        if self.hosts is not None:
            _check_host(headers.get(b"host"), self.hosts)
        _check_site(scope["method"], headers)
        if self.key_sha256 is not None and scope["path"] != OPEN:
            _check_key(headers, self.key_sha256)


def hosts_of(host: str) -> frozenset[str] | None:
    """The hosts to answer for: on a loopback address its names, elsewhere any."""
    if host == "localhost" or host == "::1" or host.startswith("127."):
        return LOOPBACK_HOSTS | ({host} if ":" not in host else set())
    return None


class LargeBodies:
    """How many large bodies are held at once."""

    def __init__(self) -> None:
        self._held = 0

    @contextmanager
    def room(self, headers: Headers) -> Iterator[None]:
        """Hold what may be a large body; refuse it where many are held already."""
        large = _may_be_large(headers)
        if large and self._held >= LARGE_BODIES:
            raise OverloadedError(f"{LARGE_BODIES} large bodies are being answered; ask again")
        self._held += large
        try:
            yield
        finally:
            self._held -= large


def _may_be_large(headers: Headers) -> bool:
    length = headers.get(b"content-length", b"")
    return b"transfer-encoding" in headers or (length.isdigit() and int(length) > INLINE_BYTES)


async def read_body(scope: Scope, receive: Receive) -> bytes:
    """The whole body, as long as it is within the limit."""
    declared = headers_of(scope).get(b"content-length", b"0")
    if declared.isdigit() and int(declared) > MAX_BODY:
        came = f"{declared.decode()} bytes"
        await _refuse(receive, came, left=DRAINED if int(declared) <= DRAINED else 0)
    parts, received, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part, more = message.get("body", b""), message.get("more_body", False)
        received += len(part)
        if received > MAX_BODY:
            await _refuse(receive, "more", left=DRAINED - received if more else 0)
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def _refuse(receive: Receive, came: str, *, left: int) -> NoReturn:
    # Closing on a client that still writes would reset the connection under the reply.
    while left > 0:
        message = await receive()
        left = left - len(message.get("body", b"")) if message.get("more_body", False) else 0
    raise TooLargeError(f"the body may have at most {MAX_BODY} bytes, got {came}")


@lru_cache(maxsize=256)
def _check_host(came: bytes | None, allowed: Collection[str]) -> None:
    host = (came or b"").decode("latin-1")
    match = _HOST.fullmatch(host.lower())
    if match is None or match[1] not in allowed:
        raise MisdirectedError(
            f"the host {host[:80]!r} is not served here; ask for {', '.join(sorted(allowed))}"
        )


def _check_site(method: str, headers: Headers) -> None:
    """Refuse what another site's page sends; following a link to a page is no such thing."""
    if headers.get(b"sec-fetch-site") == b"cross-site":
        followed = method == "GET" and headers.get(b"sec-fetch-mode") == b"navigate"
        if not followed:
            raise CrossSiteError(
                "the request comes from another site's page, which may not ask here"
            )
    origin = text(headers, b"origin")
    if origin is None or method in {"GET", "HEAD"}:
        return
    if _site(origin) != headers.get(b"host", b"").decode("latin-1").lower():
        raise CrossSiteError(f"the request comes from {origin[:80]!r}, which may not ask here")


def _site(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:  # A bracket that is not closed.
        return None


def _check_key(headers: Headers, expected: bytes) -> None:
    # Of digests, so that not even the key's length shows in the time that it takes.
    if not hmac.compare_digest(hashlib.sha256(_key(headers)).digest(), expected):
        raise UnauthorizedError(
            "no key came, or a wrong one; send it as `Authorization: Bearer KEY` or `x-api-key`, "
            "or give it to a browser as the password"
        )


def _key(headers: Headers) -> bytes:
    """The key that came: in browsers it is typed as a password, with any name or none."""
    match = _AUTHORIZATION.fullmatch(headers.get(b"authorization", b""))
    if match is None:
        return headers.get(b"x-api-key", b"")
    if match[1].lower() == b"bearer":
        return match[2]
    try:
        return base64.b64decode(match[2], validate=True).partition(b":")[2]
    except ValueError:
        return b""
