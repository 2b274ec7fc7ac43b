"""What handlers use of `sagemaker_inference.utils`."""


def parse_accept(accept: str) -> list[str]:
    """The media types of an Accept header."""
    return accept.replace(" ", "").split(",")
