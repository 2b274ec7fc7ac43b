"""Bodies of text."""

from serve.errors import BadRequestError


def decode_text(body: bytes) -> str:
    """Decode UTF-8, without a byte order mark; raises BadRequestError if it is not, or empty."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadRequestError(f"the body is not UTF-8 at byte {error.start}") from error
    if not text.strip():
        raise BadRequestError("the body is empty")
    return text
