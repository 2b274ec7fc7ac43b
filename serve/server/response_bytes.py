"""HTTP/1.1 bytes of whole responses. What many have in common is encoded once."""

from functools import lru_cache

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from serve.server.responder import Header, Reply

CLOSE: tuple[Header, ...] = ((b"connection", b"close"),)


def encode_reply(
    reply: Reply,
    constant_headers: tuple[Header, ...],
    server_headers: tuple[Header, ...],
    *request_headers: Header,
) -> bytes:
    """Encode a reply.

    Args:
        reply: Status, body, and headers that many replies share.
        constant_headers: Headers of every reply.
        server_headers: Headers that change slowly: the date, and whether the connection closes.
        request_headers: Headers of this reply alone.
    """
    own = b"".join([b"%b: %b\r\n" % header for header in request_headers])
    return b"".join(
        (
            _encode_start(reply.status, tuple(reply.headers), constant_headers),
            _encode_headers(server_headers),
            b"content-length: %d\r\n%b\r\n" % (len(reply.body), own),
            reply.body,
        )
    )


@lru_cache(maxsize=256)  # Replies begin in a few ways.
def _encode_start(
    status: int, headers: tuple[Header, ...], constant_headers: tuple[Header, ...]
) -> bytes:
    return STATUS_LINE[status] + _encode_headers((*headers, *constant_headers))


@lru_cache(maxsize=16)  # The date changes once a second.
def _encode_headers(headers: tuple[Header, ...]) -> bytes:
    return b"".join([b"%b: %b\r\n" % header for header in headers])
