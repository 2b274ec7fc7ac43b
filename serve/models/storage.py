"""Addresses of models: folders, and URIs such as `s3://bucket/runs/NAME/model`, downloaded."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from serve.models import artifact
from serve.models.manifest import MANIFEST, ArtifactError

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

GOOGLE_SCHEMES = ("gs://", "gcs://")
GOOGLE_RETRY = "retry_limit_seconds=30"
"""Limit for Google's client, which retries for a quarter of an hour by default."""
MODEL = "model"
"""Folder of the model within its run's."""


def find_model(model: str | None, runs: str) -> str:
    """Find a model by folder, URI or run's name; by None the newest run with a model.

    Returns the absolute path of the model's folder, or its URI. Raises ArtifactError if there is no
    such model, or its storage cannot be read.
    """
    uri = model if model is not None and is_uri(model) else runs
    if not is_uri(uri) or (model is not None and Path(model, MANIFEST).is_file()):
        return str(artifact.find(model, Path(runs).absolute()).absolute())
    with _translate_errors(uri):
        return _find_at(uri, model)


@contextmanager
def open_model(address: str) -> Iterator[Path]:
    """Give the folder of the model at an address, which `find_model` returns.

    A URI is downloaded to a temporary folder, which is removed when the block ends; raises
    ArtifactError if it cannot be read.
    """
    if not is_uri(address):
        yield Path(address)
        return
    with tempfile.TemporaryDirectory(prefix="tuneport-") as folder:
        with _translate_errors(address):
            _download(address, Path(folder, MODEL))
        yield Path(folder, MODEL)


def is_uri(address: str) -> bool:
    """Whether an address is a URI, and not a folder."""
    return "://" in address


@contextmanager
def _translate_errors(uri: str) -> Iterator[None]:
    """Turn errors of a URI's storage into ArtifactError."""
    from pyarrow import ArrowException

    try:
        yield
    except (OSError, ArrowException) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].removesuffix(".")
        raise ArtifactError(f"model: cannot read {uri}: {reason}") from error


def _connect(uri: str) -> tuple["FileSystem", str]:
    """Return the file system of a URI, and the path in it."""
    from pyarrow.fs import FileSystem

    is_google = uri.startswith(GOOGLE_SCHEMES)
    address = f"{uri}{'&' if '?' in uri else '?'}{GOOGLE_RETRY}" if is_google else uri
    system, path = FileSystem.from_uri(address)
    return system, path.rstrip("/")


def _find_at(uri: str, model: str | None) -> str:
    """Return the URI of the model at a URI, or of a run in the folder of runs there."""
    system, path = _connect(uri)
    if model == uri:
        source = _first_model(system, (path, f"{path}/{MODEL}"))
    elif model is None:
        source = _newest_model(system, path)
    else:
        is_name = Path(model).name == model and model not in ("", "..")
        source = _first_model(system, (f"{path}/{model}/{MODEL}",) if is_name else ())
    if source is None:
        of_run = "" if model in (uri, None) else f" of a run {model!r}"
        raise ArtifactError(f"model: there is no model{of_run} at {uri}")
    place, mark, query = uri.partition("?")
    return f"{place.rstrip('/')}{source.removeprefix(path)}{mark}{query}"


def _download(uri: str, folder: Path) -> None:
    """Download the model folder at a URI."""
    from pyarrow.fs import FileSelector, LocalFileSystem, copy_files

    system, source = _connect(uri)
    for file in system.get_file_info(FileSelector(source, recursive=True)):
        if ".." in file.path.split("/"):
            raise ArtifactError(f"model: {uri} has a file called {file.path!r}")
    folder.mkdir()
    copy_files(source, str(folder), system, LocalFileSystem())


def _first_model(system: "FileSystem", folders: Sequence[str]) -> str | None:
    """Return the first folder that has a manifest."""
    files = system.get_file_info([f"{folder}/{MANIFEST}" for folder in folders])
    pairs = zip(folders, files, strict=True)
    return next((folder for folder, file in pairs if file.is_file), None)


def _newest_model(system: "FileSystem", path: str) -> str | None:
    """Return the model folder of the newest run that has a model."""
    from pyarrow.fs import FileSelector

    entries = system.get_file_info(FileSelector(path, allow_not_found=True))
    names = [entry.path for entry in entries]
    models = system.get_file_info([f"{name}/{MODEL}/{MANIFEST}" for name in names])
    records = system.get_file_info([f"{name}/{artifact.RUN_RECORD}" for name in names])
    start_times = {
        name: record.mtime_ns
        for name, model, record in zip(names, models, records, strict=True)
        if model.is_file and record.is_file
    }
    if not start_times:
        return None
    return f"{max(start_times, key=lambda name: start_times[name])}/{MODEL}"
