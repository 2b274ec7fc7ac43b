"""Paths of a script and its inputs: absolute once, wherever they were written or typed."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from trainables.contract import TrainableError

LOCAL = re.compile(r"file://(localhost)?(?=/)")


def resolve_paths(table: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return an experiment's table with the paths of its script resolved from a folder."""
    resolved = dict(table)
    if isinstance(table.get("script"), Mapping):
        resolved["script"] = _resolve_script(table["script"], folder)
    if isinstance(table.get("inputs"), Mapping):
        resolved["inputs"] = {
            name: _resolve(path, folder) for name, path in table["inputs"].items()
        }
    return resolved


def with_flags(table: Mapping[str, Any], flags: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return an experiment's table with the flags of its script, typed in a folder, over it."""
    typed = {key: flags[key] for key in ("entry_point", "source_dir") if key in flags}
    if "entry_point" in typed and "entry_point" in table.get("script", {}):
        typed = {"source_dir": None, **typed}  # the file's is another script's
    inputs = dict(_channel(text) for text in flags.get("inputs", ()))
    resolved = resolve_paths(
        {"script": {**table.get("script", {}), **typed}, "inputs": inputs}, folder
    )
    return {
        **table,
        "script": resolved["script"],
        "inputs": {**table.get("inputs", {}), **resolved["inputs"]},
    }


def with_entry_point(table: Mapping[str, Any], flags: Mapping[str, Any]) -> dict[str, Any]:
    """Return an experiment's table with the script that a flag names, if the table names none."""
    own = table.get("script", {})
    if "entry_point" not in flags or not isinstance(own, Mapping):
        return dict(table)
    return {**table, "script": {"entry_point": flags["entry_point"], **own}}


def _channel(text: str) -> tuple[str, str]:
    name, sign, path = text.partition("=")
    if not sign:
        raise TrainableError(f"--input: needs NAME=PLACE, such as training=data, got {text!r}")
    return name, path


def _resolve_script(script: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    resolved = dict(script)
    base = folder
    if isinstance(script.get("source_dir"), str):
        base = (folder / script["source_dir"]).resolve()
        resolved["source_dir"] = str(base)
    if isinstance(script.get("entry_point"), str) and script["entry_point"]:
        # SageMaker names a script from its source_dir; who types a command, from where he is.
        name = script["entry_point"]
        place = base if (base / name).exists() or not (folder / name).exists() else folder
        resolved["entry_point"] = str((place / name).resolve())
    return resolved


def _resolve(path: Any, folder: Path) -> Any:
    """Return a local path as an absolute one; a URI, and what is neither, as it is."""
    if not isinstance(path, str) or not path:
        return path
    if local := LOCAL.match(path):
        return str(Path(unquote(path[local.end() :])))
    return path if "://" in path else str((folder / path).resolve())
