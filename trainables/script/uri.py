"""What is behind a URI: pyarrow's file systems, opened, and what they raise in a few words."""

import os
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
KEYS = {
    "access_key": "AWS_ACCESS_KEY_ID",
    "secret_key": "AWS_SECRET_ACCESS_KEY",
    "session_token": "AWS_SESSION_TOKEN",
}
"""Where the environment has keys for S3, by what pyarrow calls them."""
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


def with_keys(system: "FileSystem") -> "FileSystem":
    """A file system that takes along the keys that this process's environment has for it.

    Any other one looks for keys wherever it is used.
    """
    from pyarrow.fs import S3FileSystem

    keys = {name: os.environ.get(variable) for name, variable in KEYS.items()}
    if not isinstance(system, S3FileSystem) or not (keys["access_key"] and keys["secret_key"]):
        return system
    _, (options,) = system.__reduce__()  # there is no other way to what it was opened with
    return system if options["access_key"] else S3FileSystem(**{**options, **keys})


def reason(error: Exception) -> str:
    """Why a file system refused, in one line."""
    first = (str(error).splitlines() or [type(error).__name__])[0]
    told = first.partition(" error_info=")[0].removesuffix(".")
    return told + (CREDENTIALS if any(word in first for word in UNKNOWN_TO_IT) else "")
