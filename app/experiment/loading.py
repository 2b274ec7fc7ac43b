"""Read experiments from TOML files, from what runs have recorded, and from flags over both."""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

import trainables
from app.experiment.checks import SCRIPT, check_no_nul
from app.experiment.early_stopping import with_rule
from app.experiment.errors import ExperimentError
from app.experiment.flags import OF_SCRIPTS
from app.experiment.run_folder import NAME, OF_THE_RUN
from app.experiment.schema import Experiment, ResourceTable, from_table
from app.experiment.script_paths import resolve_paths, with_entry_point, with_flags
from app.experiment.script_table import ScriptTable
from trainables.contract import TrainableError

BUILTIN = Path(trainables.__file__).parent / "mnist.toml"
FOR_SCRIPTS = BUILTIN.with_name("script.toml")
TABLES = ("space", "fixed", "resources", "script", "inputs")
"""Keys that flags do not set as they stand."""


def load(path: Path | None, flags: Mapping[str, Any]) -> Experiment:
    """Read the experiment of a file, or the built-in one, with flags over it.

    A file that tunes the built-in trainable leaves out what the built-in experiment says.

    Args:
        path: A TOML file, or the `experiment.json` of a run.
        flags: Values by key; those of `[resources]` and `[script]` stand beside the others.

    Raises:
        ExperimentError: For anything wrong; what is wrong in a file names the file.
    """
    if path is None:
        return _with_flags(_builtin(flags), Path.cwd(), flags, is_whole=False)
    # What a run has recorded is whole.
    is_whole = path.suffix == ".json"
    return _with_flags(_read_file(path, flags), path.resolve().parent, flags, is_whole=is_whole)


def from_values(values: Mapping[str, Any]) -> Experiment:
    """Read an experiment from the values of a file's keys, without a file.

    Args:
        values: A file's keys, whose relative paths count from the working directory; or all of an
            `experiment.json`, which has a `folder`.

    Raises:
        ExperimentError: For anything wrong, in one sentence that begins with the key.
    """
    own = as_written(values)
    table = _fill(own, Path.cwd(), {})
    return _with_flags(table, Path.cwd(), {}, is_whole="folder" in own)


def as_written(value: Any) -> Any:
    """Turn paths and tuples into the strings and lists that a file has."""
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Mapping):
        return {key: as_written(inner) for key, inner in value.items()}
    return [as_written(inner) for inner in value] if isinstance(value, list | tuple) else value


def _with_flags(
    table: dict[str, Any], folder: Path, flags: Mapping[str, Any], *, is_whole: bool
) -> Experiment:
    """Make the experiment of a table in a folder, with flags over it."""
    top = {
        key: value
        for key, value in flags.items()
        if key in Experiment.model_fields and key not in TABLES
    }
    if "early_stopping" in top:
        top["early_stopping"] = with_rule(table.get("early_stopping"), top["early_stopping"])
    table = {"folder": str(folder), **table, **top}
    check_no_nul("", table)
    try:
        table = _with_script_flags(table, flags, is_whole=is_whole)
        table["resources"] = {
            **table.get("resources", {}),
            **{key: value for key, value in flags.items() if key in ResourceTable.model_fields},
        }
        # A path in a file counts from the file, one in a flag from where the command was typed.
        if isinstance(table.get("data_dir"), str):
            base = Path.cwd() if "data_dir" in flags else folder
            table["data_dir"] = str((base / table["data_dir"]).resolve())
        experiment = from_table(table)
        experiment.kind.check_files()
    except TrainableError as error:
        raise ExperimentError(str(error)) from error
    return experiment


def split_known(table: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Split a recorded experiment into what this version knows, and the keys that it does not."""
    keys = Experiment.model_fields
    table = _drop_placement(table)
    known = {key: value for key, value in table.items() if key in keys}
    unknown = [key for key in table if key not in keys and key not in OF_THE_RUN]
    for name, model in (("resources", ResourceTable), ("script", ScriptTable)):
        if isinstance(inner := known.get(name), dict):
            unknown += [f"{name}.{key}" for key in inner if key not in model.model_fields]
            known[name] = {k: value for k, value in inner.items() if k in model.model_fields}
    return known, unknown


def _with_script_flags(
    table: dict[str, Any], flags: Mapping[str, Any], *, is_whole: bool
) -> dict[str, Any]:
    """Put the flags of a script over a table; epochs are given to the script as an argument."""
    if table["trainable"] != SCRIPT:
        for key, flag in OF_SCRIPTS.items():
            if key in flags:
                raise ExperimentError(f"{flag}: is for scripts; this tunes {table['trainable']!r}")
        return table
    table = with_flags(table, flags, Path.cwd())
    fixed = table.get("fixed", {})
    if "epochs" in flags or (not is_whole and "epochs" in table and "epochs" not in fixed):
        table["fixed"] = {**fixed, "epochs": table["epochs"]}
    return table


def _builtin(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Read the built-in experiment, or the one for scripts where a flag names a script."""
    if "entry_point" not in flags:
        return _read_table(BUILTIN)
    return {**_read_table(FOR_SCRIPTS), "name": _script_name(flags["entry_point"])}


def _script_name(entry_point: Any) -> str:
    """Name the experiment of a script as its file is, where that can be a name."""
    stem = Path(entry_point).stem if isinstance(entry_point, str) else ""
    return stem if NAME.fullmatch(stem) else SCRIPT


def _read_table(path: Path) -> dict[str, Any]:
    """Read a file's table; JSON is what a run has recorded."""
    try:
        # Editors on Windows put a byte-order mark before the text.
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix == ".json":
            return _drop_run_keys(json.loads(text), path)
        return tomllib.loads(text)
    except FileNotFoundError as error:
        raise ExperimentError(f"no experiment file at {path}") from error
    except OSError as error:
        raise ExperimentError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, json.JSONDecodeError, UnicodeDecodeError) as error:
        kind = "JSON" if path.suffix == ".json" else "TOML"
        raise ExperimentError(f"{path} is not {kind}: {error}") from error


