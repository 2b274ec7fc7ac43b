"""Bodies that carry pictures: a form with a file, or their base64 in JSON."""

import base64
import binascii

from serve.errors import BadRequestError, TooLargeError, UnprocessableError
from serve.formats.json_codec import quote

FORM = "multipart/form-data"
IMAGE_KEY = "image"
"""Key of an object in JSON whose value is a picture, as a data URL or in base64 alone."""
MAX_PICTURES = 64
"""Pictures of a body, each of which may take milliseconds."""
_MAX_BOUNDARY = 70
"""Longest boundary that the standard of forms allows."""


def may_have_picture(body: bytes) -> bool:
    """Whether a JSON body may have pictures, which are texts beside its one key."""
    return body.count(b'"') > 2


def read_form(body: bytes, content_type: str) -> bytes:
    """Return the only part of a form, as by `curl -F file=@digit.png`.

    Raises:
        BadRequestError: The form cannot be read.
        UnprocessableError: It has none or several parts.
    """
    # It loads what only forms need.
    from python_multipart.exceptions import MultipartParseError
    from python_multipart.multipart import MultipartParser, parse_options_header

    boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
    if not 0 < len(boundary) <= _MAX_BOUNDARY:
        raise BadRequestError(f"the form's Content-Type has no boundary of 1 to {_MAX_BOUNDARY}")
    parts: list[bytearray] = []
    ends: list[bool] = []

    def begin_part() -> None:
        if parts:
            raise UnprocessableError("the form has several parts; send one file")
        parts.append(bytearray())

    def add_data(data: bytes, start: int, end: int) -> None:
        parts[-1].extend(memoryview(data)[start:end])

    parser = MultipartParser(
        boundary,
        {
            "on_part_begin": begin_part,
            "on_part_data": add_data,
            "on_end": lambda: ends.append(True),
        },
    )
    try:
        parser.write(body)
        parser.finalize()
    except MultipartParseError as error:
        raise BadRequestError("the form is damaged or does not match its boundary") from error
    if not parts or not ends:
        raise BadRequestError("the form is cut off or has no part; send one file")
    return bytes(parts[0])


def read_json_pictures(value: object) -> list[bytes] | None:
    """Return the files in `{"image": text}` or `{"instances": [text, …]}`; None for another value.

    Raises:
        BadRequestError: A text is neither a data URL nor base64.
        TooLargeError: There are more than `MAX_PICTURES`.
    """
    if not isinstance(value, dict):
        return None
    if IMAGE_KEY in value:
        return [_decode_picture(value[IMAGE_KEY], f'the body\'s "{IMAGE_KEY}"')]
    texts = value.get("instances")
    if not isinstance(texts, list) or not texts or not isinstance(texts[0], str):
        return None
    if len(texts) > MAX_PICTURES:
        raise TooLargeError(f"the body has {len(texts)} pictures, of at most {MAX_PICTURES}")
    return [_decode_picture(text, f"instance {number}") for number, text in enumerate(texts, 1)]


def _decode_picture(text: object, name: str) -> bytes:
    if not isinstance(text, str):
        raise BadRequestError(f"{name} is {quote(text)}; send a data URL or base64 as text")
    head, _, data = text.rpartition(",")
    try:
        if head and not (head.startswith("data:") and head.endswith(";base64")):
            raise BadRequestError(f"{name} is no data URL in base64")
        return base64.b64decode("".join(data.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadRequestError(f"{name} is no base64") from error
