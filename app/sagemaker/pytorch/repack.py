"""A model with the handlers that whoever deploys it names, as SageMaker repacks `model.tar.gz`."""

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
"""Where an archive has its handlers unless somebody names another file."""


def is_archive(model: Path) -> bool:
    """Whether a model is one file, as SageMaker keeps it."""
    return model.name.endswith(ARCHIVES)


def repack(model: Path, entry_point: str | None, source_dir: str | None, folder: Path) -> Path:
    """Make the folder a model of the files of another, or of an archive, and of this code.

    The archive's own code stays, below the entry point that is named, unless a source_dir takes its
    place, as on SageMaker. Raises StoreError for what is no model.
    """
    with tempfile.TemporaryDirectory(prefix="tuneport-") as scratch:
        files = Path(scratch, "model")
        try:
            _take(model, files)
            manifest = _manifest(files, folder.name)
            files = _saved(files, manifest)
            name, code = _code(entry_point, source_dir, files / CODE)
            write_handlers(folder, replace(manifest, entry_point=name), files, code)
        except (ArtifactError, OSError, tarfile.TarError) as error:
            by = f" by {entry_point}" if entry_point else ""
            said = str(error).replace(str(Path(scratch, "model")), str(model))
            raise StoreError(f"{model}: cannot be served{by}: {said}") from error
    return folder


def _take(model: Path, files: Path) -> None:
    if is_archive(model):
        with tarfile.open(model) as archive:
            archive.extractall(files, filter="data")
    elif model.is_dir():
        shutil.copytree(model, files)
    else:
        raise StoreError(f"there is no model at {model}")


def _manifest(files: Path, name: str) -> Manifest:
    """What the model says of itself, which it then no longer says."""
    path = files / MANIFEST
    if not path.exists():
        return Manifest(name)
    manifest = read_manifest(files)
    if manifest.format != HANDLERS_FORMAT:
        raise ArtifactError(f"it is {manifest.format}, which no handlers serve; leave them out")
    path.unlink()
    return manifest


def _saved(files: Path, manifest: Manifest) -> Path:
    """The folder of what a script saved, with the code that the model has."""
    saved = model_dir(files, manifest)
    if saved != files and (files / CODE).exists():
        (files / CODE).rename(saved / CODE)
    return saved


def _code(
    entry_point: str | None, source_dir: str | None, own: Path
) -> tuple[str | None, Path | Mapping[str, bytes]]:
    """The handlers' file by its name in the code, and what is put over the code that is there."""
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
