"""Running a model: `load` gives a predictor that is verified and warm."""

import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from serve.models.artifact import Artifact, ArtifactError, read
from serve.models.manifest import SIGMOIDS, Manifest, TensorSpec
from serve.models.output_meaning import find_meaning, last_operation

Floats = NDArray[np.float32]

CHUNK = 64
"""Images at once: more is no faster per image and costs memory for the layers between."""
GOLDEN_TOLERANCE = 1e-4
"""How far a value may be from the golden one: absolute, and relative to it, together."""


class Predictor(Protocol):
    """A model that is ready: everything that the server needs of one."""

    @property
    def manifest(self) -> Manifest:
        """What the model says of itself."""

    def predict(self, pixels: Floats) -> Floats:
        """The model's raw outputs, one for each of the inputs along the first axis."""


class OnnxPredictor:
    """A model on ONNX Runtime, on the CPU, with one thread."""

    def __init__(self, artifact: Artifact) -> None:
        self._manifest = artifact.manifest
        self._session = _session(artifact.onnx)
        self._input = self._manifest.inputs[0].name
        self._outputs = [output.name for output in self._manifest.outputs]
        self._alone: _Alone | None = None
        _check_signature(self._session, self._manifest)
        if -1 not in (*self._manifest.inputs[0].shape[1:], *self._manifest.outputs[0].shape[1:]):
            self._alone = _Alone(self._session, self._manifest)
        _check_golden(self)
        self._manifest = _with_meaning(artifact)

    @property
    def manifest(self) -> Manifest:
        """What the model says of itself."""
        return self._manifest

    def predict(self, pixels: Floats) -> Floats:
        """The model's raw outputs, one for each of the inputs along the first axis."""
        if len(pixels) == 1 and self._alone is not None:
            return self._alone.run(pixels)
        if len(pixels) <= CHUNK:
            return self._run(pixels)
        starts = range(0, len(pixels), CHUNK)
        return np.concatenate([self._run(pixels[start : start + CHUNK]) for start in starts])

    def _run(self, pixels: Floats) -> Floats:
        outputs: Floats = self._session.run(self._outputs, {self._input: pixels})[0]
        return outputs


class _Alone:
    """One input at a time, in arrays bound once: binding takes as long as a small network."""

    def __init__(self, session: Any, manifest: Manifest) -> None:
        given, wanted = manifest.inputs[0], manifest.outputs[0]
        self._input = np.zeros((1, *given.shape[1:]), np.float32)
        self._output = np.zeros((1, *wanted.shape[1:]), np.float32)
        self._session = session
        self._binding = session.io_binding()
        for bind, name, array in (
            (self._binding.bind_input, given.name, self._input),
            (self._binding.bind_output, wanted.name, self._output),
        ):
            bind(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)
        self._lock = threading.Lock()

    def run(self, pixels: Floats) -> Floats:
        """The outputs for one input."""
        with self._lock:
            np.copyto(self._input, pixels)
            self._session.run_with_iobinding(self._binding)
            return self._output.copy()


def load(folder: Path) -> Predictor:
    """The model of that folder, verified and run once; an `ArtifactError` if it is not sound."""
    return OnnxPredictor(read(folder))


def _session(onnx: bytes) -> Any:
    # Once it is loaded it has made a file with a number for this device, and may send more.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4  # What fails is raised; the log would say it twice.
    try:
        return onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own exceptions share no class but this.
        reason = str(error).splitlines()[0]
        raise ArtifactError(f"model.onnx: ONNX Runtime cannot load it: {reason}") from error


def _check_signature(session: Any, manifest: Manifest) -> None:
    pairs = (
        ("inputs", manifest.inputs, session.get_inputs()),
        ("outputs", manifest.outputs, session.get_outputs()),
    )
    for key, declared, actual in pairs:
        if len(declared) != 1 or len(actual) != 1 or not _agree(declared[0], actual[0]):
            found = ", ".join(f"{node.name} {node.type} {node.shape}" for node in actual)
            said = ", ".join(f"{spec.name} {spec.dtype} {list(spec.shape)}" for spec in declared)
            raise ArtifactError(
                f"model.onnx: its {key} are {found}, but model.json says {said}; "
                "one float32 tensor with a free batch is served"
            )


def _agree(spec: TensorSpec, node: Any) -> bool:
    sizes = [size if isinstance(size, int) else -1 for size in node.shape]
    return (
        (spec.name, spec.dtype, node.type) == (node.name, "float32", "tensor(float)")
        and spec.shape[:1] == (-1,)
        and sizes[:1] == [-1]
        and len(spec.shape) == len(sizes)
        and all(size in (-1, said) for said, size in zip(spec.shape, sizes, strict=True))
    )


def _with_meaning(artifact: Artifact) -> Manifest:
    """The manifest; of an older one, what its output means is found from its golden values."""
    manifest = artifact.manifest
    if not manifest.outputs or manifest.outputs[0].meaning is not None:
        return manifest
    golden = np.asarray(manifest.golden.outputs, dtype=np.float32)
    meaning = find_meaning(golden, manifest.labels)
    if meaning == SIGMOIDS:  # So few numbers may lie in 0 to 1 by chance: the network says more.
        meaning = find_meaning(golden, manifest.labels, last_operation(artifact.onnx))
    outputs = (replace(manifest.outputs[0], meaning=meaning), *manifest.outputs[1:])
    return replace(manifest, outputs=outputs)


def _check_golden(predictor: OnnxPredictor) -> None:
    golden = predictor.manifest.golden
    try:
        inputs = np.asarray(golden.inputs, dtype=np.float32)
        expected = np.asarray(golden.outputs, dtype=np.float32)
        outputs = predictor.predict(inputs)
        if len(inputs):  # One alone takes a way of its own.
            outputs[:1] = predictor.predict(inputs[:1])
    except Exception as error:  # Whatever fails here, the model is not what its manifest says.
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
    """Whether each value is within the tolerance, absolute and relative together.

    Equal infinities agree; NaN agrees with nothing.
    """
    return bool(np.allclose(found, expected, rtol=tolerance, atol=tolerance))


def difference(found: Floats, expected: Floats) -> float:
    """The largest distance of a value from the expected one; of equal infinities it is 0."""
    with np.errstate(invalid="ignore"):
        return float(np.max(np.where(found == expected, 0, np.abs(found - expected))))
