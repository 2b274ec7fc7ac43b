"""What is behind a URI: pyarrow's file systems, opened, and what they raise in a few words."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

OPTIONS = {
    # A small file is one request instead of three.
    "s3://": "allow_delayed_open=true",
    # Google's client tries for a quarter of an hour unless it is told; Amazon's does not.
    "gs://": "retry_limit_seconds=30",
    "gcs://": "retry_limit_seconds=30",
}
"""What is asked of a file system beside what its URI says."""
UNKNOWN_TO_IT = (
    "ACCESS_DENIED",
    "INVALID_ACCESS_KEY_ID",
    "SIGNATURE",
    "OAuth2",
    "(HTTP status 403)",
)
"""What an error says where a store does not know who asks."""
CREDENTIALS = "; credentials come from the environment, such as AWS_ACCESS_KEY_ID"


def opened(uri: str) -> "tuple[FileSystem, str]":
    """The file system of a URI, and the path in it; raises OSError or an ArrowException."""
    from pyarrow.fs import FileSystem

    for scheme, option in OPTIONS.items():
        if uri.startswith(scheme) and option.partition("=")[0] not in uri:
            uri = f"{uri}{'&' if '?' in uri else '?'}{option}"
    system, path = FileSystem.from_uri(uri)
    return system, path.rstrip("/")


def reason(error: Exception) -> str:
    """Why a file system refused, in one line."""
    first = (str(error).splitlines() or [type(error).__name__])[0]
    told = first.partition(" error_info=")[0].removesuffix(".")
    return told + (CREDENTIALS if any(word in first for word in UNKNOWN_TO_IT) else "")
