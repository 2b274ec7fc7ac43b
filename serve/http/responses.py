"""Errors as replies: one sentence in JSON, and on the alias in the shape SageMaker gives them."""

import json
from dataclasses import dataclass
from functools import lru_cache

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from serve.errors import RequestError

ALIAS = "/endpoints/"
"""Where the routes begin that answer as SageMaker's runtime does."""
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
"""What SageMaker refuses before a model sees it; everything else is the model's answer."""
_SERVICE_STATUS = {404: 400}
_HINTS = {
    401: (
        ("www-authenticate", 'Basic realm="the API key is the password"'),
        ("www-authenticate", "Bearer"),
    ),
    413: (("connection", "close"),),  # What is left of the body is not a request.
    429: (("retry-after", "1"),),
    503: (("retry-after", "1"),),
}
"""What else a client is told to do."""
FAILED = "the server failed on this request; its log says why"


@dataclass(slots=True)
class Reply:
    """An answer, ready to be sent: what its headers are was known before."""

    headers: list[tuple[bytes, bytes]]
    body: bytes
    status: int = 200

    @classmethod
    def of(cls, response: Response) -> "Reply":
        """The reply that a response is, whose length is told when it is sent."""
        headers = [header for header in response.raw_headers if header[0] != b"content-length"]
        return cls(headers, bytes(response.body), response.status_code)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        length = (b"content-length", b"%d" % len(self.body))
        headers = [*self.headers, length]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


def error_reply(scope: Scope, error: RequestError) -> Response:
    """The reply to a request that is refused."""
    return reply(scope, error.status, str(error))


def reply(scope: Scope, status: int, sentence: str) -> Response:
    """An error's reply, in the shape of the route that was asked."""
    if scope["path"].startswith(ALIAS):
        response = _of_sagemaker(status, sentence)
    else:
        response = _json({"error": sentence}, status)
    for name, value in _HINTS.get(status, ()):
        response.headers.append(name, value)
    return response


@lru_cache(maxsize=64)  # Under a crowd, the cost of a refusal is taken from those who are let in.
def _transport_reply(status: int, sentence: str, *, alias: bool) -> Reply:
    return Reply.of(reply({"path": ALIAS if alias else ""}, status, sentence))


def transport_reply(path: str, status: int, sentence: str) -> Reply:
    """Create the reply to a request that the transport refuses."""
    return _transport_reply(status, sentence, alias=path.startswith(ALIAS))


def _of_sagemaker(status: int, sentence: str) -> Response:
    if status in _SERVICE_ERRORS:
        response = _json({"Message": sentence}, _SERVICE_STATUS.get(status, status))
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
    response = _json(body, MODEL_ERROR_STATUS)
    response.headers["x-amzn-errortype"] = "ModelError"
    return response


def _json(content: object, status: int) -> Response:
    return Response(json.dumps(content), status, media_type="application/json")
