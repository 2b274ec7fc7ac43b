"""Pictures in request bodies: PNG, JPEG and WebP, told by their first bytes.

What a picture costs is bounded before it is decoded. Of a picture with several frames, the first
is read.
"""

import io
from collections.abc import Callable, Iterator, Mapping

from PIL import Image, ImageFile, ImageOps, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from serve.errors import BadRequestError, RequestError, UnprocessableError
from serve.formats.signatures import JPEG, PICTURES, PNG, WEBP, guess_picture

LARGEST_SIDE = 1024
MAX_SCANS = 64
"""Scans of a progressive JPEG: each costs the time of a whole picture. Programs write ten."""
_PNG_START = 8
"""Place of the first chunk, after the bytes by which a PNG is told."""
_PNG_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
"""Chunks that pixels are made of; others, which may be compressed texts, are dropped."""


def decode_picture(body: bytes) -> Image.Image:
    """Decode a PNG, JPEG or WebP of at most `LARGEST_SIDE` pixels a side.

    Raises:
        BadRequestError: The body is no such picture, or a damaged one.
        UnprocessableError: The picture is too large, or has several headers or too many scans.
    """
    if not body:
        raise BadRequestError("the body is empty")
    media_type = guess_picture(body)
    if media_type is None:
        raise BadRequestError("the body is not a PNG, JPEG or WebP image")
    try:
        image = _OPENERS[media_type](body)
        _check_size(*image.size)
        image.load()
        return ImageOps.exif_transpose(image)  # Phones turn a picture by a remark in it.
    except RequestError:
        raise
    except Image.DecompressionBombError as error:
        raise UnprocessableError(
            f"the image is too large; send one of 1 to {LARGEST_SIDE} pixels a side"
        ) from error
    except Exception as error:  # A damaged picture raises any of a dozen exceptions.
        name = PICTURES[media_type]
        raise BadRequestError(f"the body is a {name} image that is damaged or cut off") from error


def _check_size(width: int, height: int) -> None:
    if not (0 < width <= LARGEST_SIDE and 0 < height <= LARGEST_SIDE):
        raise UnprocessableError(
            f"the image is {width} by {height}; send one of 1 to {LARGEST_SIDE} pixels a side"
        )


def _open_png(body: bytes) -> ImageFile.ImageFile:
    kept = [body[:_PNG_START]]
    for kind, chunk in _png_chunks(body):
        if kind == b"IHDR":
            if len(kept) > 1:
                raise UnprocessableError("the PNG image has two headers (IHDR); send it with one")
            _check_size(*(int.from_bytes(chunk[at : at + 4], "big") for at in (8, 12)))
        if kind in _PNG_CHUNKS:
            kept.append(chunk)
    return PngImagePlugin.PngImageFile(io.BytesIO(b"".join(kept)))


def _png_chunks(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the type and bytes of each chunk up to the last; raises ValueError if it is missing."""
    start, kind = _PNG_START, b""
    while kind != b"IEND":
        end = start + 12 + int.from_bytes(body[start : start + 4], "big")
        kind = body[start + 4 : start + 8]
        if end > len(body):
            raise ValueError("the last chunk is missing")
        yield kind, body[start:end]
        start = end


def _open_jpeg(body: bytes) -> ImageFile.ImageFile:
    if body.count(b"\xff\xda") > MAX_SCANS:
        raise UnprocessableError(f"the JPEG image has more than {MAX_SCANS} scans; save it anew")
    return JpegImagePlugin.JpegImageFile(io.BytesIO(body))


def _open_webp(body: bytes) -> ImageFile.ImageFile:
    return WebPImagePlugin.WebPImageFile(io.BytesIO(body))


_OPENERS: Mapping[str, Callable[[bytes], ImageFile.ImageFile]] = {
    PNG: _open_png,
    JPEG: _open_jpeg,
    WEBP: _open_webp,
}
