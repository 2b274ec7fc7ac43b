"""Figures of an exported model for its run's report: size, latency, confusions, worst examples.

They are written beside the model, and are no part of it: nothing is served by them, and no digest
covers them. The examples are those of the trainable's `labelled_examples`, for models with labels.
"""

import base64
import io
import json
import os
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.export.user_code import ExportError, describe_error, wrap_errors
from app.run.layout import EVALUATION
from app.storage.files import replace_file
from serve.models.artifact import Artifact
from serve.models.manifest import TensorSpec
from serve.runtime.onnx_predictor import CHUNK, Predictor

RUNS = 100
"""Runs of one input whose times are taken, after a tenth as many that are not."""
LATENCY_S = 1.0
"""Time after which no more of them are made."""
TEST_S = 20.0
"""Time after which no further test examples are run."""
MAX_EXAMPLES = 20_000
MAX_CLASSES = 50
"""Labels up to which confusions are counted: more fill no readable table."""
WORST = 20
"""Examples that are kept: those whose own label had the least probability."""
MAX_PIXELS = 128
"""Width and height up to which an example is kept as a picture."""
_PROBABLE = ("logits", "log_probabilities", "probabilities")
"""Meanings of outputs that give each label a probability."""

Numbers = NDArray[Any]


@dataclass(frozen=True)
class _Examples:
    """Test examples: inputs, (N, …), and the index of the label of each, (N,)."""

    inputs: Numbers
    answers: Numbers


def write_evaluation(folder: Path, trial: Any, model: Artifact, predictor: Predictor) -> str | None:
    """Write the figures of a model into its folder.

    Args:
        folder: The model folder.
        trial: The trial, whose `labelled_examples` is evaluated where it has that.
        model: The model, as it was written.
        predictor: The model, loaded.

    Returns:
        Why there are no figures of the test data, in one sentence; None where there are, or none
        are to be had.
    """
    figures: dict[str, Any] = {
        "model_version": model.manifest.version,
        "size_bytes": len(model.onnx),
        "latency": _measure_latency(predictor),
        "test": None,
    }
    remark = None
    try:
        data = _labelled_examples(trial, predictor)
        figures["test"] = None if data is None else _evaluate(predictor, data)
    except ExportError as error:
        remark = f"its report has no examples: {error}"
    try:
        replace_file(folder / EVALUATION, json.dumps(figures) + "\n")
    except OSError as error:
        return f"its report has no figures: cannot write {folder / EVALUATION}: {error.strerror}"
    return remark


