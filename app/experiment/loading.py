"""Read experiments from TOML files, from what runs have recorded, and from flags over both."""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import trainables
from app.experiment import early_stopping
from app.experiment import script_table as script
from app.experiment.errors import ExperimentError
from app.experiment.run_folder import NAME, OF_THE_RUN
from app.experiment.schema import (
    A_SCRIPT,
    RESOURCES,
    TOP,
    Experiment,
    _check_shape,
    _told,
    from_table,
)

BUILTIN = Path(trainables.__file__).parent / "mnist.toml"
SCRIPT = BUILTIN.with_name("script.toml")


def load(path: Path | None, flags: Mapping[str, Any]) -> Experiment:
    """The experiment of a file, or the built-in one, with flags over it.

    A file that tunes the built-in trainable leaves out what the built-in experiment says. Flags
    have the names of a file's keys; those of resources too. Raises ExperimentError.
    """
    folder = Path.cwd() if path is None else path.resolve().parent
    table = _builtin(flags) if path is None else _checked_file(path, flags)
    in_file = table.get("early_stopping")
    table = {"folder": str(folder), **table, **{k: v for k, v in flags.items() if k in TOP}}
    if "early_stopping" in flags:
        table["early_stopping"] = early_stopping.renamed(in_file, flags["early_stopping"])
    table = _with_script(table, path, flags)
    _check_shape(table)
    table["resources"] = {
        **table.get("resources", {}),
        **{key: value for key, value in flags.items() if key in RESOURCES},
    }
    # A path in a file counts from the file, one in a flag from where the command was typed.
    if table.get("data_dir") is not None:
        base_folder = Path.cwd() if "data_dir" in flags else folder
        table["data_dir"] = str((base_folder / table["data_dir"]).resolve())
    experiment = from_table(table)
    with _told():
        experiment.kind.check_files()
    return experiment


def _with_script(
    table: dict[str, Any], path: Path | None, flags: Mapping[str, Any]
) -> dict[str, Any]:
    """The table with what flags say of a script; what a run has recorded is whole already."""
    given = [named for flag, named in script.FLAGS.items() if flag in flags]
    if table["trainable"] != A_SCRIPT:
        if given:
            raise ExperimentError(f"{given[0]}: is for scripts; this tunes {table['trainable']!r}")
        return table
    _check_shape(table)
    with _told():
        table = script.with_flags(table, flags, Path.cwd())
    from_file = path is None or path.suffix != ".json"
    fixed = table.get("fixed", {})
    if "epochs" in flags or (from_file and "epochs" in table and "epochs" not in fixed):
        table["fixed"] = {**fixed, "epochs": table["epochs"]}
    return table


def _builtin(flags: Mapping[str, Any]) -> dict[str, Any]:
    """The built-in experiment, or that of scripts where a flag names one."""
    if "entry_point" not in flags:
        return _read(BUILTIN)
    table = _read(SCRIPT)
    return {**table, "name": _name_of_script(flags["entry_point"])}


def _name_of_script(entry_point: Any) -> str:
    """The experiment of a script is called as its file is, where that can be a name."""
    stem = Path(entry_point).stem if isinstance(entry_point, str) else ""
    return stem if NAME.fullmatch(stem) else A_SCRIPT


def _read(path: Path) -> dict[str, Any]:
    """A file's table; JSON is what a run keeps of its experiment."""
    try:
        if path.suffix == ".json":
            return _recorded(json.loads(path.read_text(encoding="utf-8-sig")), path)
        # Editors on Windows put a byte-order mark before the text.
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise ExperimentError(f"no experiment file at {path}") from error
    except OSError as error:
        raise ExperimentError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, json.JSONDecodeError, UnicodeDecodeError) as error:
        kind = "JSON" if path.suffix == ".json" else "TOML"
        raise ExperimentError(f"{path} is not {kind}: {error}") from error


def _recorded(table: Any, path: Path) -> dict[str, Any]:
    """A recorded experiment, without what the run's folder says of its machine and its data."""
    if not isinstance(table, dict):
        raise ExperimentError(f"{path}: needs an object of an experiment's keys, got {table!r}")
    known = {key: value for key, value in table.items() if key not in OF_THE_RUN}
    if isinstance(resources := known.get("resources"), dict):
        # Earlier versions recorded where trials were put, which Ray decides now.
        known["resources"] = {k: v for k, v in resources.items() if k != "placement"}
    return known


def _checked_file(path: Path, flags: Mapping[str, Any]) -> dict[str, Any]:
    """A file's table, over the built-in one where it tunes that; what is wrong names the file."""
    own = _read(path)
    if not own:
        raise ExperimentError(
            f"{path}: is empty; say what to tune in it, or leave it out to tune the built-in one"
        )
    if "folder" in own and path.suffix != ".json":
        raise ExperimentError(f"{path}: folder: is where the file lies; it cannot be given")
    table = _over_builtin(own, flags)
    try:
        _check_shape(table)
        with _told():
            # What is recorded says itself from where its paths count.
            table = script.located(table, Path(table.get("folder") or path.resolve().parent))
        from_table(script.with_entry_point(table, flags) if _is_script(table) else table)
    except ExperimentError as error:
        raise ExperimentError(f"{path}: {error}") from error
    return table


def _is_script(table: Mapping[str, Any]) -> bool:
    return bool(table.get("trainable") == A_SCRIPT)


def _over_builtin(own: Mapping[str, Any], flags: Mapping[str, Any]) -> dict[str, Any]:
    """Fill what a file leaves open from the experiment for scripts or MNIST, if it tunes these.

    A table `[script]`, or a flag that names a script, says that a script is tuned.
    """
    if "trainable" not in own and ("script" in own or "entry_point" in flags):
        return _named(_over_scripts(own), flags)
    if _is_script(own):
        return _named(own, flags)
    return _merged(_read(BUILTIN), own) if own.get("trainable", "mnist") == "mnist" else dict(own)


def _named(table: Mapping[str, Any], flags: Mapping[str, Any]) -> dict[str, Any]:
    """Name an experiment without a name after its script's file."""
    script_table = table.get("script")
    own = script_table.get("entry_point") if isinstance(script_table, Mapping) else None
    return {"name": _name_of_script(flags.get("entry_point", own)), **table}


def _over_scripts(own: Mapping[str, Any]) -> dict[str, Any]:
    """Fill what a script's file leaves open, but for defaults that would not fit its own values."""
    base = {key: value for key, value in _read(SCRIPT).items() if key != "name"}
    if "space" in own:  # whether such a script has epochs, the file says
        del base["fixed"]
    if "metric" in own:
        del base["script"]
    merged = {**base, **own}
    if isinstance(own.get("script"), Mapping):
        merged["script"] = {**base.get("script", {}), **own["script"]}
    return merged


def _merged(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """A file over the built-in experiment; what it searches is no longer fixed."""
    merged = {**base, **own}
    if isinstance(own.get("fixed", {}), Mapping) and isinstance(merged.get("space"), Mapping):
        searched = merged["space"]
        fixed = {k: v for k, v in base.get("fixed", {}).items() if k not in searched}
        merged["fixed"] = {**fixed, **own.get("fixed", {})}
    return merged
