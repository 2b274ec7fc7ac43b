"""Replies, and errors as replies: one sentence in JSON, in SageMaker's own shape on its routes."""

import json
from dataclasses import dataclass
from functools import lru_cache

from starlette.types import Receive, Scope, Send

from serve.errors import RequestError
from serve.http.headers import SECURITY_HEADERS, Header

ALIAS = "/endpoints/"
"""Prefix of the routes that answer as SageMaker's runtime does."""
ALIAS_ROUTE = f"{ALIAS}{{name}}/invocations"
MODEL_ERROR_STATUS = 424
_SERVICE_ERRORS = {
    401: "AccessDeniedException",
    403: "AccessDeniedException",
    404: "ValidationError",
    405: "ValidationError",
    413: "ValidationError",
    421: "ValidationError",
    503: "ServiceUnavailable",
}
"""Errors that SageMaker reports before the model is asked; all others are the model's."""
_SERVICE_STATUS = {404: 400}
_ERROR_HEADERS: dict[int, tuple[Header, ...]] = {
    401: (
        (b"www-authenticate", b'Basic realm="the API key is the password"'),
        (b"www-authenticate", b"Bearer"),
    ),
    413: ((b"connection", b"close"),),  # The rest of the body is not a request.
    429: ((b"retry-after", b"1"),),
    503: ((b"retry-after", b"1"),),
}
_JSON: Header = (b"content-type", b"application/json")
_ERROR_TYPE = b"x-amzn-errortype"
SERVER_FAILED = "the server failed on this request; its log says why"
BODY_ENDED = "the body ended before its length"


@dataclass(slots=True)
class Reply:
    """A whole response: an ASGI application that sends it."""

    headers: list[Header]
    """Headers without `content-length`."""
    body: bytes
    status: int = 200

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the reply."""
        headers = [*self.headers, (b"content-length", b"%d" % len(self.body))]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


def create_error_reply(scope: Scope, error: RequestError) -> Reply:
    """Create the reply to a request that raised `error`."""
    return create_refusal(scope, error.status, str(error))


def create_refusal(scope: Scope, status: int, sentence: str) -> Reply:
    """Create an error reply in the shape of the route in `scope`."""
    if scope["path"].startswith(ALIAS):
        reply = _create_sagemaker_error(status, sentence)
    else:
        reply = Reply([_JSON], _encode_error(sentence), status)
    reply.headers += _ERROR_HEADERS.get(status, ())
    return reply


def create_transport_refusal(status: int, sentence: str) -> tuple[tuple[Header, ...], bytes]:
    """Create the headers and the body of the reply to a request without a route."""
    headers = (_JSON, *_ERROR_HEADERS.get(status, ()), *SECURITY_HEADERS)
    return headers, _encode_error(sentence)


def _create_sagemaker_error(status: int, sentence: str) -> Reply:
    if status in _SERVICE_ERRORS:
        headers = [_JSON, (_ERROR_TYPE, _SERVICE_ERRORS[status].encode())]
        body = {"Message": sentence}
        return Reply(headers, _encode(body), _SERVICE_STATUS.get(status, status))
    kind = "client" if status < 500 else "server"
    error = {
        "Message": f'Received {kind} error ({status}) from primary with message "{sentence}".',
        "OriginalStatusCode": status,
        "OriginalMessage": sentence,
        "LogStreamArn": "",
    }
    return Reply([_JSON, (_ERROR_TYPE, b"ModelError")], _encode(error), MODEL_ERROR_STATUS)


@lru_cache(maxsize=64)  # An attack is refused many times; each should cost little.
def _encode_error(sentence: str) -> bytes:
    return _encode({"error": sentence})


def _encode(content: object) -> bytes:
    return json.dumps(content).encode()