def _drop_run_keys(table: Any, path: Path) -> dict[str, Any]:
    """Drop nulls, and keys that describe the run's machine and data, from a recorded experiment."""
    if not isinstance(table, dict):
        raise ExperimentError(f"{path}: needs an object of an experiment's keys, got {table!r}")
    return _drop_placement(
        {key: value for key, value in table.items() if key not in OF_THE_RUN and value is not None}
    )


def _drop_placement(table: Mapping[str, Any]) -> dict[str, Any]:
    """Drop where trials were put, which earlier versions recorded and Ray decides now."""
    resources = table.get("resources")
    if not isinstance(resources, dict):
        return dict(table)
    return {**table, "resources": {k: v for k, v in resources.items() if k != "placement"}}


def _read_file(path: Path, flags: Mapping[str, Any]) -> dict[str, Any]:
    """Read and check a file, over the built-in experiment where it tunes that."""
    own = _read_table(path)
    if not own:
        raise ExperimentError(
            f"{path}: is empty; say what to tune in it, or leave it out to tune the built-in one"
        )
    if "folder" in own and path.suffix != ".json":
        raise ExperimentError(f"{path}: folder: is where the file lies; it cannot be given")
    try:
        return _fill(own, path.resolve().parent, flags)
    except ExperimentError as error:
        raise ExperimentError(f"{path}: {error}") from error


def _fill(own: Mapping[str, Any], folder: Path, flags: Mapping[str, Any]) -> dict[str, Any]:
    """Fill what a table leaves open, resolve its paths from a folder, and check it."""
    table = _fill_from_builtin(own, flags)
    check_no_nul("", table)
    # A recorded experiment says itself from where its paths count.
    recorded = table.get("folder")
    table = resolve_paths(table, Path(recorded) if isinstance(recorded, str) else folder)
    from_table(with_entry_point(table, flags) if _is_script(table) else table)
    return table


def _is_script(table: Mapping[str, Any]) -> bool:
    return bool(table.get("trainable") == SCRIPT)


def _fill_from_builtin(own: Mapping[str, Any], flags: Mapping[str, Any]) -> dict[str, Any]:
    """Fill what a file leaves open from the experiment for scripts or MNIST, if it tunes these.

    A table `[script]`, or a flag that names a script, says that a script is tuned.
    """
    if "trainable" not in own and ("script" in own or "entry_point" in flags):
        return _add_name(_fill_from_scripts(own), flags)
    if _is_script(own):
        return _add_name(own, flags)
    return (
        _merge(_read_table(BUILTIN), own) if own.get("trainable", "mnist") == "mnist" else dict(own)
    )


def _add_name(table: Mapping[str, Any], flags: Mapping[str, Any]) -> dict[str, Any]:
    """Name an experiment without a name after its script's file."""
    script = table.get("script")
    own = script.get("entry_point") if isinstance(script, Mapping) else None
    return {"name": _script_name(flags.get("entry_point", own)), **table}


def _fill_from_scripts(own: Mapping[str, Any]) -> dict[str, Any]:
    """Fill what a script's file leaves open, but for defaults that would not fit its own values."""
    base = {key: value for key, value in _read_table(FOR_SCRIPTS).items() if key != "name"}
    if "space" in own:  # whether such a script has epochs, the file says
        del base["fixed"]
    if "metric" in own:
        del base["script"]
    merged = {**base, **own}
    if isinstance(own.get("script"), Mapping):
        merged["script"] = {**base.get("script", {}), **own["script"]}
    return merged


def _merge(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Put a file over the built-in experiment; what it searches is no longer fixed."""
    merged = {**base, **own}
    if isinstance(own.get("fixed", {}), Mapping) and isinstance(merged.get("space"), Mapping):
        searched = merged["space"]
        fixed = {k: v for k, v in base.get("fixed", {}).items() if k not in searched}
        merged["fixed"] = {**fixed, **own.get("fixed", {})}
    return merged
