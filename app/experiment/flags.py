"""Flags of `python -m app.tune` that set fields of an experiment, made from these fields."""

import argparse
from collections.abc import Callable, Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from app.experiment.errors import ExperimentError
from app.experiment.fields import Flag
from app.experiment.schema import Experiment, ResourceTable
from app.experiment.script_table import ScriptTable


def add_flags(parser: argparse.ArgumentParser, model: type[BaseModel]) -> None:
    """Add the flags of a model; one that is not typed leaves the experiment's own value."""
    for key, field, flag in _flags_of(model):
        name = _name(key, flag)
        options: dict[str, Any] = {"dest": key, "default": argparse.SUPPRESS}
        kinds = set(_kinds(field.annotation))
        if bool in kinds:
            options["action"] = "store_true"
        else:
            options["metavar"] = flag.metavar
            reader = next((READERS[kind] for kind in kinds if kind in READERS), None)
            options |= {"type": reader(name)} if reader else {}
        if key in ("inputs", "log_to"):
            options["action"] = "append"
        parser.add_argument(name, **options, help=_help(field, flag))


def typed_values(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the values of the flags that were typed, by key."""
    return {key: value for key, value in vars(arguments).items() if key in NAMES}


def whole(flag: str) -> Callable[[str], int]:
    """Return a reader of whole numbers; another text is a known mistake, not one of usage."""

    def read(text: str) -> int:
        try:
            return int(text)
        except ValueError as error:
            raise ExperimentError(f"{flag}: needs a whole number, got {text!r}") from error

    return read


def number_of(flag: str) -> Callable[[str], float]:
    """Return a reader of numbers."""

    def read(text: str) -> float:
        try:
            return float(text)
        except ValueError as error:
            raise ExperimentError(f"{flag}: needs a number, got {text!r}") from error

    return read


READERS: Mapping[Any, Callable[[str], Callable[[str], Any]]] = {int: whole, float: number_of}


def _flags_of(model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo, Flag]]:
    for key, field in model.model_fields.items():
        for mark in field.metadata:
            if isinstance(mark, Flag):
                yield key, field, mark


def _kinds(annotation: Any) -> Iterator[Any]:
    """Yield the types of a union, without what they are annotated with."""
    inner = get_args(annotation)
    if get_origin(annotation) is Annotated:
        yield from _kinds(inner[0])
    elif get_origin(annotation) in (Union, UnionType):
        for kind in inner:
            yield from _kinds(kind)
    else:
        yield annotation


def _name(key: str, flag: Flag) -> str:
    return flag.name or f"--{key.replace('_', '-')}"


def _help(field: FieldInfo, flag: Flag) -> str:
    """Return the first sentence of a field's docstring, with choices and the default."""
    sentence = (field.description or "").partition(";")[0].rstrip(".").replace("%", "%%")
    if sentence[1:2].islower():
        sentence = sentence[0].lower() + sentence[1:]
    text = ": ".join([sentence, ", ".join(flag.choices)]) if flag.choices else sentence
    own = field.default if type(field.default) in (int, str) else None
    default = flag.default if own is None else own
    return text if default is None else f"{text} ({default})"


NAMES: Mapping[str, str] = {
    key: _name(key, flag)
    for model in (Experiment, ResourceTable, ScriptTable)
    for key, _, flag in _flags_of(model)
}
"""Flags by the keys that they set."""
OF_SCRIPTS: Mapping[str, str] = {
    key: name for key, name in NAMES.items() if key in ScriptTable.model_fields or key == "inputs"
}
"""Those of them that describe a script."""
