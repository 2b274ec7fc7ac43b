"""Stub of `sagemaker_inference.errors`: exceptions by which a handler chooses the status."""


class BaseInferenceToolkitError(Exception):
    """A refusal of a request, with its status, its message and its reason phrase."""

    def __init__(self, status_code: int, message: str, phrase: str) -> None:
        super().__init__(status_code, message, phrase)
        self.status_code = status_code
        self.message = message
        self.phrase = phrase


class GenericInferenceToolkitError(BaseInferenceToolkitError):
    """A refusal whose message and phrase have defaults."""

    def __init__(
        self, status_code: int, message: str | None = None, phrase: str | None = None
    ) -> None:
        message = message or "Invalid Request"
        super().__init__(status_code, message, phrase or message)


class UnsupportedFormatError(Exception):
    """A content type that cannot be decoded or encoded."""

    def __init__(self, content_type: str, **_: object) -> None:
        super().__init__(f"Content type {content_type} is not supported by this framework.")
