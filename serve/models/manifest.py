"""What `model.json` says of a model, checked field by field as it is read."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NoReturn

MANIFEST = "model.json"
ONNX_FORMAT = "onnx"
HANDLERS_FORMAT = "handlers"
FORMATS = (ONNX_FORMAT, HANDLERS_FORMAT)
LOGITS = "logits"
LOG_PROBABILITIES = "log_probabilities"
PROBABILITIES = "probabilities"
SIGMOIDS = "sigmoids"
VALUES = "values"
MEANINGS = (LOGITS, LOG_PROBABILITIES, PROBABILITIES, SIGMOIDS, VALUES)
"""What an output can be: probabilities of one row sum to 1, each sigmoid stands by itself, and
values are no probabilities at all."""
_ORDER = (
    *("format", "name", "version", "entry_point", "inputs", "outputs", "labels", "run"),
    *("trial_id", "epoch", "config", "metrics", "sha256", "golden"),
)
_OF_HANDLERS = {"entry_point"}
"""What only the manifest of a model with handlers has."""
_DIGEST = re.compile(r"[0-9a-f]{64}")


class ArtifactError(Exception):
    """A model folder, or the lack of one, that cannot be served."""


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of the model; -1 in its shape is the batch."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    range: tuple[float, float] | None = None
    """The least and the largest value of a pixel."""
    mean: float | None = None
    """Mean of the training pixels scaled 0 to 1, by which clients may have normalised."""
    std: float | None = None
    """Their standard deviation, likewise."""
    meaning: str | None = None
    """What an output is, one of `MEANINGS`; older models do not say it."""


@dataclass(frozen=True)
class Golden:
    """Inputs in pixels, and the outputs the model must give for them wherever it is loaded.

    Nested lists of numbers, infinities among them: `model.json` writes these as the texts
    "Infinity" and "-Infinity", for which JSON has no numbers.
    """

    inputs: list[Any]
    outputs: list[Any]


@dataclass(frozen=True)
class Manifest:
    """What `model.json` says; `version` and `sha256` are filled in by what writes the folder.

    A model with handlers says what it takes only in their code: its inputs, outputs and golden
    values are empty where nobody has told them.
    """

    name: str
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    golden: Golden = field(default_factory=lambda: Golden([], []))
    labels: tuple[str, ...] | None = None
    """One for each value of the output's last axis, or none."""
    run: str | None = None
    trial_id: str | None = None
    epoch: int | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    format: str = ONNX_FORMAT
    entry_point: str | None = None
    """The script below `code/` that has the handlers; without one, all are the defaults."""
    version: str = ""
    """The first 12 hex digits of the digest of `model.onnx`, or of a list of all files' digests."""
    sha256: Mapping[str, str] = field(default_factory=dict)

    @property
    def has_handlers(self) -> bool:
        """Whether the model's own handlers read request bodies and write replies."""
        return self.format == HANDLERS_FORMAT

    def public(self) -> dict[str, Any]:
        """The manifest as JSON without its golden values, which are many numbers."""
        return {key: value for key, value in _as_json(self).items() if key != "golden"}


def _as_json(manifest: Manifest) -> dict[str, Any]:
    tensors = {
        key: [
            {name: value for name, value in asdict(spec).items() if value is not None}
            for spec in getattr(manifest, key)
        ]
        for key in ("inputs", "outputs")
    }
    golden = {key: _written(value) for key, value in asdict(manifest.golden).items()}
    values = {**asdict(manifest), **tensors, "golden": golden}
    left_out = set() if manifest.format == HANDLERS_FORMAT else _OF_HANDLERS
    return {key: values[key] for key in _ORDER if key not in left_out}


