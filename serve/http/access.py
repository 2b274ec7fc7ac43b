"""Access control: the hosts that are served, requests from other sites' pages, and the API key."""

import base64
import hashlib
import hmac
import ipaddress
import re
import socket
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

from starlette.datastructures import Headers as StarletteHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Scope

from serve.errors import BadRequestError, CrossSiteError, MisdirectedError, UnauthorizedError
from serve.http.headers import Headers, read_text
from serve.settings import ANY, Settings

LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})
ANY_ADDRESS = frozenset({"0.0.0.0/0", "::/0"})
"""Hosts that are addresses: no name of another site can lead to the server by them."""
HEALTH_PATHS = frozenset({"/ping", "/healthz", "/livez", "/readyz"})
"""Need no key, and in HTTP/1.0 no host, so that a load balancer can check the server's health."""
EXPOSED_HEADERS = ("retry-after", "x-input-scale", "x-model-version", "x-request-id")
"""Headers of a reply that another site's page may read."""
_MAX_HOST = 260
"""Characters of a host that are looked at: the longest name has 253, and a port."""
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::\d{1,5})?")
_AUTHORIZATION = re.compile(rb"(bearer|basic) +([^ ]+)", re.IGNORECASE)


@dataclass(frozen=True)
class AccessPolicy:
    """Conditions that a request must meet before any route sees it."""

    hosts: frozenset[str] | None = None
    """Names, `*.domain` for its subdomains, and networks that are served; None for any host."""
    key_sha256: bytes | None = None
    """Digest of the API key; None if no key is needed."""
    origins: frozenset[str] = frozenset()
    """Other sites whose pages may send requests; `*` for any."""

    @classmethod
    def create(cls, host: str, settings: Settings) -> "AccessPolicy":
        """Create the policy of a server that listens on `host`."""
        names = allowed_hosts(host) | set(settings.allowed_hosts)
        return cls(
            None if ANY in names else names,
            None if settings.api_key is None else digest_key(settings.api_key),
            frozenset(settings.allow_origins),
        )

    def check(self, scope: Scope, headers: Headers) -> None:
        """Raise a RequestError if the request may not be answered."""
        _check_host(scope, headers.get(b"host"), self.hosts)
        self._check_site(scope["method"], headers)
        if self.key_sha256 is not None and scope["path"] not in HEALTH_PATHS:
            _check_key(headers, self.key_sha256)

    def answer_origins(self, app: ASGIApp) -> ASGIApp:
        """Wrap an application so that pages of `origins` may read its replies (CORS)."""
        if not self.origins:
            return app
        return _OriginMiddleware(
            app,
            allow_origins=self.origins,
            allow_methods=["*"],
            allow_headers=["*"],
            allow_private_network=True,
            expose_headers=EXPOSED_HEADERS,
        )

    def _check_site(self, method: str, headers: Headers) -> None:
        """Refuse requests that another site's page sends; links to a page here may be followed."""
        origin = read_text(headers, b"origin")
        if origin is not None and not self.origins.isdisjoint((ANY, origin)):
            return
        if headers.get(b"sec-fetch-site") == b"cross-site":
            is_link = method == "GET" and headers.get(b"sec-fetch-mode") == b"navigate"
            if not is_link:
                raise CrossSiteError(
                    "the request comes from another site's page, which may not send requests "
                    "here; allow it by --allow-origin ORIGIN"
                )
        if origin is None or method in {"GET", "HEAD"}:
            return
        if _site(origin) != headers.get(b"host", b"").decode("latin-1").lower():
            raise CrossSiteError(_origin_sentence(origin))


class _OriginMiddleware(CORSMiddleware):
    """Starlette's middleware, whose refusals of a preflight are worded as all are here."""

    def preflight_response(self, request_headers: StarletteHeaders) -> Response:
        response = super().preflight_response(request_headers)
        if response.status_code == 200:
            return response
        origin = request_headers["origin"]
        allowed = self.is_allowed_origin(origin)
        sentence = bytes(response.body).decode() if allowed else _origin_sentence(origin)
        return JSONResponse({"error": sentence}, 403)


def allowed_hosts(host: str) -> frozenset[str]:
    """Return the hosts that a listening address implies: loopback's names, and what it says.

    A server that listens beyond loopback is also served by any address, and one that listens on
    every address by the machine's name.
    """
    if host == "localhost" or host == "::1" or host.startswith("127."):
        return LOOPBACK_HOSTS | ({host} if ":" not in host else set())
    own = socket.gethostname() if host in ("0.0.0.0", "::", "") else host
    return LOOPBACK_HOSTS | ANY_ADDRESS | {f"[{own}]" if ":" in own else own.lower()}


def digest_key(api_key: str) -> bytes:
    """Return the digest by which a key is known."""
    return hashlib.sha256(api_key.encode()).digest()


def _check_host(scope: Scope, value: bytes | None, allowed: frozenset[str] | None) -> None:
    if value is None:
        if scope["http_version"] == "1.0" and scope["path"] in HEALTH_PATHS:
            return
        raise BadRequestError("the request has no Host header; name the host that you ask")
    if b"," in value:
        raise BadRequestError("the request has two Host headers; send one")
    if allowed is not None:
        _check_allowed(value[:_MAX_HOST], allowed)


@lru_cache(maxsize=256)
def _check_allowed(value: bytes, allowed: frozenset[str]) -> None:
    host = value.decode("latin-1")
    match = _HOST.fullmatch(host.lower())
    if match is None or not _is_allowed(match[1], allowed):
        names = ", ".join(sorted(allowed - ANY_ADDRESS))
        raise MisdirectedError(
            f"the host {host[:80]!r} is not served here; ask for {names}, or allow it by "
            "--allowed-host HOST"
        )


def _is_allowed(host: str, allowed: frozenset[str]) -> bool:
    if host in allowed:
        return True
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return any(entry[0] == "*" and host.endswith(entry[1:]) for entry in allowed)
    return any("/" in entry and address in ipaddress.ip_network(entry) for entry in allowed)


def _origin_sentence(origin: str) -> str:
    return (
        f"the request comes from {origin[:80]!r}, which may not send requests here; allow it by "
        "--allow-origin"
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
