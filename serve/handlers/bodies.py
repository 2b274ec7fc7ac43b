"""Bodies of requests and replies, as handlers take and give them."""

import json

from serve.errors import BadRequestError, HandlerError, UnsupportedTypeError
from serve.formats.negotiation import charset, media_type
from serve.handlers.error_text import error_line
from serve.handlers.stubs.sagemaker_inference.content_types import UTF8_TYPES

CHARSETS = ("utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "latin-1", "utf-16", "utf-32")
"""Charsets that handlers' texts may have; of those that Python knows, some take quadratic time."""


def decode_body(body: bytes, content_type: str) -> tuple[str | bytes, str]:
    """Decode a body for handlers: JSON and CSV to text, and their type without a charset.

    Raises:
        UnsupportedTypeError: The charset is not known.
        BadRequestError: The body is not text of that charset.
    """
    kind = media_type(content_type)
    if kind not in UTF8_TYPES:
        return body, content_type
    name = charset(content_type)
    if name not in CHARSETS:
        raise UnsupportedTypeError(f"charset {name[:80]!r} is not read; send utf-8")
    try:
        return body.decode(name), kind
    except UnicodeError as error:
        raise BadRequestError(f"the body is not text: {error_line(error)}") from error


def encode_result(name: str, result: object) -> bytes:
    """Encode the result of the handler `name`: bytes and text as they are, all else as JSON."""
    if isinstance(result, bytes | bytearray):
        return bytes(result)
    try:
        if result is None:
            raise TypeError("None is not an answer")
        return (result if isinstance(result, str) else json.dumps(result)).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise HandlerError(
            500, f"{name} returned {type(result).__name__}, not bytes, text or what JSON can hold"
        ) from error


def check_header(name: str, value: object) -> str:
    """Return a header's name or value; raises HandlerError if it cannot be sent."""
    if not (isinstance(value, str) and value.isascii() and value.isprintable()):
        raise HandlerError(500, f"{name} returned a header that cannot be sent: {value!r:.80}")
    return value
