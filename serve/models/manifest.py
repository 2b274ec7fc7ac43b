"""The manifest of a model, `model.json`: its fields, and reading and writing it."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from serve.models.fields import FieldError, Fields

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


class ArtifactError(Exception):
    """A model folder is missing, damaged or cannot be served."""


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of the model; -1 in its shape is a free size, the first the batch."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    range: tuple[float, float] | None = None
    """Least and largest value of a pixel."""
    mean: float | None = None
    """Mean of the training pixels, scaled 0 to 1, with which clients may normalise."""
    std: float | None = None
    """Standard deviation of the training pixels, likewise."""
    meaning: str | None = None
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

    name: str
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    golden: Golden = field(default_factory=lambda: Golden([], []))
    labels: tuple[str, ...] | None = None
    """Names of the classes, one for each value of the output's last axis."""
    run: str | None = None
    trial_id: str | None = None
    epoch: int | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    format: str = ONNX_FORMAT
    entry_point: str | None = None
    """The script in `code/` that defines handlers; without it, all are the defaults."""
    version: str = ""
    """First 12 hex digits of the sha256 of `model.onnx`, or of the list of all files' digests."""
    sha256: Mapping[str, str] = field(default_factory=dict)

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
    try:
        return _parse_fields(Fields(_parse_object(path, content)))
    except FieldError as error:
        raise ArtifactError(f"{path}: {error}") from error


def _parse_fields(fields: Fields) -> Manifest:
    if (kind := fields.text("format")) not in FORMATS:
        fields.refuse("format", f"one of {', '.join(FORMATS)}", kind)
    golden = fields.fields("golden")
    with_handlers = kind == HANDLERS_FORMAT
    inputs = fields.list_of_fields("inputs", may_be_empty=with_handlers)
    outputs = fields.list_of_fields("outputs", may_be_empty=with_handlers)
    return Manifest(
        format=kind,
        name=fields.text("name"),
        version=fields.text("version"),
        entry_point=fields.optional("entry_point", str) if with_handlers else None,
        inputs=tuple(map(_parse_tensor, inputs)),
        outputs=tuple(map(_parse_tensor, outputs)),
        labels=fields.texts("labels"),
        run=fields.optional("run", str),
        trial_id=fields.optional("trial_id", str),
        epoch=fields.optional("epoch", int),
        config=fields.mapping("config"),
        metrics=fields.mapping("metrics"),
        sha256=fields.digests("sha256"),
        golden=Golden(
            _decode_numbers(golden.items("inputs")), _decode_numbers(golden.items("outputs"))
        ),
    )


def _parse_tensor(fields: Fields) -> TensorSpec:
    shape = fields.items("shape")
    if not all(type(size) is int and (size == -1 or size > 0) for size in shape):
        fields.refuse("shape", "sizes, -1 for the batch", shape)
    std = fields.number("std")
    if std is not None and std <= 0:
        fields.refuse("std", "a number above 0", std)
    return TensorSpec(
        fields.text("name"), fields.text("dtype"), tuple(shape), fields.bounds("range"),
        fields.number("mean"), std, fields.choice("meaning", MEANINGS),
    )  # fmt: skip


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
