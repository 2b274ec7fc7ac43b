"""Errors of requests: an exception for each reason to refuse one, with its HTTP status."""


class RequestError(Exception):
    """A refused request; the message is the sentence that the client reads."""

    status: int


class BadRequestError(RequestError):
    """The body is empty or unreadable, or has text where numbers belong."""

    status = 400


class UnauthorizedError(RequestError):
    """The request has no key, or a wrong one."""

    status = 401


class CrossSiteError(RequestError):
    """Another site's page sent the request."""

    status = 403


class NotFoundError(RequestError):
    """There is no such route or endpoint."""

    status = 404


class NotAcceptableError(RequestError):
    """The client accepts no content type that the model can answer in."""

    status = 406


class TooLargeError(RequestError):
    """The body is larger than the limit."""

    status = 413


class UnsupportedTypeError(RequestError):
    """The content type or encoding of the body is not supported."""

    status = 415


class MisdirectedError(RequestError):
    """The request names a host that is not served."""

    status = 421


class UnprocessableError(RequestError):
    """The body can be read, but is no input of this model."""

    status = 422


class NotReadyError(RequestError):
    """The model is not loaded yet, or no longer."""

    status = 503


class OverloadedError(RequestError):
    """The server has as many requests as it works on at once."""

    status = 503


class DeadlineError(RequestError):
    """The model took too long, or the request waited too long for it."""

    status = 504


class HandlerError(RequestError):
    """A refusal or failure of a model's own handlers, with their status."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
