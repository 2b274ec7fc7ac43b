"""Requests and replies of a script's handlers, to and from the messages of their process."""

from serve.errors import HandlerError
from serve.formats.requests import InferRequest, InferResponse
from serve.http.headers import Headers
from serve.ipc import Message

FORWARDED_PREFIX = "x-amzn-sagemaker-"
"""Prefix of the headers that SageMaker passes to handlers and back."""


def create_request(headers: Headers, body: bytes) -> InferRequest:
    """Create the message that carries a request to its handlers, which take the body as it is."""
    decoded = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers.items()}
    message = Message(
        {
            "content_type": decoded.get("content-type", ""),
            "accept": decoded.get("accept", ""),
            "headers": {
                name: value
                for name, value in decoded.items()
                if name in ("content-type", "accept") or name.startswith(FORWARDED_PREFIX)
            },
        },
        body,
    )
    return InferRequest(message, create_response)


def create_response(answer: Message) -> InferResponse:
    """Create the response of a handlers' answer; raises HandlerError if they refused or failed."""
    values = answer.values
    if "error" in values:
        raise HandlerError(values["status"], values["error"])
    headers = [
        (name.encode("latin-1"), value.encode("latin-1"))
        for name, value in values["headers"].items()
        if name.startswith(FORWARDED_PREFIX)
    ]
    return InferResponse(
        answer.body, values["content_type"], status=values["status"], headers=headers
    )
