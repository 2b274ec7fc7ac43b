"""Figures that export wrote beside a model, in the words of a report."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from app.run.layout import EVALUATION


def read(model: Path) -> dict[str, Any]:
    """Read a model's figures; empty where an older version exported it, or they cannot be read."""
    try:
        figures = json.loads((model / EVALUATION).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return figures if isinstance(figures, dict) else {}


def speed(figures: Mapping[str, Any]) -> str:
    """Return the latency of a single input with its conditions."""
    found = figures["latency"]
    times = f"{found['median_ms']:.3g} ms, 95 % within {found['p95_ms']:.3g} ms"
    return (
        f"{times} (median of {found['runs']} runs at export, {found['threads']} thread of"
        f" {found['processor']} with {found['cpus']} CPUs, ONNX Runtime {found['onnxruntime']})"
    )


def size(figures: Mapping[str, Any]) -> str:
    """Return the size of the ONNX file."""
    kilobytes = figures["size_bytes"] / 1000
    return f"{kilobytes / 1000:.1f} MB" if kilobytes >= 1000 else f"{kilobytes:.0f} kB"


def test(figures: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return accuracy, confusions and the worst examples; None without test data."""
    found = figures["test"]
    if found is None:
        return None
    count, correct = found["examples"], found["correct"]
    of_all = "" if count == found["available"] else f" (the first of {found['available']:,})"
    confusion = found["confusion"]
    worst = [
        {
            **{key: example[key] for key in ("index", "label", "taken_for", "image")},
            "probability": f"{example['probability']:.2%}",
        }
        for example in found["worst"]
    ]
    return {
        "accuracy": f"{correct / count:.2%}",
        "examples": f"{count:,}{of_all}",
        "wrong": f"{count - correct:,}",
        "labels": found["labels"],
        "confusion": None if confusion is None else list(_rows(found["labels"], confusion)),
        "worst": worst,
    }


def _rows(labels: list[str], confusion: list[list[int]]) -> Iterator[tuple[str, list[Any]]]:
    """Yield a label and the cells of its row, each with its share of the greatest of its kind."""
    size = range(len(labels))
    right = max((confusion[i][i] for i in size), default=0) or 1
    wrong = max((confusion[i][j] for i in size for j in size if i != j), default=0) or 1
    for i, label in enumerate(labels):
        cells = []
        for j, count in enumerate(confusion[i]):
            kind = "none" if count == 0 else "right" if i == j else "wrong"
            share = count / (right if i == j else wrong)
            cells.append({"count": count, "kind": kind, "share": f"{share:.3f}"})
        yield label, cells
