"""The folder of a model with handlers: its script's files, its code, and a digest of each.

`write_handlers` makes one whole or not at all; `read_handlers` trusts nothing in it. Files are
read piece by piece, for weights may be larger than the memory.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from io import BufferedReader
from pathlib import Path, PurePosixPath

from serve.models.artifact import VERSION_DIGITS, read_manifest
from serve.models.files import (
    is_path_below,
    list_files,
    open_regular,
    replacing,
    sync,
    write_durably,
)
from serve.models.manifest import HANDLERS_FORMAT, MANIFEST, ArtifactError, Manifest, dump

CODE = "code"
"""The subfolder of the code, as SageMaker has it in `model.tar.gz`."""
SAVED = "saved"
"""The subfolder of what a script saved, where one of its files has the name of our own."""
CACHE = "__pycache__"
CHUNK_BYTES = 1024 * 1024

Source = Path | bytes


def write_handlers(
    folder: Path, manifest: Manifest, files: Path, code: Path | Mapping[str, bytes]
) -> Manifest:
    """Make the model folder, or replace it, whole or not at all; gives the manifest it has.

    `files` is the folder in which the script saved its model; `code` is the folder of its program,
    without what is hidden or compiled, or contents by their paths below `code/`. Code that the
    script saved itself stays where the program has no file of that name. The manifest's format,
    version and digests are set here; what is written is read back before it takes its place.
    """
    sources = {**_saved(files), **_program(code)}
    with replacing(folder) as partial:
        sha256 = {name: _put(partial, name, source) for name, source in sorted(sources.items())}
        sealed = replace(manifest, format=HANDLERS_FORMAT, version=_version(sha256), sha256=sha256)
        write_durably(partial / MANIFEST, dump(folder / MANIFEST, sealed))
        for path in (partial, *(path for path in partial.rglob("*") if path.is_dir())):
            sync(path)
        read_handlers(partial)
    return sealed


def read_handlers(folder: Path) -> Manifest:
    """Read and verify a model folder: every file it lists, and that it has no other."""
    manifest, path = read_manifest(folder), folder / MANIFEST
    if manifest.format != HANDLERS_FORMAT:
        raise ArtifactError(f"{path}: format: expected handlers, got {manifest.format!r}")
    for name, digest in manifest.sha256.items():
        _verify(folder, name, digest)
    for name in list_files(folder):
        if name != MANIFEST and name not in manifest.sha256:
            raise ArtifactError(f"{folder / name}: {MANIFEST} does not list it; take it away")
    if manifest.version != (expected := _version(manifest.sha256)):
        raise ArtifactError(
            f"{path}: version is {manifest.version!r}, but its files make it {expected}"
        )
    entry = manifest.entry_point
    if entry is not None and not (entry.endswith(".py") and f"{CODE}/{entry}" in manifest.sha256):
        raise ArtifactError(f"{path}: entry_point: expected a .py file of {CODE}/, got {entry!r}")
    return manifest


def model_dir(folder: Path, manifest: Manifest) -> Path:
    """Where handlers find what the script saved."""
    return folder / SAVED if f"{SAVED}/{MANIFEST}" in manifest.sha256 else folder


def _saved(folder: Path) -> dict[str, Source]:
    """What a script saved, by the path that it gets in the model's folder."""
    names = [name for name in list_files(folder) if CACHE not in name.split("/")]
    if f"{SAVED}/{MANIFEST}" in names:
        raise ArtifactError(f"{folder}/{SAVED}/{MANIFEST}: only we use this name; take another")
    below = f"{SAVED}/" if MANIFEST in names else ""
    return {
        name if name.startswith(f"{CODE}/") else below + name: _inside(folder, name)
        for name in names
    }


def _program(code: Path | Mapping[str, bytes]) -> dict[str, Source]:
    """The files of a program, by their paths in the model folder."""
    if isinstance(code, Path):
        names = [name for name in list_files(code) if not _left_out(name)]
        return {f"{CODE}/{name}": _inside(code, name) for name in names}
    for name in code:
        if not is_path_below(name):
            raise ArtifactError(f"{CODE}/: {name!r} is no path of a file below it")
    return {f"{CODE}/{name}": content for name, content in code.items()}


def _left_out(name: str) -> bool:
    return any(part == CACHE or part.startswith(".") for part in name.split("/"))


def _inside(folder: Path, name: str) -> Path:
    """The file of that name; of a link, the file it leads to, if that is in the folder too."""
    path = (folder / name).resolve()
    if not (path.is_relative_to(folder.resolve()) and path.is_file()):
        raise ArtifactError(
            f"{folder / name}: is no file of this folder; a model has copies of all"
        )
    return path


def _put(folder: Path, name: str, source: Source) -> str:
    """Copy a file into the folder, to the disk; gives the digest of what was copied."""
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    if isinstance(source, bytes):
        write_durably(folder / name, source)
        return hashlib.sha256(source).hexdigest()
    digest = hashlib.sha256()
    with open_regular(source) as original, (folder / name).open("xb") as copy:
        for chunk in _chunks(original):
            digest.update(chunk)
            copy.write(chunk)
        copy.flush()
        os.fsync(copy.fileno())
    return digest.hexdigest()


def _verify(folder: Path, name: str, digest: str) -> None:
    if not is_path_below(name):
        raise ArtifactError(f"{folder / MANIFEST}: sha256 lists {name!r}, no path of a file in it")
    for parent in PurePosixPath(name).parents:
        if (folder / parent).is_symlink() and str(parent) != ".":
            raise ArtifactError(f"{folder / parent}: is a symbolic link; a model has none")
    with open_regular(folder / name) as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != digest:
        raise ArtifactError(
            f"{folder / name}: its sha256 is {found[:12]}…, but {MANIFEST} says {digest[:12]}…; "
            "export the model again"
        )


def _version(sha256: Mapping[str, str]) -> str:
    """The first digits of a digest over the lines that `sha256sum` would print, sorted by name."""
    lines = b"".join(
        f"{sha256[name]}  ".encode() + os.fsencode(name) + b"\n" for name in sorted(sha256)
    )
    return hashlib.sha256(lines).hexdigest()[:VERSION_DIGITS]


def _chunks(file: BufferedReader) -> Iterator[bytes]:
    while chunk := file.read(CHUNK_BYTES):
        yield chunk
