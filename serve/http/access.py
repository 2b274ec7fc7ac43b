"""Access control: the hosts that are served, requests from other sites' pages, and the API key."""

import base64
import hashlib
import hmac
import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

from starlette.types import Scope

from serve.errors import CrossSiteError, MisdirectedError, UnauthorizedError
from serve.http.headers import Headers, read_text

LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})
HEALTH_PATH = "/ping"
"""Needs no key, so that a load balancer can check the server's health."""
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::\d{1,5})?")
_AUTHORIZATION = re.compile(rb"(bearer|basic) +([^ ]+)", re.IGNORECASE)


@dataclass(frozen=True)
class AccessPolicy:
    """Conditions that a request must meet before any route sees it."""

    hosts: frozenset[str] | None = None
    """Hosts that are served; None for any."""
    key_sha256: bytes | None = None
    """Digest of the API key; None if no key is needed."""

    @classmethod
    def create(cls, hosts: Collection[str] | None, api_key: str | None) -> "AccessPolicy":
        """Create the policy for these hosts and this key."""
        digest = None if api_key is None else hashlib.sha256(api_key.encode()).digest()
        return cls(None if hosts is None else frozenset(hosts), digest)

    def check(self, scope: Scope, headers: Headers) -> None:
        """Raise a RequestError if the request may not be answered."""
        if self.hosts is not None:
            _check_host(headers.get(b"host"), self.hosts)
        _check_site(scope["method"], headers)
        if self.key_sha256 is not None and scope["path"] != HEALTH_PATH:
            _check_key(headers, self.key_sha256)


def allowed_hosts(host: str) -> frozenset[str] | None:
    """Return the hosts to serve on a listening address: its names on loopback, else any."""
    if host == "localhost" or host == "::1" or host.startswith("127."):
        return LOOPBACK_HOSTS | ({host} if ":" not in host else set())
    return None


@lru_cache(maxsize=256)
def _check_host(value: bytes | None, allowed: Collection[str]) -> None:
    host = (value or b"").decode("latin-1")
    match = _HOST.fullmatch(host.lower())
    if match is None or match[1] not in allowed:
        raise MisdirectedError(
            f"the host {host[:80]!r} is not served here; ask for {', '.join(sorted(allowed))}"
        )


def _check_site(method: str, headers: Headers) -> None:
    """Refuse requests that another site's page sends; links to a page here may be followed."""
    if headers.get(b"sec-fetch-site") == b"cross-site":
        is_link = method == "GET" and headers.get(b"sec-fetch-mode") == b"navigate"
        if not is_link:
            raise CrossSiteError(
                "the request comes from another site's page, which may not send requests here"
            )
    origin = read_text(headers, b"origin")
    if origin is None or method in {"GET", "HEAD"}:
        return
    if _site(origin) != headers.get(b"host", b"").decode("latin-1").lower():
        raise CrossSiteError(
            f"the request comes from {origin[:80]!r}, which may not send requests here"
        )


def _site(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:  # A bracket that is not closed.
        return None


def _check_key(headers: Headers, digest: bytes) -> None:
    # Comparing digests hides even the key's length from timing.
    if not hmac.compare_digest(hashlib.sha256(_read_key(headers)).digest(), digest):
        raise UnauthorizedError(
            "the API key is missing or wrong; send it as `Authorization: Bearer KEY` or "
            "`x-api-key`, or enter it in a browser as the password"
        )


def _read_key(headers: Headers) -> bytes:
    """Return the key sent; a browser sends it as the password of any user."""
    match = _AUTHORIZATION.fullmatch(headers.get(b"authorization", b""))
    if match is None:
        return headers.get(b"x-api-key", b"")
    if match[1].lower() == b"bearer":
        return match[2]
    try:
        return base64.b64decode(match[2], validate=True).partition(b":")[2]
    except ValueError:
        return b""
