"""File systems of URIs, by pyarrow, and their errors in one line."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

OPTIONS = {
    # A small file is one request instead of three.
    "s3://": "allow_delayed_open=true",
    # By default Google's client retries for a quarter of an hour; Amazon's does not.
    "gs://": "retry_limit_seconds=30",
    "gcs://": "retry_limit_seconds=30",
}
"""Options of a file system beside those in its URI."""
KEYS = {
    "access_key": "AWS_ACCESS_KEY_ID",
    "secret_key": "AWS_SECRET_ACCESS_KEY",
    "session_token": "AWS_SESSION_TOKEN",
}
"""Environment variables with keys for S3, by pyarrow's names for them."""
UNAUTHORIZED = (
    "ACCESS_DENIED",
    "INVALID_ACCESS_KEY_ID",
    "SIGNATURE",
    "OAuth2",
    "(HTTP status 403)",
)
"""Words of errors for missing or wrong credentials."""
CREDENTIALS = "; credentials come from the environment, such as AWS_ACCESS_KEY_ID"


def open_uri(uri: str) -> "tuple[FileSystem, str]":
    """Return the file system of a URI and the path in it; raises OSError or ArrowException."""
    from pyarrow.fs import FileSystem

    for scheme, option in OPTIONS.items():
        if uri.startswith(scheme) and option.partition("=")[0] not in uri:
            uri = f"{uri}{'&' if '?' in uri else '?'}{option}"
    system, path = FileSystem.from_uri(uri)
    return system, path.rstrip("/")


def with_environment_keys(system: "FileSystem") -> "FileSystem":
    """Return the file system with the S3 keys of this process's environment, if it has any.

    Without them, a file system that is pickled looks for keys on the node where it is used.
    """
    from pyarrow.fs import S3FileSystem

    keys = {name: os.environ.get(variable) for name, variable in KEYS.items()}
    if not isinstance(system, S3FileSystem) or not (keys["access_key"] and keys["secret_key"]):
        return system
    _, (options,) = system.__reduce__()  # the only way to the options it was opened with
    return system if options["access_key"] else S3FileSystem(**{**options, **keys})


def describe_error(error: Exception) -> str:
    """Describe an error of a file system in one line, with advice on credentials."""
    first = (str(error).splitlines() or [type(error).__name__])[0]
    words = first.partition(" error_info=")[0].removesuffix(".")
    return words + (CREDENTIALS if any(word in first for word in UNAUTHORIZED) else "")
