"""The folder of an ONNX model, written and read; and the search for the folder of a model."""

import hashlib
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from serve.models.files import check_digest, open_regular, replace_folder, sync, write_durably
from serve.models.manifest import (
    MANIFEST,
    ONNX_FORMAT,
    ArtifactError,
    Golden,
    Manifest,
    TensorSpec,
    dump,
    parse,
)

__all__ = ["Artifact", "ArtifactError", "Golden", "Manifest", "TensorSpec", "find", "read", "write"]

ONNX = "model.onnx"
RUN_RECORD = "experiment.json"
VERSION_DIGITS = 12
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Artifact:
    """A verified model folder: its manifest, and the bytes of `model.onnx`."""

    manifest: Manifest
    onnx: bytes


def write(folder: Path, manifest: Manifest, files: Mapping[str, bytes]) -> Artifact:
    """Write a model folder, or replace it, whole or not at all.

    Sets the manifest's version and digests. Returns the model, read back and verified before it
    replaces another; raises ArtifactError if a file name is not plain, or it is not sound.
    """
    if ONNX not in files:
        raise ArtifactError(f"{folder}: a model needs {ONNX}, got {', '.join(files) or 'no files'}")
    for name in files:
        if not _FILE_NAME.fullmatch(name):
            raise ArtifactError(f"{folder}: {name!r} is not a plain file name")
    sha256 = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    sealed = replace(manifest, version=sha256[ONNX][:VERSION_DIGITS], sha256=sha256)
    contents = {**files, MANIFEST: dump(folder / MANIFEST, sealed)}
    with replace_folder(folder) as partial:
        for name, content in contents.items():
            write_durably(partial / name, content)
        sync(partial)
        return read(partial)


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a model folder without verifying the other files."""
    return parse(folder / MANIFEST, _read_bytes(folder / MANIFEST))


def read(folder: Path) -> Artifact:
    """Read and verify the folder of an ONNX model; each file is read once.

    Raises:
        ArtifactError: A file is missing or changed, or the manifest is not sound.
    """
    manifest = read_manifest(folder)
    if manifest.format != ONNX_FORMAT:
        raise ArtifactError(
            f"{folder / MANIFEST}: format: expected {ONNX_FORMAT}, got {manifest.format!r}"
        )
    if ONNX not in manifest.sha256:
        raise ArtifactError(f"{folder / MANIFEST}: sha256 lists no {ONNX}")
    contents = {
        name: _read_verified(folder, name, digest) for name, digest in manifest.sha256.items()
    }
    expected = manifest.sha256[ONNX][:VERSION_DIGITS]
    if manifest.version != expected:
        raise ArtifactError(
            f"{folder / MANIFEST}: version is {manifest.version!r}, but {ONNX} makes it {expected}"
        )
    return Artifact(manifest, contents[ONNX])


def find(model: str | None, runs: Path) -> Path:
    """Find the folder of a model by its folder, its run's folder or its run's name.

    None is the newest run with a model. Raises ArtifactError if there is no such model; the text
    names the runs there are.
    """
    if model is None:
        return _find_newest(runs)
    for folder in (Path(model), Path(model, "model")):
        if (folder / MANIFEST).is_file():
            return folder.absolute()
    if Path(model).name != model or model in ("", ".."):
        raise ArtifactError(
            f"model: no {MANIFEST} in {model}; name a model's folder or a run of {runs}"
        )
    return _find_in_run(model, runs)


def _find_in_run(name: str, runs: Path) -> Path:
    folder = runs / name / "model"
    if (folder / MANIFEST).is_file():
        return folder.absolute()
    if (runs / name).is_dir():
        raise ArtifactError(
            f"model: run {name!r} has no model in {folder}; "
            f"export one with `{_command('app.runs', 'export', name, runs=runs)}`"
        )
    known = ", ".join(sorted(path.parent.name for path in runs.glob(f"*/{RUN_RECORD}")))
    raise ArtifactError(
        f"model: no run {name!r} in {runs} and no model folder of that name; "
        f"known runs: {known or 'none'}"
    )


def _command(*words: str, runs: Path) -> str:
    """Format a command for a shell in this folder."""
    options = () if runs.absolute() == Path("runs").absolute() else ("--runs", str(runs))
    return shlex.join(("python", "-m", *words, *options))


def _find_newest(runs: Path) -> Path:
    records = [
        record
        for record in runs.glob(f"*/{RUN_RECORD}")
        if (record.parent / "model" / MANIFEST).is_file()
    ]
    if not records:
        raise ArtifactError(
            f"model: no run to serve in {runs}; "
            f"make one with `{_command('app.tune', runs=runs)}`, or name a model's folder"
        )
    newest = max(records, key=lambda record: record.stat().st_mtime_ns)
    return (newest.parent / "model").absolute()


def _read_verified(folder: Path, name: str, digest: str) -> bytes:
    if not _FILE_NAME.fullmatch(name):
        raise ArtifactError(f"{folder / MANIFEST}: sha256 lists {name!r}, which is not a file name")
    content = _read_bytes(folder / name)
    check_digest(folder / name, hashlib.sha256(content).hexdigest(), digest)
    return content


def _read_bytes(path: Path) -> bytes:
    with open_regular(path) as file:
        return file.read()
