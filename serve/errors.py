"""What can be wrong with a request: one exception for each HTTP status."""


class RequestError(Exception):
    """A request that is refused; its text is the one sentence that the client reads."""

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
    """The client accepts no type that can be given."""

    status = 406


class TooLargeError(RequestError):
    """The body is larger than the limit."""

    status = 413


class UnsupportedTypeError(RequestError):
    """The body's content type is not read here."""

    status = 415


class MisdirectedError(RequestError):
    """The request names a host that is not served."""

    status = 421


class UnprocessableError(RequestError):
    """The body is readable, but no input of this model."""

    status = 422


class NotReadyError(RequestError):
    """The model is not loaded yet, or no longer."""

    status = 503


class OverloadedError(RequestError):
    """More is asked at once than the server works on."""

    status = 503


class DeadlineError(RequestError):
    """The model took too long, or the request waited too long for it."""

    status = 504


class HandlerError(RequestError):
    """What a model's own code refused, or failed on, with the status that it has for it."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
