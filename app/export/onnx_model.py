"""Export of a trial's checkpoint as a model folder: an ONNX model with the recorded loss."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor, nn

from app.export.evaluation import write_evaluation
from app.export.network import eager_inference, repeat_to_batch, unwrap
from app.export.onnx_conversion import to_onnx
from app.export.prepared_network import PreparedNetwork, prepare_network
from app.export.restored_trial import restored_trial
from app.export.trial_snapshot import TrialSnapshot
from app.export.user_code import ExportError, wrap_errors
from app.export.verification import compare_loss, compare_outputs
from app.storage.files import replace_file
from serve.models import artifact
from serve.models.artifact import Artifact, ArtifactError, Golden, Manifest, TensorSpec
from serve.models.output_meaning import contradiction, find_meaning, last_operation
from serve.runtime.onnx_predictor import OnnxPredictor
from trainables.contract import TrainableError, check_labels, read_labels, read_output_meaning

GOLDEN_IMAGES = 2
"""Inputs whose outputs are written beside the model; every server that loads it checks them."""


@dataclass(frozen=True)
class OnnxExport:
    """The model folder that was written."""

    artifact: Artifact
    remarks: tuple[str, ...]
    """Sentences for the user: how the network was changed, and what its report lacks."""


def export_onnx(
    snapshot: TrialSnapshot, folder: Path, *, weights: Path | None = None
) -> OnnxExport:
    """Write a model folder of the trial, whole or not at all.

    Args:
        snapshot: The trial and its checkpoint.
        folder: The model folder.
        weights: A file to which the network's weights are written if the export fails.

    Raises:
        ExportError: The trainable has no model, its code raised, the network has no ONNX form, or
            the model's outputs or loss differ from the network's.
    """
    with restored_trial(snapshot) as trial:
        try:
            with _all_as_export_error(folder):
                return _write_model(snapshot, trial, folder)
        except ExportError:
            if weights is not None:
                with suppress(ExportError):
                    _write_weights(trial, weights)
            raise


def check_export(snapshot: TrialSnapshot) -> None:
    """Do all of an export but the comparison of losses and writing; raise as `export_onnx` does."""
    with restored_trial(snapshot) as trial, _all_as_export_error(snapshot.run_folder):
        _to_safetensors(_build_model(snapshot, trial).prepared.user_network)


def check_network(snapshot: TrialSnapshot) -> None:
    """Run a trial's network at several batch sizes.

    Raises:
        NetworkError: It takes only some of them, or gives outputs that a model cannot give.
        ExportError: Anything else failed.
    """
    with restored_trial(snapshot) as trial, _all_as_export_error(snapshot.run_folder):
        prepare_network(trial)


@contextmanager
def _all_as_export_error(place: Path) -> Iterator[None]:
    """Turn any exception, also of writing to `place`, into an ExportError."""
    with wrap_errors("the export"):
        try:
            yield
        except ArtifactError as error:
            raise ExportError(f"the exported model is not sound: {error}") from error
        except OSError as error:
            raise ExportError(f"cannot write {place}: {error.strerror or error}") from error


@dataclass(frozen=True)
class _Model:
    """A model in memory, whose outputs are those of the network."""

    prepared: PreparedNetwork
    artifact: Artifact
    predictor: OnnxPredictor


def _write_model(snapshot: TrialSnapshot, trial: Any, folder: Path) -> OnnxExport:
    model = _build_model(snapshot, trial)
    compare_loss(snapshot, trial, model.predictor)
    weights = _to_safetensors(model.prepared.user_network)
    files = {"model.onnx": model.artifact.onnx, "weights.safetensors": weights}
    written = artifact.write(folder, model.artifact.manifest, files)
    remark = write_evaluation(folder, trial, written, model.predictor)
    return OnnxExport(written, (*model.prepared.remarks, *([remark] if remark else [])))


def _build_model(snapshot: TrialSnapshot, trial: Any) -> _Model:
    """Convert the trial's network and compare the model's outputs with the network's."""
    prepared = prepare_network(trial)
    names = getattr(trial, "input_name", "input"), getattr(trial, "output_name", "output")
    manifest = _manifest(snapshot, trial, prepared, *names)
    network = prepared.network
    onnx = to_onnx(network, prepared.example, *names, output_shape=network.output_shape)
    content = Artifact(_with_meaning(manifest, trial, onnx, prepared), onnx)
    model = _Model(prepared, content, OnnxPredictor(content))
    compare_outputs(model.predictor, prepared)
    return model


def _manifest(
    snapshot: TrialSnapshot,
    trial: Any,
    prepared: PreparedNetwork,
    input_name: str,
    output_name: str,
) -> Manifest:
    inputs = repeat_to_batch(prepared.example, GOLDEN_IMAGES)
    with eager_inference():
        outputs = prepared.network(inputs)
    input_range = prepared.network.input_range
    input_spec = TensorSpec(input_name, "float32", (-1, *inputs.shape[1:]))
    if input_range is not None:
        pixels = (input_range.low, input_range.high)
        input_spec = replace(input_spec, range=pixels, mean=input_range.mean, std=input_range.std)
    return Manifest(
        name=snapshot.experiment.name,
        inputs=(input_spec,),
        outputs=(TensorSpec(output_name, "float32", (-1, *outputs.shape[1:])),),
        golden=Golden(inputs.tolist(), outputs.tolist()),
        labels=_labels(trial, outputs),
        run=snapshot.run_folder.name,
        trial_id=snapshot.trial.trial_id,
        epoch=snapshot.epoch.number,
        config=snapshot.config,
        metrics=dict(snapshot.epoch.metrics),
    )


def _with_meaning(
    manifest: Manifest, trial: Any, onnx: bytes, prepared: PreparedNetwork
) -> Manifest:
    """Add the meaning of the outputs: declared by the class, or inferred from the example."""
    try:
        meaning = read_output_meaning(trial)
    except TrainableError as error:
        raise ExportError(str(error)) from error
    with eager_inference():
        outputs = prepared.network(prepared.example).numpy()
    if meaning is None:
        meaning = find_meaning(outputs, manifest.labels, last_operation(onnx))
    elif (wrong := contradiction(meaning, outputs, manifest.labels)) is not None:
        raise ExportError(
            f"output_meaning: is {meaning!r}, but the outputs for example_input() {wrong};"
            " leave it out, and the export finds what they are"
        )
    output = replace(manifest.outputs[0], meaning=meaning)
    return replace(manifest, outputs=(output, *manifest.outputs[1:]))


def _labels(trial: Any, outputs: Tensor) -> tuple[str, ...] | None:
    """Return the trainable's labels; raise ExportError if they do not fit the outputs."""
    try:
        labels = read_labels(trial)
        if labels is not None:
            check_labels(labels, outputs.shape)
    except TrainableError as error:
        raise ExportError(str(error)) from error
    return labels


def _write_weights(trial: Any, path: Path) -> None:
    """Write the weights of a trial's network alone; raise ExportError if that fails."""
    with _all_as_export_error(path):
        with wrap_errors(getattr(trial, "model_by", "model()")):
            network = unwrap(trial.model())
        replace_file(path, _to_safetensors(network))


def _to_safetensors(network: nn.Module) -> bytes:
    """Serialize the network's tensors; safetensors cannot hold anything else of its state."""
    with wrap_errors("state_dict()"):
        tensors = {
            name: tensor.detach().cpu().contiguous().clone()
            for name, tensor in network.state_dict().items()
            if isinstance(tensor, Tensor)
        }
        return safetensors.torch.save(tensors)
