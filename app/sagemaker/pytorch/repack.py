"""Give a model other handlers, as SageMaker repacks a `model.tar.gz`."""

import shutil
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from app.run.store import StoreError
from serve.models.archive import CODE, model_dir, write_handlers
from serve.models.artifact import read_manifest
from serve.models.manifest import HANDLERS_FORMAT, MANIFEST, ArtifactError, Manifest

ARCHIVES = (".tar.gz", ".tgz")
INFERENCE = "inference.py"
"""File with an archive's handlers, if no entry point names another."""


def is_archive(model: Path) -> bool:
    """Tell whether the model is a `model.tar.gz`."""
    return model.name.endswith(ARCHIVES)


def repack(model: Path, entry_point: str | None, source_dir: str | None, folder: Path) -> Path:
    """Write a model folder of another model's files, or an archive's, with these handlers.

    As on SageMaker, the archive's own code stays beside the entry point, unless `source_dir` takes
    its place.

    Args:
        model: model folder or archive.
        entry_point: file with the handlers; None keeps the model's own.
        source_dir: folder that holds the entry point.
        folder: the folder to write.

    Returns:
        The folder.

    Raises:
        StoreError: there is no model, or the handlers cannot serve it.
    """
    with tempfile.TemporaryDirectory(prefix="tuneport-") as scratch:
        files = Path(scratch, "model")
        try:
            _unpack(model, files)
            manifest = _manifest(files, folder.name)
            files = _saved_files(files, manifest)
            name, code = _code(entry_point, source_dir, files / CODE)
            write_handlers(folder, replace(manifest, entry_point=name), files, code)
        except (ArtifactError, OSError, tarfile.TarError) as error:
            by = f" by {entry_point}" if entry_point else ""
            reason = str(error).replace(str(Path(scratch, "model")), str(model))
            raise StoreError(f"{model}: cannot be served{by}: {reason}") from error
    return folder


def _unpack(model: Path, files: Path) -> None:
    if is_archive(model):
        with tarfile.open(model) as archive:
            archive.extractall(files, filter="data")
    elif model.is_dir():
        shutil.copytree(model, files)
    else:
        raise StoreError(f"there is no model at {model}")


def _manifest(files: Path, name: str) -> Manifest:
    """Read the model's manifest, and remove it from the files."""
    path = files / MANIFEST
    if not path.exists():
        return Manifest(name)
    manifest = read_manifest(files)
    if manifest.format != HANDLERS_FORMAT:
        raise ArtifactError(f"it is {manifest.format}, which no handlers serve; leave them out")
    path.unlink()
    return manifest


def _saved_files(files: Path, manifest: Manifest) -> Path:
    """Find the folder of files that a script saved, and move the model's code there."""
    saved = model_dir(files, manifest)
    if saved != files and (files / CODE).exists():
        (files / CODE).rename(saved / CODE)
    return saved


def _code(
    entry_point: str | None, source_dir: str | None, own: Path
) -> tuple[str | None, Path | Mapping[str, bytes]]:
    """Find the handlers' file by its name in the code, and the files to add to that code."""
    if entry_point is None:
        return (INFERENCE if (own / INFERENCE).is_file() else None), {}
    if source_dir is None:
        if Path(entry_point).is_file() or not (own / entry_point).is_file():
            name = Path(entry_point).name
            return name, {name: Path(entry_point).read_bytes()}
        return entry_point, {}
    if not Path(source_dir, entry_point).is_file():
        raise ArtifactError(f"there is no {entry_point} in {source_dir}")
    shutil.rmtree(own, ignore_errors=True)
    return entry_point, Path(source_dir)