def dump(path: Path, manifest: Manifest) -> bytes:
    """The content of `model.json`; `parse` gives the same manifest back."""
    try:
        return json.dumps(_as_json(manifest), indent=1, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise ArtifactError(f"{path}: cannot be written as JSON: {error}") from error


def parse(path: Path, content: bytes) -> Manifest:
    """The manifest in the content of the `model.json` at that path, which names it in errors."""
    fields = _Fields(path, "", _object(path, content))
    if (kind := fields.text("format")) not in FORMATS:
        fields.refuse("format", f"one of {', '.join(FORMATS)}", kind)
    golden = fields.inner("golden")
    with_handlers = kind == HANDLERS_FORMAT
    return Manifest(
        format=kind,
        name=fields.text("name"),
        version=fields.text("version"),
        entry_point=fields.optional("entry_point", str) if with_handlers else None,
        inputs=fields.tensors("inputs", needed=not with_handlers),
        outputs=fields.tensors("outputs", needed=not with_handlers),
        labels=fields.labels("labels"),
        run=fields.optional("run", str),
        trial_id=fields.optional("trial_id", str),
        epoch=fields.optional("epoch", int),
        config=fields.mapping("config"),
        metrics=fields.mapping("metrics"),
        sha256=fields.digests("sha256"),
        golden=Golden(_numbers(golden.items("inputs")), _numbers(golden.items("outputs"))),
    )


INFINITIES = {"Infinity": math.inf, "-Infinity": -math.inf}


def _written(value: Any) -> Any:
    """Nested numbers as JSON can hold them."""
    if isinstance(value, list):
        return [_written(item) for item in value]
    return next((name for name, infinity in INFINITIES.items() if value == infinity), value)


def _numbers(value: Any) -> Any:
    """Nested numbers as they were written; other texts stay, and fail where they are used."""
    if isinstance(value, list):
        return [_numbers(item) for item in value]
    return INFINITIES.get(value, value) if isinstance(value, str) else value


def _object(path: Path, content: bytes) -> dict[str, Any]:
    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is no JSON number")

    try:
        value = json.loads(content.decode(), parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path}: is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ArtifactError(f"{path}: expected a JSON object, got {type(value).__name__}")
    return value


@dataclass(frozen=True)
class _Fields:
    """A JSON object whose fields are checked as they are taken."""

    path: Path
    where: str
    values: Mapping[str, Any]

    def refuse(self, key: str, expected: str, got: object) -> NoReturn:
        shown = repr(got) if len(repr(got)) < 60 else type(got).__name__
        raise ArtifactError(f"{self.path}: {self.where}{key}: expected {expected}, got {shown}")

    def _take(self, key: str, kind: type, expected: str) -> Any:
        if key not in self.values:
            raise ArtifactError(f"{self.path}: {self.where}{key}: missing; expected {expected}")
        value = self.values[key]
        if not isinstance(value, kind) or isinstance(value, bool):
            self.refuse(key, expected, value)
        return value

    def text(self, key: str) -> str:
        value = self._take(key, str, "text")
        return str(value) if value else self.refuse(key, "text", value)

    def items(self, key: str) -> list[Any]:
        return list(self._take(key, list, "a list"))

    def mapping(self, key: str) -> dict[str, Any]:
        return dict(self._take(key, dict, "an object"))

    def inner(self, key: str) -> "_Fields":
        return _Fields(self.path, f"{self.where}{key}.", self.mapping(key))

    def optional(self, key: str, kind: type) -> Any:
        if self.values.get(key) is None:
            return None
        return self._take(key, kind, f"{kind.__name__} or null")

    def one_of(self, key: str, known: tuple[str, ...]) -> str | None:
        value = self.values.get(key)
        if value is not None and value not in known:
            self.refuse(key, f"one of {', '.join(known)}, or null", value)
        return value

    def number(self, key: str) -> float | None:
        value = self.values.get(key)
        if value is None:
            return None
        return float(value) if _is_number(value) else self.refuse(key, "a number or null", value)

    def bounds(self, key: str) -> tuple[float, float] | None:
        value = self.values.get(key)
        if value is None:
            return None
        if not (isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))):
            self.refuse(key, "[least, largest]", value)
        low, high = map(float, value)
        return (low, high) if low < high else self.refuse(key, "least below largest", value)

    def labels(self, key: str) -> tuple[str, ...] | None:
        value = self.values.get(key)
        if value is None:
            return None
        if not (isinstance(value, list) and value and all(isinstance(x, str) for x in value)):
            self.refuse(key, "a list of texts or null", value)
        return tuple(value)

    def digests(self, key: str) -> dict[str, str]:
        digests = self.mapping(key)
        for name, digest in digests.items():
            if not (isinstance(digest, str) and _DIGEST.fullmatch(digest)):
                self.refuse(f"{key}.{name}", "64 hex digits", digest)
        return digests

    def tensors(self, key: str, *, needed: bool) -> tuple[TensorSpec, ...]:
        items = self.items(key)
        if (needed and not items) or not all(isinstance(item, dict) for item in items):
            self.refuse(key, "a list of objects", items)
        return tuple(
            _Fields(self.path, f"{self.where}{key}[{i}].", item).tensor()
            for i, item in enumerate(items)
        )

    def tensor(self) -> TensorSpec:
        shape = self.items("shape")
        if not all(type(size) is int and (size == -1 or size > 0) for size in shape):
            self.refuse("shape", "sizes, -1 for the batch", shape)
        std = self.number("std")
        if std is not None and std <= 0:
            self.refuse("std", "a number above 0", std)
        return TensorSpec(
            self.text("name"), self.text("dtype"), tuple(shape), self.bounds("range"),
            self.number("mean"), std, self.one_of("meaning", MEANINGS),
        )  # fmt: skip


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