def _measure_latency(predictor: Predictor) -> dict[str, Any]:
    """Time single inputs, in milliseconds, on one thread of this machine as busy as it is."""
    golden = np.asarray(predictor.manifest.golden.inputs[:1], dtype=np.float32)
    times_s: list[float] = []
    ends_at = time.perf_counter() + LATENCY_S
    for run in range(RUNS + RUNS // 10):
        began = time.perf_counter()
        predictor.predict(golden)
        now = time.perf_counter()
        if run >= RUNS // 10 or now > ends_at:
            times_s.append(now - began)
        if now > ends_at:
            break
    middle, high = np.percentile(times_s, [50, 95]) * 1000
    import onnxruntime

    return {
        "median_ms": float(middle),
        "p95_ms": float(high),
        "runs": len(times_s),
        "batch": 1,
        "threads": 1,
        "onnxruntime": onnxruntime.__version__,
        "processor": _processor(),
        "cpus": os.cpu_count(),
    }


def _processor() -> str:
    """Name the processor as Linux does, or by its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.machine()


def _labelled_examples(trial: Any, predictor: Predictor) -> _Examples | None:
    """Return the trial's test data; None where it has none, or the model no probable labels.

    Raises ExportError where the method raised, or gave something else.
    """
    manifest = predictor.manifest
    labels, output = manifest.labels, manifest.outputs[0]
    if not hasattr(trial, "labelled_examples") or labels is None or output.meaning not in _PROBABLE:
        return None
    if output.shape != (-1, len(labels)):
        return None
    with wrap_errors("labelled_examples()"):
        inputs, answers = trial.labelled_examples()
        data = _Examples(np.asarray(inputs), np.asarray(answers))
    expected = manifest.inputs[0].shape[1:]
    if data.inputs.shape[1:] != expected or data.answers.shape != data.inputs.shape[:1]:
        raise ExportError(
            f"labelled_examples() must give inputs of shape (N, {', '.join(map(str, expected))})"
            f" and the index of the label of each, (N,); it gave {list(data.inputs.shape)} and"
            f" {list(data.answers.shape)}"
        )
    is_index = np.issubdtype(data.answers.dtype, np.integer)
    if not len(data.answers):
        return None
    if not is_index or data.answers.min() < 0 or data.answers.max() >= len(labels):
        raise ExportError(
            f"labelled_examples() must give indices of {len(labels)} labels, from 0; it gave"
            f" {data.answers.dtype} from {data.answers.min()} to {data.answers.max()}"
        )
    return data


def _evaluate(predictor: Predictor, data: _Examples) -> dict[str, Any]:
    """Run the test examples, and count what each label was taken for."""
    labels = predictor.manifest.labels
    assert labels is not None
    try:
        probabilities = np.concatenate(list(_probabilities(predictor, data.inputs)))
    except Exception as error:  # ONNX Runtime's exceptions share no other base class.
        raise ExportError(
            f"the model does not run on labelled_examples(): {describe_error(error)}"
        ) from error
    count = len(probabilities)
    answers = data.answers[:count].astype(np.int64)
    taken_for = probabilities.argmax(axis=1)
    confusion = np.zeros((len(labels), len(labels)), dtype=np.int64)
    np.add.at(confusion, (answers, taken_for), 1)
    own = probabilities[np.arange(count), answers]
    worst = [int(index) for index in np.argsort(own, kind="stable")[:WORST]]
    return {
        "labels": list(labels),
        "available": len(data.answers),
        "examples": count,
        "correct": int((taken_for == answers).sum()),
        "confusion": confusion.tolist() if len(labels) <= MAX_CLASSES else None,
        "worst": [
            {
                "index": index,
                "label": labels[answers[index]],
                "taken_for": labels[taken_for[index]],
                "probability": float(own[index]),
                "image": _png(data.inputs[index], predictor.manifest.inputs[0]),
            }
            for index in worst
        ],
    }


def _probabilities(predictor: Predictor, inputs: Numbers) -> Iterator[Numbers]:
    """Yield the probabilities of the labels, (n, labels), for as many inputs as time allows."""
    ends_at = time.perf_counter() + TEST_S
    for start in range(0, min(len(inputs), MAX_EXAMPLES), CHUNK):
        chunk = inputs[start : min(start + CHUNK, MAX_EXAMPLES)].astype(np.float32)
        outputs = predictor.predict(chunk).astype(np.float64)
        if predictor.manifest.outputs[0].meaning != "probabilities":
            outputs = np.exp(outputs - outputs.max(axis=1, keepdims=True))
            outputs /= outputs.sum(axis=1, keepdims=True)
        yield outputs
        if time.perf_counter() > ends_at:
            return


def _png(example: Numbers, spec: TensorSpec) -> str | None:
    """Return an example as a PNG in base64; None for one that is no small picture."""
    pixels = example[0] if example.ndim == 3 and len(example) == 1 else example
    if pixels.ndim == 3 and len(pixels) == 3:
        pixels = np.moveaxis(pixels, 0, -1)
    if pixels.ndim < 2 or pixels.shape[2:] not in ((), (3,)) or max(pixels.shape[:2]) > MAX_PIXELS:
        return None
    low, high = spec.range or (float(pixels.min()), float(pixels.max()))
    shades = (pixels.astype(np.float64) - low) / ((high - low) or 1) * 255
    file = io.BytesIO()
    Image.fromarray(shades.clip(0, 255).astype(np.uint8)).save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode("ascii")
