"""The manifest of a model, `model.json`: its fields, and reading and writing it."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, NoReturn

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

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
"""Meanings of an output: probabilities of a row sum to 1, each sigmoid is a probability of its own,
and values are no probabilities."""
_ORDER = (
    *("format", "name", "version", "entry_point", "inputs", "outputs", "labels", "run"),
    *("trial_id", "epoch", "config", "metrics", "sha256", "golden"),
)
_OF_HANDLERS = {"entry_point"}
"""Fields of manifests of models with handlers alone."""
_NEEDED = (
    *("format", "name", "version", "inputs", "outputs", "config", "metrics", "sha256", "golden"),
)
_EXPECTED = {
    "dataclass_type": "an object",
    "dict_type": "an object",
    "float_type": "a number",
    "int_type": "an integer",
    "list_type": "a list",
    "string_pattern_mismatch": "64 hex digits",
    "string_too_short": "text",
    "string_type": "text",
    "tuple_type": "a list",
}
"""Sentences for pydantic's kinds of errors."""
_SHOWN = 60
"""Longest value that an error quotes."""


class ArtifactError(Exception):
    """A model folder is missing, damaged or cannot be served."""


def _check_size(size: int) -> int:
    if size == 0 or size < -1:
        raise ValueError("sizes, -1 for the batch")
    return size


def _check_range(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] >= bounds[1]:
        raise ValueError("least below largest")
    return bounds


def _check_std(std: float) -> float:
    if std <= 0:
        raise ValueError("a number above 0")
    return std


def _check_choice(choices: tuple[str, ...]) -> AfterValidator:
    def check(value: str) -> str:
        if value not in choices:
            raise ValueError(f"one of {', '.join(choices)}")
        return value

    return AfterValidator(check)


Text = Annotated[str, Field(min_length=1)]
Labels = Annotated[tuple[str, ...], Field(min_length=1)]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of the model; -1 in its shape is a free size, the first the batch."""

    name: Text
    dtype: Text
    shape: tuple[Annotated[int, AfterValidator(_check_size)], ...]
    range: Annotated[tuple[float, float], AfterValidator(_check_range)] | None = None
    """Least and largest value of a pixel."""
    mean: float | None = None
    """Mean of the training pixels, scaled 0 to 1, with which clients may normalise."""
    std: Annotated[float, AfterValidator(_check_std)] | None = None
    """Standard deviation of the training pixels, likewise."""
    meaning: Annotated[str, _check_choice(MEANINGS)] | None = None
    """Meaning of an output, one of `MEANINGS`; absent from older models."""


@dataclass(frozen=True)
class Golden:
    """Inputs in pixels, and the outputs that the model must give for them wherever it is loaded.

    Both are nested lists of numbers. JSON has no infinities, so `model.json` has the texts
    "Infinity" and "-Infinity" for them.
    """

    inputs: list[Any]
    outputs: list[Any]


@dataclass(frozen=True)
class Manifest:
    """The content of `model.json`; writing the folder sets `version` and `sha256`.

    Inputs, outputs and golden values of a model with handlers may be empty: their code defines
    them.
    """

    name: Text
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    golden: Golden = field(default_factory=lambda: Golden([], []))
    labels: Labels | None = None
    """Names of the classes, one for each value of the output's last axis."""
    run: str | None = None
    trial_id: str | None = None
    epoch: int | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    format: Annotated[str, _check_choice(FORMATS)] = ONNX_FORMAT
    entry_point: str | None = None
    """The script in `code/` that defines handlers; without it, all are the defaults."""
    version: str = ""
    """First 12 hex digits of the sha256 of `model.onnx`, or of the list of all files' digests."""
    sha256: Mapping[str, Digest] = field(default_factory=dict)

    @property
    def has_handlers(self) -> bool:
        """Whether the model's own handlers read request bodies and write replies."""
        return self.format == HANDLERS_FORMAT

    def public(self) -> dict[str, Any]:
        """The manifest as JSON, without the many numbers of its golden values."""
        return {key: value for key, value in _as_json(self).items() if key != "golden"}


def _as_json(manifest: Manifest) -> dict[str, Any]:
    tensors = {
        key: [
            {name: value for name, value in asdict(spec).items() if value is not None}
            for spec in getattr(manifest, key)
        ]
        for key in ("inputs", "outputs")
    }
    golden = {key: _encode_numbers(value) for key, value in asdict(manifest.golden).items()}
    values = {**asdict(manifest), **tensors, "golden": golden}
    omitted = set() if manifest.has_handlers else _OF_HANDLERS
    return {key: values[key] for key in _ORDER if key not in omitted}


def dump(path: Path, manifest: Manifest) -> bytes:
    """Encode a manifest as the content of the `model.json` at `path`, which errors begin with."""
    try:
        return json.dumps(_as_json(manifest), indent=1, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise ArtifactError(f"{path}: cannot be written as JSON: {error}") from error


def parse(path: Path, content: bytes) -> Manifest:
    """Parse the content of a `model.json`.

    Args:
        path: Path of the file, which errors begin with.
        content: Its bytes.

    Raises:
        ArtifactError: It is not JSON, or a field is missing or of another kind.
    """
    values = _parse_object(path, content)
    for key in _NEEDED:
        if key not in values:
            raise ArtifactError(f"{path}: {key}: missing")
    try:
        manifest = _adapter().validate_json(content, strict=True)
    except ValidationError as error:
        raise ArtifactError(f"{path}: {_describe(error)}") from error
    if manifest.has_handlers:
        return manifest
    for key in ("inputs", "outputs"):
        if not getattr(manifest, key):
            raise ArtifactError(f"{path}: {key}: expected a list of objects, got []")
    golden = manifest.golden
    decoded = Golden(_decode_numbers(golden.inputs), _decode_numbers(golden.outputs))
    return replace(manifest, entry_point=None, golden=decoded)


@cache
def _adapter() -> TypeAdapter[Manifest]:
    return TypeAdapter(Manifest)


def _describe(error: ValidationError) -> str:
    """Say of the first value that is not as expected where it is, and what would do."""
    first = error.errors(include_url=False)[0]
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
    if first["type"] == "missing":
        return f"{where.removeprefix('.')}: missing"
    expected = _EXPECTED.get(first["type"]) or first["msg"].removeprefix("Value error, ")
    shown = repr(first["input"])
    shown = shown if len(shown) < _SHOWN else type(first["input"]).__name__
    return f"{where.removeprefix('.')}: expected {expected}, got {shown}"


INFINITIES = {"Infinity": math.inf, "-Infinity": -math.inf}


def _encode_numbers(value: Any) -> Any:
    """Replace infinities in nested lists by texts."""
    if isinstance(value, list):
        return [_encode_numbers(item) for item in value]
    return next((name for name, infinity in INFINITIES.items() if value == infinity), value)


def _decode_numbers(value: Any) -> Any:
    """Replace the texts of infinities; other texts stay, and fail when the golden inputs run."""
    if isinstance(value, list):
        return [_decode_numbers(item) for item in value]
    return INFINITIES.get(value, value) if isinstance(value, str) else value


def _parse_object(path: Path, content: bytes) -> dict[str, Any]:
    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not a JSON number")

    try:
        value = json.loads(content.decode(), parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path}: is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ArtifactError(f"{path}: expected a JSON object, got {type(value).__name__}")
    return value
