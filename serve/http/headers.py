"""Request headers by name, joined once a request, and the headers that the service defines."""

import re

from starlette.types import Scope

from serve.errors import BadRequestError

Headers = dict[bytes, bytes]
Header = tuple[bytes, bytes]

SCOPE_KEY = "tuneport.headers"
"""Key of the joined headers in a request's scope."""
REQUEST_ID = b"x-request-id"
SECURITY_HEADERS: tuple[Header, ...] = (
    (
        b"content-security-policy",
        b"default-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
        b"frame-ancestors 'none'; object-src 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)
"""Headers of every reply."""
_REQUEST_ID_PATTERN = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")
"""Request ids that do no harm in a log or a header."""
_ECHOED = {
    b"x-amzn-sagemaker-custom-attributes": (re.compile(rb"[\x20-\x7e]{0,1024}"), 1024),
    b"x-amzn-sagemaker-inference-id": (re.compile(rb"[\x20-\x7e]{0,64}"), 64),
}
"""Headers that SageMaker clients send to recognize replies: allowed values, and their length."""


def join_headers(pairs: list[Header]) -> Headers:
    """Map names to values; repeated headers become one list, as HTTP defines."""
    headers = dict(pairs)
    if len(headers) != len(pairs):
        headers = {}
        for name, value in pairs:
            headers[name] = b"%b, %b" % (headers[name], value) if name in headers else value
    return headers


def read_headers(scope: Scope) -> Headers:
    """Return the headers of a request; they are joined on the first call and kept in its scope."""
    headers: Headers | None = scope.get(SCOPE_KEY)
    if headers is None:
        headers = scope[SCOPE_KEY] = join_headers(scope["headers"])
    return headers


def read_request_id(headers: Headers) -> bytes | None:
    """Return the client's request id, or None if it sent none or one that is not safe to log."""
    value = headers.get(REQUEST_ID)
    if value is None or _REQUEST_ID_PATTERN.fullmatch(value) is None:
        return None
    return value


def read_text(headers: Headers, name: bytes) -> str | None:
    """Return one header as text, or None if it did not come."""
    value = headers.get(name)
    return None if value is None else value.decode("latin-1")


def read_echoed_headers(headers: Headers) -> list[Header]:
    """Return the headers that a SageMaker client gets back unchanged.

    Raises BadRequestError if one is too long or not visible ASCII.
    """
    if _ECHOED.keys().isdisjoint(headers):
        return []
    echoed = [(name, headers[name]) for name in _ECHOED if name in headers]
    for name, value in echoed:
        pattern, max_length = _ECHOED[name]
        if pattern.fullmatch(value) is None:
            raise BadRequestError(
                f"{name.decode()}: expected at most {max_length} visible ASCII characters, "
                f"got {value[:40].decode('latin-1')!r}"
            )
    return echoed
