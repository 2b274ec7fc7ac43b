"""Whether a model folder can be served, told from its files: no code of a model is run."""

import ast
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path

from serve.handlers.defaults import MODEL_FILE, SUFFIXES
from serve.models.archive import CODE, model_dir
from serve.models.artifact import read_manifest
from serve.models.manifest import HANDLERS_FORMAT, Manifest

MODEL_FN = "model_fn"
_TORCHSCRIPT_FILE = "constants.pkl"
"""What only TorchScript has in its archive."""

_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def why_not_served(folder: Path) -> str | None:
    """Say why a model cannot be served and what would do; None where nothing stands against it.

    A model with handlers is loaded by its script's `model_fn`, or where it has none as TorchScript.
    Raises ArtifactError where the folder is no model's.
    """
    manifest = read_manifest(folder)
    if manifest.format != HANDLERS_FORMAT or _may_have_model_fn(folder, manifest):
        return None
    found = _loaded_without_model_fn(model_dir(folder, manifest))
    if found is not None and _is_torchscript(found):
        return None
    script = manifest.entry_point or "a file inference.py beside the script"
    saved = (
        "saved no single .pt or .pth file" if found is None else f"{found.name} is no TorchScript"
    )
    lacks = f"{manifest.entry_point} has" if manifest.entry_point else "its code has"
    return f"{lacks} no {MODEL_FN}, and {saved}; write a {MODEL_FN} in {script}"


def bound_names(source: bytes) -> Collection[str] | None:
    """The names that a program binds itself, `*` among them where it imports all of a module.

    None where it is no Python: whoever loads it is told.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return None
    names: set[str] = set()
    for node in _of_module(tree):
        if isinstance(node, _Definition):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names.update(alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


def _of_module(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a module without the insides of its functions and classes."""
    for child in ast.iter_child_nodes(node):
        yield child
        if not isinstance(child, _Definition):
            yield from _of_module(child)


def _may_have_model_fn(folder: Path, manifest: Manifest) -> bool:
    if manifest.entry_point is None:
        return False
    names = bound_names((folder / CODE / manifest.entry_point).read_bytes())
    return names is None or MODEL_FN in names or "*" in names


def _loaded_without_model_fn(saved: Path) -> Path | None:
    """The file that the default `model_fn` takes, as the toolkit chooses it."""
    if (saved / MODEL_FILE).exists():
        return saved / MODEL_FILE
    found = [file for file in saved.iterdir() if file.suffix in SUFFIXES]
    return found[0] if len(found) == 1 else None


def _is_torchscript(file: Path) -> bool:
    try:
        with zipfile.ZipFile(file) as archive:
            return any(name.endswith(f"/{_TORCHSCRIPT_FILE}") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError):
        return False
