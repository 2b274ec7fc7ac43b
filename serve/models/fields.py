"""Fields of a JSON object, checked as they are read."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

_DIGEST = re.compile(r"[0-9a-f]{64}")
_SHOWN = 60
"""Longest value that an error quotes."""


class FieldError(Exception):
    """A field is missing or has another value than expected."""


@dataclass(frozen=True)
class Fields:
    """A JSON object whose fields raise FieldError unless they are as expected."""

    values: Mapping[str, Any]
    prefix: str = ""
    """Path of this object in its file, such as `inputs[0].`."""

    def refuse(self, key: str, expected: str, value: object) -> NoReturn:
        """Raise the error for a value that is not as expected."""
        shown = repr(value) if len(repr(value)) < _SHOWN else type(value).__name__
        raise FieldError(f"{self.prefix}{key}: expected {expected}, got {shown}")

    def text(self, key: str) -> str:
        """Read a text that is not empty."""
        value = self._typed(key, str, "text")
        return str(value) if value else self.refuse(key, "text", value)

    def items(self, key: str) -> list[Any]:
        """Read a list."""
        return list(self._typed(key, list, "a list"))

    def mapping(self, key: str) -> dict[str, Any]:
        """Read an object as a dictionary."""
        return dict(self._typed(key, dict, "an object"))

    def fields(self, key: str) -> "Fields":
        """Read an object whose own fields are to be checked."""
        return Fields(self.mapping(key), f"{self.prefix}{key}.")

    def list_of_fields(self, key: str, *, may_be_empty: bool) -> list["Fields"]:
        """Read a list of objects whose own fields are to be checked."""
        items = self.items(key)
        is_missing = not items and not may_be_empty
        if is_missing or not all(isinstance(item, dict) for item in items):
            self.refuse(key, "a list of objects", items)
        return [Fields(item, f"{self.prefix}{key}[{i}].") for i, item in enumerate(items)]

    def optional(self, key: str, kind: type) -> Any:
        """Read a value of that type, or None."""
        if self.values.get(key) is None:
            return None
        return self._typed(key, kind, f"{kind.__name__} or null")

    def choice(self, key: str, choices: tuple[str, ...]) -> str | None:
        """Read one of the choices, or None."""
        value = self.values.get(key)
        if value is not None and value not in choices:
            self.refuse(key, f"one of {', '.join(choices)}, or null", value)
        return value

    def number(self, key: str) -> float | None:
        """Read a number, or None."""
        value = self.values.get(key)
        if value is None:
            return None
        return float(value) if _is_number(value) else self.refuse(key, "a number or null", value)

    def bounds(self, key: str) -> tuple[float, float] | None:
        """Read two numbers, the lower first, or None."""
        value = self.values.get(key)
        if value is None:
            return None
        if not (isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))):
            self.refuse(key, "[least, largest]", value)
        low, high = map(float, value)
        return (low, high) if low < high else self.refuse(key, "least below largest", value)

    def texts(self, key: str) -> tuple[str, ...] | None:
        """Read a list of texts that is not empty, or None."""
        value = self.values.get(key)
        if value is None:
            return None
        if not (isinstance(value, list) and value and all(isinstance(x, str) for x in value)):
            self.refuse(key, "a list of texts or null", value)
        return tuple(value)

    def digests(self, key: str) -> dict[str, str]:
        """Read an object of sha256 digests."""
        digests = self.mapping(key)
        for name, digest in digests.items():
            if not (isinstance(digest, str) and _DIGEST.fullmatch(digest)):
                self.refuse(f"{key}.{name}", "64 hex digits", digest)
        return digests

    def _typed(self, key: str, kind: type, expected: str) -> Any:
        if key not in self.values:
            raise FieldError(f"{self.prefix}{key}: missing; expected {expected}")
        value = self.values[key]
        if not isinstance(value, kind) or isinstance(value, bool):
            self.refuse(key, expected, value)
        return value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
