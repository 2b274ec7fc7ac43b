"""What can be wrong with a request: one exception for each HTTP status."""

from typing import ClassVar


class RequestError(Exception):
    """A request that is refused; its text is the one sentence that the client reads."""

    status: ClassVar[int]


class BadRequestError(RequestError):
    """The body is empty or unreadable, or has text where numbers belong."""

    status = 400


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
