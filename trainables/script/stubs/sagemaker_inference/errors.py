"""Stands in for `sagemaker_inference.errors`: what handlers raise."""


class BaseInferenceToolkitError(Exception):
    """An error with the status that the client is to get."""

    def __init__(self, status_code: int, message: str, phrase: str) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.message = message
        self.phrase = phrase


class GenericInferenceToolkitError(BaseInferenceToolkitError):
    """The same, with a text for whoever gives none."""

    def __init__(
        self, status_code: int, message: str | None = None, phrase: str | None = None
    ) -> None:
        message = message or "Invalid Request"
        super().__init__(status_code, message, phrase or message)


class UnsupportedFormatError(Exception):
    """A content type that a handler does not know."""

    def __init__(self, content_type: str, **kwargs: object) -> None:
        super().__init__(f"Content type {content_type} is not supported by this framework.")
