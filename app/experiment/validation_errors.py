"""Translate pydantic's errors into one sentence: where, what came, what would do."""

from collections.abc import Callable, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from trainables.errors.choices import unknown

FIRST = ("extra_forbidden", "missing")
"""Types of errors that are told before others: a misspelt key explains one that is missing."""
NEEDS: Mapping[str, str] = {
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "a string",
    "path_type": "a string",
    "bool_type": "true or false",
    "dict_type": "a table",
    "model_type": "a table",
    "less_than_equal": "a whole number of at most 2^63",
}
"""Needs of a field, by the type of the error."""
MISSING = {"script.entry_point": "name the script by --entry-point"}
"""Remedies for fields that are missing; of others, a file needs them."""


def sentence(error: ValidationError, model: type[BaseModel]) -> str:
    """Return the first error as a sentence that begins with the key."""
    details = error.errors(include_url=False)
    by_rank = {kind: rank for rank, kind in enumerate(FIRST)}
    first = min(details, key=lambda detail: by_rank.get(detail["type"], len(FIRST)))
    if first["type"] == "extra_forbidden":
        *path, key = map(str, first["loc"])
        return ": ".join([*_where(path), unknown(key, _table(model, path).model_fields, "key")])
    return ": ".join([*_where(list(map(str, first["loc"]))), _reason(first)])


def _where(path: list[str]) -> list[str]:
    """Name a key with its tables; resources are named alone, as their flags are."""
    if path[0:1] == ["resources"] and len(path) > 1:
        path = path[1:]
    return [".".join(path)] if path else []


def _table(model: type[BaseModel], path: list[str]) -> type[BaseModel]:
    """Return the model of the table at a path."""
    for name in path:
        annotation = model.model_fields[name].annotation
        model = next(
            kind
            for kind in (annotation, *get_args(annotation))
            if isinstance(kind, type) and issubclass(kind, BaseModel)
        )
    return model


def _reason(error: ErrorDetails) -> str:
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    if kind == "missing":
        remedy = MISSING.get(".".join(map(str, error["loc"])), "an experiment file needs it")
        return f"is missing; {remedy}"
    if kind in NEEDS:
        # An integer beyond the greatest float is of a type that a float's field takes.
        is_too_large = kind == "float_type" and type(value) is int
        return f"needs {NEEDS['finite_number' if is_too_large else kind]}, got {_format(value)}"
    if kind in LEAST:
        return f"{LEAST[kind](context)}, got {value}"
    return str(context.get("error", f"{error['msg']}, got {value!r}"))


LEAST: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "greater_than": lambda context: f"needs a number above {context['gt']:g}",
    "greater_than_equal": lambda context: f"needs at least {context['ge']}",
}
"""Bounds of a number in words, by the type of the error."""


def _format(value: Any) -> str:
    return str(value) if isinstance(value, float) else repr(value)
