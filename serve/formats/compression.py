"""Compressed bodies, which are not decompressed beyond a limit."""

import zlib

from serve.errors import BadRequestError, TooLargeError

_GZIP = 16 + zlib.MAX_WBITS
"""Window bits by which zlib reads the format of gzip."""


def decompress_gzip(body: bytes, max_bytes: int) -> bytes:
    """Decompress a whole body of one gzip stream.

    Raises:
        BadRequestError: It is no gzip, damaged, cut off, or has more after its end.
        TooLargeError: It has more than `max_bytes`, of which no more are decompressed.
    """
    decompressor = zlib.decompressobj(_GZIP)
    try:
        plain = decompressor.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise BadRequestError("the body is no gzip, or damaged") from error
    if len(plain) > max_bytes:
        raise TooLargeError(f"the body may have at most {max_bytes} bytes decompressed, got more")
    if not decompressor.eof:
        raise BadRequestError("the body's gzip is cut off")
    if decompressor.unused_data:
        raise BadRequestError("the body has more after the end of its gzip")
    return plain
