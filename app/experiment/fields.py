"""The base of the models of an experiment, and marks on their fields."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic import model_validator as validator
from pydantic_core import core_schema

from trainables.errors.choices import unknown

MAX_WHOLE = 2**63
"""The greatest whole number that a field takes."""


class Table(BaseModel):
    """A table of an experiment file: frozen, strict about keys and types, its fields described."""

    # What checks is built when a table is read: `--help` needs the fields alone.
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        use_attribute_docstrings=True,
        defer_build=True,
    )

    @validator(mode="before")
    @classmethod
    def _without_nulls(cls, table: Any) -> Any:
        """Drop keys that are null, as a run records what an experiment left open."""
        if not isinstance(table, Mapping):
            return table
        return {
            key: value
            for key, value in table.items()
            if value is not None or key not in cls.model_fields
        }


@dataclass(frozen=True)
class OneOf:
    """Restricts a field to names, and suggests the nearest one for any other."""

    names: tuple[str, ...]

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """Check the field after its type."""
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """List the names."""
        return {**handler(schema), "enum": list(self.names)}

    def _check(self, value: str) -> str:
        if value not in self.names:
            raise ValueError(unknown(value, self.names))
        return value


@dataclass(frozen=True)
class Flag:
    """Marks a field that a flag of `python -m app.tune` sets; its help is the field's docstring."""

    metavar: str | None = None
    default: str | None = None
    """The default as the help shows it, where that is not the field's own."""
    choices: tuple[str, ...] = ()
    """Names that the help lists."""
    name: str | None = None
    """The flag, where it is not named as the field is."""
