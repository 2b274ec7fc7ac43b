"""Models behind a URI, as `s3://bucket/runs/NAME/model`: fetched, and then as any other."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from serve.models import artifact
from serve.models.manifest import MANIFEST, ArtifactError

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

GOOGLES = ("gs://", "gcs://")
PATIENCE = "retry_limit_seconds=30"
"""Google's client tries for a quarter of an hour unless it is told."""
MODEL = "model"
"""The folder within a run's."""


@contextmanager
def located(model: str | None, runs: str) -> Iterator[Path]:
    """The folder of a model given by folder, by URI or by run; what was fetched goes afterwards.

    Raises ArtifactError where there is none.
    """
    uri = model if model is not None and "://" in model else runs
    if "://" not in uri or (model is not None and Path(model, MANIFEST).is_file()):
        yield artifact.find(model, Path(runs).absolute())
        return
    from pyarrow import ArrowException

    # Whoever loads a model has a copy of it by then.
    with tempfile.TemporaryDirectory(prefix="tuneport-") as folder:
        try:
            _fetch(uri, model, Path(folder, MODEL))
        except (OSError, ArrowException) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0].removesuffix(".")
            raise ArtifactError(f"model: cannot read {uri}: {reason}") from error
        yield Path(folder, MODEL)


def _fetch(uri: str, model: str | None, folder: Path) -> None:
    """Fetch the model at a URI, or that of a run of the place there: the newest for no name."""
    from pyarrow.fs import FileSelector, FileSystem, LocalFileSystem, copy_files

    patient = f"{uri}{'&' if '?' in uri else '?'}{PATIENCE}" if uri.startswith(GOOGLES) else uri
    system, path = FileSystem.from_uri(patient)
    path = path.rstrip("/")
    if model == uri:
        found = _first(system, (path, f"{path}/{MODEL}"))
    elif model is None:
        found = _newest(system, path)
    else:
        is_name = Path(model).name == model and model not in ("", "..")
        found = _first(system, (f"{path}/{model}/{MODEL}",) if is_name else ())
    if found is None:
        whose = "" if model in (uri, None) else f" of a run {model!r}"
        raise ArtifactError(f"model: there is no model{whose} at {uri}")
    for each in system.get_file_info(FileSelector(found, recursive=True)):
        if ".." in each.path.split("/"):
            raise ArtifactError(f"model: {uri} has a file called {each.path!r}")
    folder.mkdir()
    copy_files(found, str(folder), system, LocalFileSystem())


def _first(system: "FileSystem", folders: Sequence[str]) -> str | None:
    """The first of the folders that is a model's."""
    files = system.get_file_info([f"{folder}/{MANIFEST}" for folder in folders])
    return next((each for each, file in zip(folders, files, strict=True) if file.is_file), None)


def _newest(system: "FileSystem", path: str) -> str | None:
    """The model of the run that began last, among those that have one."""
    from pyarrow.fs import FileSelector

    names = [each.path for each in system.get_file_info(FileSelector(path, allow_not_found=True))]
    models = system.get_file_info([f"{name}/{MODEL}/{MANIFEST}" for name in names])
    records = system.get_file_info([f"{name}/{artifact.RUN_RECORD}" for name in names])
    began = {
        name: record.mtime_ns
        for name, model, record in zip(names, models, records, strict=True)
        if model.is_file and record.is_file
    }
    return f"{max(began, key=lambda name: began[name])}/{MODEL}" if began else None
