"""Check whether a model folder can be served, by its files: no code of the model is run."""

import ast
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path

from serve.handlers.defaults import MODEL_FILE, SUFFIXES
from serve.models.archive import CODE, model_dir
from serve.models.artifact import read_manifest
from serve.models.manifest import Manifest

MODEL_FN = "model_fn"
_TORCHSCRIPT_FILE = "constants.pkl"
"""File that only a TorchScript archive has."""

_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def find_obstacle(folder: Path) -> str | None:
    """Return why a model cannot be served, with a remedy; None if it can, as far as files tell.

    The script's `model_fn` loads a model with handlers; without one it must be TorchScript.

    Raises:
        ArtifactError: The folder is not a model's.
    """
    manifest = read_manifest(folder)
    if not manifest.has_handlers or _may_have_model_fn(folder, manifest):
        return None
    file = _default_model_file(model_dir(folder, manifest))
    if file is not None and _is_torchscript(file):
        return None
    script = manifest.entry_point or "a file inference.py beside the script"
    saved = (
        "saved no single .pt or .pth file" if file is None else f"{file.name} is not TorchScript"
    )
    lacks = f"{manifest.entry_point} has" if manifest.entry_point else "its code has"
    return f"{lacks} no {MODEL_FN}, and {saved}; write a {MODEL_FN} in {script}"


def bound_names(source: bytes) -> Collection[str] | None:
    """Return the global names that a program defines, `*` for a `from module import *`.

    None if it is not Python: loading it reports the error.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return None
    names: set[str] = set()
    for node in _module_nodes(tree):
        if isinstance(node, _Definition):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names.update(alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


def _module_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of a module, but not those inside functions and classes."""
    for child in ast.iter_child_nodes(node):
        yield child
        if not isinstance(child, _Definition):
            yield from _module_nodes(child)


def _may_have_model_fn(folder: Path, manifest: Manifest) -> bool:
    if manifest.entry_point is None:
        return False
    names = bound_names((folder / CODE / manifest.entry_point).read_bytes())
    return names is None or MODEL_FN in names or "*" in names


def _default_model_file(saved: Path) -> Path | None:
    """Return the file that the default `model_fn` loads."""
    if (saved / MODEL_FILE).exists():
        return saved / MODEL_FILE
    files = [file for file in saved.iterdir() if file.suffix in SUFFIXES]
    return files[0] if len(files) == 1 else None


def _is_torchscript(file: Path) -> bool:
    try:
        with zipfile.ZipFile(file) as archive:
            return any(name.endswith(f"/{_TORCHSCRIPT_FILE}") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError):
        return False
