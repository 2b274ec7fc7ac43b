"""Requests and replies of a script's handlers, to and from the messages of their process."""

from serve.errors import HandlerError
from serve.http.headers import Headers
from serve.http.responses import Reply
from serve.ipc import Message

FORWARDED_PREFIX = "x-amzn-sagemaker-"
"""Prefix of the headers that SageMaker passes to handlers and back."""


def create_message(headers: Headers, body: bytes) -> Message:
    """Create the message that carries a request to its handlers."""
    decoded = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers.items()}
    return Message(
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


def create_reply(answer: Message, version: str) -> Reply:
    """Create the reply of a handlers' answer; raises HandlerError if they refused or failed."""
    values = answer.values
    if "error" in values:
        raise HandlerError(values["status"], values["error"])
    forwarded = {
        name: value
        for name, value in values["headers"].items()
        if name.startswith(FORWARDED_PREFIX)
    }
    headers = {**forwarded, "content-type": values["content_type"], "x-model-version": version}
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    return Reply(encoded, answer.body, values["status"])
