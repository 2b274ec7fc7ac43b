"""Replies, and errors as replies: one sentence in JSON, in SageMaker's own shape on its routes."""

import json
from dataclasses import dataclass
from functools import lru_cache

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from serve.errors import RequestError
from serve.http.headers import Header

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
_ERROR_HEADERS = {
    401: (
        ("www-authenticate", 'Basic realm="the API key is the password"'),
        ("www-authenticate", "Bearer"),
    ),
    413: (("connection", "close"),),  # The rest of the body is not a request.
    429: (("retry-after", "1"),),
    503: (("retry-after", "1"),),
}
SERVER_FAILED = "the server failed on this request; its log says why"
BODY_ENDED = "the body ended before its length"


@dataclass(slots=True)
class Reply:
    """A whole response, and an ASGI application that sends it."""

    headers: list[Header]
    """Headers without `content-length`."""
    body: bytes
    status: int = 200

    @classmethod
    def from_response(cls, response: Response) -> "Reply":
        """Convert a Starlette response."""
        headers = [header for header in response.raw_headers if header[0] != b"content-length"]
        return cls(headers, bytes(response.body), response.status_code)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the reply."""
        length = (b"content-length", b"%d" % len(self.body))
        headers = [*self.headers, length]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


def create_error_response(scope: Scope, error: RequestError) -> Response:
    """Create the response to a request that raised `error`."""
    return create_refusal(scope, error.status, str(error))


def create_refusal(scope: Scope, status: int, sentence: str) -> Response:
    """Create an error response in the shape of the route in `scope`."""
    return _create_refusal(status, sentence, alias=scope["path"].startswith(ALIAS))


def create_transport_refusal(path: str, status: int, sentence: str) -> Reply:
    """Create the reply to a request that the transport refuses."""
    return _create_transport_refusal(status, sentence, alias=path.startswith(ALIAS))


@lru_cache(maxsize=64)  # An overloaded server refuses many requests; each should cost little.
def _create_transport_refusal(status: int, sentence: str, *, alias: bool) -> Reply:
    return Reply.from_response(_create_refusal(status, sentence, alias=alias))


def _create_refusal(status: int, sentence: str, *, alias: bool) -> Response:
    if alias:
        response = _create_sagemaker_error(status, sentence)
    else:
        response = _create_json({"error": sentence}, status)
    for name, value in _ERROR_HEADERS.get(status, ()):
        response.headers.append(name, value)
    return response


def _create_sagemaker_error(status: int, sentence: str) -> Response:
    if status in _SERVICE_ERRORS:
        response = _create_json({"Message": sentence}, _SERVICE_STATUS.get(status, status))
        response.headers["x-amzn-errortype"] = _SERVICE_ERRORS[status]
        return response
    kind = "client" if status < 500 else "server"
    message = f'Received {kind} error ({status}) from primary with message "{sentence}".'
    body = {
        "Message": message,
        "OriginalStatusCode": status,
        "OriginalMessage": sentence,
        "LogStreamArn": "",
    }
    response = _create_json(body, MODEL_ERROR_STATUS)
    response.headers["x-amzn-errortype"] = "ModelError"
    return response


def _create_json(content: object, status: int) -> Response:
    return Response(json.dumps(content), status, media_type="application/json")
