"""Verification of an exported model: it computes what the network computes, and its loss."""

from typing import Any

import numpy as np

from app.export.batch_sizes import BATCH_SIZES
from app.export.network import eager_inference, repeat_to_batch
from app.export.prepared_network import PreparedNetwork
from app.export.trial_snapshot import TrialSnapshot
from app.export.user_code import ExportError, wrap_errors
from serve.runtime.onnx_predictor import GOLDEN_TOLERANCE, OnnxPredictor, agree, difference
from trainables.report import flatten_metrics

LOSS_TOLERANCE = 1e-5
"""How far the exported model's loss may be from the recorded one, absolute and relative."""


def compare_outputs(predictor: OnnxPredictor, prepared: PreparedNetwork) -> None:
    """Raise ExportError if model and network differ for a batch of any of the sizes tried."""
    for size in BATCH_SIZES:
        batch = repeat_to_batch(prepared.example, size)
        with eager_inference():
            expected = prepared.network(batch).numpy()
        try:
            outputs = predictor.predict(batch.numpy())
        except Exception as error:  # ONNX Runtime's exceptions share no other base class.
            first = str(error).partition("\n")[0]
            raise ExportError(f"the exported model takes no batch of {size}: {first}") from error
        if outputs.shape != expected.shape:
            raise ExportError(
                f"the exported model gives outputs of shape {list(outputs.shape)} for a batch of"
                f" {size}, the network {list(expected.shape)}"
            )
        if not agree(outputs, expected, GOLDEN_TOLERANCE):
            raise ExportError(
                f"the exported model's outputs for a batch of {size} differ from the network's by"
                f" {difference(outputs, expected):.3g}"
            )


def compare_loss(snapshot: TrialSnapshot, trial: Any, predictor: OnnxPredictor) -> None:
    """Evaluate the model, if the trainable can, and compare its loss with the recorded one.

    Raises:
        ExportError: The loss differs, `evaluate` does not report it, or its code raised.
    """
    if not hasattr(trial, "evaluate"):
        return
    metric = snapshot.experiment.metric
    with wrap_errors("evaluate()"):
        metrics = flatten_metrics(trial.evaluate(predictor.predict))
        loss = float(metrics[metric]) if metric in metrics else None
    if loss is None:
        raise ExportError(f"evaluate() gave no {metric!r}; it gave {', '.join(metrics)}")
    recorded = snapshot.epoch.metrics[metric]
    if not np.isclose(loss, recorded, rtol=LOSS_TOLERANCE, atol=LOSS_TOLERANCE):
        raise ExportError(
            f"the exported model has {metric} {loss:.6f}, trial {snapshot.trial.trial_id} recorded"
            f" {recorded:.6f} in epoch {snapshot.epoch.number}; nothing was written"
        )
