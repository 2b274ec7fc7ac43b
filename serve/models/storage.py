"""Models behind a URI such as `s3://bucket/runs/NAME/model`, copied to a temporary folder."""

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


@contextmanager
def locate_model(model: str | None, runs: str) -> Iterator[Path]:
    """Find a model, and download it to a temporary folder if it is behind a URI.

    Args:
        model: A folder, a URI or a run's name; None for the newest run with a model.
        runs: Folder or URI of all runs.

    Yields:
        The model's folder; a download is removed when the block ends.

    Raises:
        ArtifactError: There is no such model, or its storage cannot be read.
    """
    uri = model if model is not None and "://" in model else runs
    if "://" not in uri or (model is not None and Path(model, MANIFEST).is_file()):
        yield artifact.find(model, Path(runs).absolute())
        return
    from pyarrow import ArrowException

    with tempfile.TemporaryDirectory(prefix="tuneport-") as folder:
        try:
            _download(uri, model, Path(folder, MODEL))
        except (OSError, ArrowException) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0].removesuffix(".")
            raise ArtifactError(f"model: cannot read {uri}: {reason}") from error
        yield Path(folder, MODEL)


def _download(uri: str, model: str | None, folder: Path) -> None:
    """Download the model at a URI, or of a run in the folder of runs there; None: the newest."""
    from pyarrow.fs import FileSelector, FileSystem, LocalFileSystem, copy_files

    is_google = uri.startswith(GOOGLE_SCHEMES)
    address = f"{uri}{'&' if '?' in uri else '?'}{GOOGLE_RETRY}" if is_google else uri
    system, path = FileSystem.from_uri(address)
    path = path.rstrip("/")
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
