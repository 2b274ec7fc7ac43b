"""A request's headers, read once: by name, each with all that came under it."""

import re

from starlette.types import Scope

from serve.errors import BadRequestError

Headers = dict[bytes, bytes]

KEY = "tuneport.headers"
"""Where a request's scope has them."""
ID = b"x-request-id"
_SANE_ID = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")
"""Of the ids that clients bring, those that do no harm in a log or a header."""
RETURNED = {
    b"x-amzn-sagemaker-custom-attributes": re.compile(rb"[\x20-\x7e]{0,1024}"),
    b"x-amzn-sagemaker-inference-id": re.compile(rb"[\x20-\x7e]{0,64}"),
}
"""What SageMaker's clients send to know their answers by, and how it may look."""


def joined(pairs: list[tuple[bytes, bytes]]) -> Headers:
    """The headers by name; what came several times is one list, as HTTP has it."""
    found = dict(pairs)
    if len(found) != len(pairs):
        found = {}
        for name, value in pairs:
            found[name] = b"%b, %b" % (found[name], value) if name in found else value
    return found


def headers_of(scope: Scope) -> Headers:
    """The headers of a request, joined by whoever asked first."""
    headers: Headers | None = scope.get(KEY)
    if headers is None:
        headers = scope[KEY] = joined(scope["headers"])
    return headers


def sane_id(headers: Headers) -> bytes | None:
    """The id that a client has brought, if it is one to keep."""
    brought = headers.get(ID)
    return brought if brought is not None and _SANE_ID.fullmatch(brought) is not None else None


def text(headers: Headers, name: bytes) -> str | None:
    """One header as text, if it came."""
    value = headers.get(name)
    return None if value is None else value.decode("latin-1")


def returned(headers: Headers) -> list[tuple[bytes, bytes]]:
    """The headers that a SageMaker client gets back as it sent them."""
    if RETURNED.keys().isdisjoint(headers):
        return []
    found = [(name, headers[name]) for name in RETURNED if name in headers]
    for name, value in found:
        if RETURNED[name].fullmatch(value) is None:
            most = 1024 if name.endswith(b"attributes") else 64
            raise BadRequestError(
                f"{name.decode()}: expected at most {most} visible ASCII characters, "
                f"got {value[:40].decode('latin-1')!r}"
            )
    return found
