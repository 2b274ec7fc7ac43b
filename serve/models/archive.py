"""The folder of a model with handlers: the files that its script saved, its code, and digests.

Files are read in chunks, as weights may be larger than the memory.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

from serve.models.artifact import VERSION_DIGITS, read_manifest
from serve.models.files import (
    check_digest,
    check_listed,
    is_path_below,
    list_files,
    open_regular,
    replace_folder,
    sync,
    write_durably,
)
from serve.models.manifest import HANDLERS_FORMAT, MANIFEST, ArtifactError, Manifest, dump

CODE = "code"
"""Subfolder of the code, as in SageMaker's `model.tar.gz`."""
SAVED = "saved"
"""Subfolder of the files that a script saved, where one of them is called `model.json`."""
CACHE = "__pycache__"
CHUNK_BYTES = 1024 * 1024

Source = Path | bytes


def write_handlers(
    folder: Path, manifest: Manifest, files: Path, code: Path | Mapping[str, bytes]
) -> Manifest:
    """Write a model folder, or replace it, whole or not at all.

    Args:
        folder: The model folder.
        manifest: Its manifest; format, version and digests are set here.
        files: The folder in which the script saved its model. Code in it is kept unless the
            program has a file of that name.
        code: The folder of the program, of which hidden and compiled files are left out; or
            contents by path within `code/`.

    Returns:
        The manifest that was written.

    Raises:
        ArtifactError: A file is no regular file of its folder, or has a name that is reserved.
    """
    sources = {**_saved_files(files), **_code_files(code)}
    with replace_folder(folder) as partial:
        sha256 = {
            name: _copy_file(partial, name, source) for name, source in sorted(sources.items())
        }
        sealed = replace(manifest, format=HANDLERS_FORMAT, version=_version(sha256), sha256=sha256)
        write_durably(partial / MANIFEST, dump(folder / MANIFEST, sealed))
        for path in (partial, *(path for path in partial.rglob("*") if path.is_dir())):
            sync(path)
        read_handlers(partial)
    return sealed


def read_handlers(folder: Path) -> Manifest:
    """Read the manifest of a model folder and verify that it lists exactly the files there.

    Raises:
        ArtifactError: A file is missing, changed or not listed, or the manifest is not sound.
    """
    manifest, path = read_manifest(folder), folder / MANIFEST
    if manifest.format != HANDLERS_FORMAT:
        raise ArtifactError(f"{path}: format: expected handlers, got {manifest.format!r}")
    for name, digest in manifest.sha256.items():
        _verify(folder, name, digest)
    for name in list_files(folder):
        if name != MANIFEST and name not in manifest.sha256:
            raise ArtifactError(f"{folder / name}: {MANIFEST} does not list it; remove it")
    if manifest.version != (expected := _version(manifest.sha256)):
        raise ArtifactError(
            f"{path}: version is {manifest.version!r}, but its files make it {expected}"
        )
    entry = manifest.entry_point
    if entry is not None and not (entry.endswith(".py") and f"{CODE}/{entry}" in manifest.sha256):
        raise ArtifactError(f"{path}: entry_point: expected a .py file of {CODE}/, got {entry!r}")
    return manifest


def model_dir(folder: Path, manifest: Manifest) -> Path:
    """Return the folder of the files that the script saved, `model_fn`'s argument."""
    return folder / SAVED if f"{SAVED}/{MANIFEST}" in manifest.sha256 else folder


def _saved_files(folder: Path) -> dict[str, Source]:
    """Map paths in the model folder to the files that a script saved."""
    names = [name for name in list_files(folder) if CACHE not in name.split("/")]
    if f"{SAVED}/{MANIFEST}" in names:
        raise ArtifactError(f"{folder}/{SAVED}/{MANIFEST}: this name is reserved; choose another")
    below = f"{SAVED}/" if MANIFEST in names else ""
    return {
        name if name.startswith(f"{CODE}/") else below + name: _resolve_inside(folder, name)
        for name in names
    }


def _code_files(code: Path | Mapping[str, bytes]) -> dict[str, Source]:
    """Map paths in the model folder to the files of the program."""
    if isinstance(code, Path):
        names = [name for name in list_files(code) if not _is_omitted(name)]
        return {f"{CODE}/{name}": _resolve_inside(code, name) for name in names}
    for name in code:
        if not is_path_below(name):
            raise ArtifactError(f"{CODE}/: {name!r} is not the path of a file in it")
    return {f"{CODE}/{name}": content for name, content in code.items()}


def _is_omitted(name: str) -> bool:
    return any(part == CACHE or part.startswith(".") for part in name.split("/"))


def _resolve_inside(folder: Path, name: str) -> Path:
    """Resolve a file or a link; raises ArtifactError for a target outside the folder."""
    path = (folder / name).resolve()
    if not (path.is_relative_to(folder.resolve()) and path.is_file()):
        raise ArtifactError(
            f"{folder / name}: is not a file of this folder; a model has copies of its files"
        )
    return path


def _copy_file(folder: Path, name: str, source: Source) -> str:
    """Copy a file into the folder and sync it; returns the sha256 of the copy."""
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    if isinstance(source, bytes):
        write_durably(folder / name, source)
        return hashlib.sha256(source).hexdigest()
    digest = hashlib.sha256()
    with open_regular(source) as original, (folder / name).open("xb") as copy:
        while chunk := original.read(CHUNK_BYTES):
            digest.update(chunk)
            copy.write(chunk)
        copy.flush()
        os.fsync(copy.fileno())
    return digest.hexdigest()


def _verify(folder: Path, name: str, digest: str) -> None:
    check_listed(folder / MANIFEST, name)
    for parent in PurePosixPath(name).parents:
        if (folder / parent).is_symlink() and str(parent) != ".":
            raise ArtifactError(f"{folder / parent}: is a symbolic link; a model has none")
    with open_regular(folder / name) as file:
        check_digest(folder / name, hashlib.file_digest(file, "sha256").hexdigest(), digest)


def _version(sha256: Mapping[str, str]) -> str:
    """Return the first digits of the sha256 of what `sha256sum` prints for the sorted names."""
    lines = b"".join(
        f"{sha256[name]}  ".encode() + os.fsencode(name) + b"\n" for name in sorted(sha256)
    )
    return hashlib.sha256(lines).hexdigest()[:VERSION_DIGITS]
