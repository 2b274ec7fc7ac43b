"""Errors as replies: one sentence in JSON, and on the alias in the shape SageMaker gives them."""

import json

from starlette.responses import Response
from starlette.types import Scope

from serve.errors import RequestError

ALIAS = "/endpoints/"
"""Where the routes begin that answer as SageMaker's runtime does."""
ALIAS_ROUTE = f"{ALIAS}{{name}}/invocations"
MODEL_ERROR_STATUS = 424
_SERVICE_ERRORS = {
    403: "AccessDeniedException",
    404: "ValidationError",
    405: "ValidationError",
    413: "ValidationError",
    421: "ValidationError",
    503: "ServiceUnavailable",
}
"""What SageMaker refuses before a model sees it; everything else is the model's answer."""
_SERVICE_STATUS = {404: 400}
_CLOSING = {413}
"""After these the connection is closed, for what is left of the body is not a request."""
_RETRY_SECONDS = {503: "1"}
"""After how long it is worth to ask again."""


def error_reply(scope: Scope, error: RequestError) -> Response:
    """The reply to a request that is refused."""
    return reply(scope, error.status, str(error))


def reply(scope: Scope, status: int, sentence: str) -> Response:
    """An error's reply, in the shape of the route that was asked."""
    if scope["path"].startswith(ALIAS):
        response = _of_sagemaker(status, sentence)
    else:
        response = _json({"error": sentence}, status)
    if status in _CLOSING:
        response.headers["connection"] = "close"
    if status in _RETRY_SECONDS:
        response.headers["retry-after"] = _RETRY_SECONDS[status]
    return response


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
