"""An ONNX model on ONNX Runtime, verified by its golden values as it is loaded."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from serve.formats.arrays import Floats
from serve.models.artifact import Artifact, ArtifactError, read
from serve.models.manifest import SIGMOIDS, Manifest, TensorSpec
from serve.models.output_meaning import find_meaning, last_operation

CHUNK = 64
"""Inputs per call: more are no faster each, and take memory for the layers between."""
GOLDEN_TOLERANCE = 1e-4
"""Largest distance of a value from the golden one, absolute plus relative."""


class Predictor(Protocol):
    """A loaded network, from arrays to arrays; a fake one needs these two members alone."""

    @property
    def manifest(self) -> Manifest:
        """The content of the model's `model.json`."""

    def predict(self, pixels: Floats) -> Floats:
        """Run the network on inputs of shape `(N, …)`; returns its first output, `(N, …)`."""


class OnnxPredictor:
    """A model on ONNX Runtime, on one thread of the CPU.

    Raises ArtifactError where ONNX Runtime cannot load the model, or its outputs for the golden
    inputs differ from the golden outputs.
    """

    def __init__(self, artifact: Artifact) -> None:
        self._manifest = artifact.manifest
        self._session = _create_session(artifact.onnx)
        self._input = self._manifest.inputs[0].name
        self._outputs = [output.name for output in self._manifest.outputs]
        _check_signature(self._session, self._manifest)
        _check_golden(self)
        self._manifest = _add_meaning(artifact)

    @property
    def manifest(self) -> Manifest:
        """The content of the model's `model.json`."""
        return self._manifest

    def predict(self, pixels: Floats) -> Floats:
        """Run the network on inputs of shape `(N, …)`; returns its first output, `(N, …)`."""
        if len(pixels) <= CHUNK:
            return self._run(pixels)
        starts = range(0, len(pixels), CHUNK)
        return np.concatenate([self._run(pixels[start : start + CHUNK]) for start in starts])

    def _run(self, pixels: Floats) -> Floats:
        outputs: Floats = self._session.run(self._outputs, {self._input: pixels})[0]
        return outputs


def load(folder: Path) -> Predictor:
    """Load the model of a folder and verify it; raises ArtifactError if it is not sound."""
    return OnnxPredictor(read(folder))


def _create_session(onnx: bytes) -> Any:
    # Without this, loading it writes an id of this device to a file, and may send data.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4  # Failures are raised; the log would repeat them.
    try:
        return onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions share no other class.
        reason = str(error).splitlines()[0]
        raise ArtifactError(f"model.onnx: ONNX Runtime cannot load it: {reason}") from error


def _check_signature(session: Any, manifest: Manifest) -> None:
    pairs = (
        ("inputs", manifest.inputs, session.get_inputs()),
        ("outputs", manifest.outputs, session.get_outputs()),
    )
    for key, declared, actual in pairs:
        if len(declared) != 1 or len(actual) != 1 or not _matches(declared[0], actual[0]):
            found = ", ".join(f"{node.name} {node.type} {node.shape}" for node in actual)
            expected = ", ".join(
                f"{spec.name} {spec.dtype} {list(spec.shape)}" for spec in declared
            )
            raise ArtifactError(
                f"model.onnx: its {key} are {found}, but model.json says {expected}; "
                "one float32 tensor with a free batch is served"
            )


def _matches(spec: TensorSpec, node: Any) -> bool:
    sizes = [size if isinstance(size, int) else -1 for size in node.shape]
    return (
        (spec.name, spec.dtype, node.type) == (node.name, "float32", "tensor(float)")
        and spec.shape[:1] == (-1,)
        and sizes[:1] == [-1]
        and len(spec.shape) == len(sizes)
        and all(size in (-1, declared) for declared, size in zip(spec.shape, sizes, strict=True))
    )


def _add_meaning(artifact: Artifact) -> Manifest:
    """Infer the output's meaning from the golden values where an older manifest has none."""
    manifest = artifact.manifest
    if not manifest.outputs or manifest.outputs[0].meaning is not None:
        return manifest
    golden = np.asarray(manifest.golden.outputs, dtype=np.float32)
    meaning = find_meaning(golden, manifest.labels)
    if meaning == SIGMOIDS:  # Few numbers may lie in 0 to 1 by chance.
        meaning = find_meaning(golden, manifest.labels, last_operation(artifact.onnx))
    outputs = (replace(manifest.outputs[0], meaning=meaning), *manifest.outputs[1:])
    return replace(manifest, outputs=outputs)


def _check_golden(predictor: OnnxPredictor) -> None:
    golden = predictor.manifest.golden
    try:
        inputs = np.asarray(golden.inputs, dtype=np.float32)
        expected = np.asarray(golden.outputs, dtype=np.float32)
        outputs = predictor.predict(inputs)
    except Exception as error:  # Any failure contradicts the manifest.
        reason = str(error).splitlines()[0]
        raise ArtifactError(f"model.json: golden: the inputs do not run: {reason}") from error
    if not len(inputs) or outputs.shape != expected.shape:
        raise ArtifactError(
            f"model.json: golden: outputs have shape {list(expected.shape)}, "
            f"the model gives {list(outputs.shape)}"
        )
    if not agree(outputs, expected, GOLDEN_TOLERANCE):
        raise ArtifactError(
            f"model.onnx: its outputs differ from the golden ones by"
            f" {difference(outputs, expected):.3g}, more than {GOLDEN_TOLERANCE:g} and"
            f" {GOLDEN_TOLERANCE:g} of their values"
        )


def agree(found: Floats, expected: Floats, tolerance: float) -> bool:
    """Whether each value is within the tolerance, absolute plus relative.

    Equal infinities agree; NaN agrees with nothing.
    """
    return bool(np.allclose(found, expected, rtol=tolerance, atol=tolerance))


def difference(found: Floats, expected: Floats) -> float:
    """Return the largest distance of a value from the expected one; 0 for equal infinities."""
    with np.errstate(invalid="ignore"):
        return float(np.max(np.where(found == expected, 0, np.abs(found - expected))))
