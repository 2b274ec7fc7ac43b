"""From a trial's best checkpoint to a CPU model that gives the loss recorded for it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
from torch import Tensor, nn

from app.export.network import BATCHES, Prepared, eager, plain, prepare, rows
from app.export.onnx_graph import quiet, to_onnx
from app.export.trial_source import Source
from app.export.user_errors import ExportError, promised, told
from app.run.journal import PARTIAL
from serve.models import artifact
from serve.models.artifact import Artifact, ArtifactError, Golden, Manifest, TensorSpec
from serve.models.output_meaning import contradiction, find_meaning, last_operation
from serve.runtime.onnx_backend import GOLDEN_TOLERANCE, OnnxPredictor, agree, difference
from trainables.contract import TrainableError, check_labels, flat, labels_of, meaning_of

TOLERANCE = 1e-5
"""How far the exported model's loss may be from the recorded one, absolute and relative to it."""
GOLDEN_IMAGES = 2
log = logging.getLogger(__name__)
RAYS = "ray.tune.trainable.trainable"
"""The logger that tells of each checkpoint that is loaded."""


@dataclass(frozen=True)
class Exported:
    """The model that was written, and what the user should know of it."""

    artifact: Artifact
    remarks: tuple[str, ...]


def export(source: Source, folder: Path, *, weights: Path | None = None) -> Exported:
    """Write the model folder, whole or not at all, and give what was written.

    Raises ExportError where the trainable gives no model, where its code raises, where the model
    has no ONNX form, or where the model's loss is not the recorded one. The network's weights are
    then written to `weights`, where that is given and they can be had.
    """
    with _rebuilt(source) as trial:
        try:
            with _sound(folder):
                return _written(source, trial, folder)
        except ExportError:
            if weights is not None:
                with suppress(ExportError):
                    _keep(trial, weights)
            raise


def rehearse(source: Source) -> None:
    """Do all of an export but to evaluate the model and write it; raises what `export` raises."""
    with _rebuilt(source) as trial, _sound(source.folder):
        _weights(_model(source, trial).prepared.plain)


def try_network(source: Source) -> None:
    """Run a trial's network at several batch sizes; raises NetworkError where it takes only some.

    What else goes wrong raises ExportError.
    """
    with _rebuilt(source) as trial, _sound(source.folder):
        prepare(trial)


def _written(source: Source, trial: Any, folder: Path) -> Exported:
    model = _model(source, trial)
    _verify(source, trial, model.predictor)
    weights = _weights(model.prepared.plain)
    files = {"model.onnx": model.artifact.onnx, "weights.safetensors": weights}
    written = artifact.write(folder, model.artifact.manifest, files)
    return Exported(written, model.prepared.remarks)


def _keep(trial: Any, path: Path) -> None:
    """Write the weights of a trial alone; raises ExportError."""
    with _sound(path):
        with promised("model()"):
            network = plain(trial.model())
        partial = path.with_name(f".{path.name}{PARTIAL}")
        partial.write_bytes(_weights(network))
        partial.replace(path)


@contextmanager
def _sound(place: Path) -> Iterator[None]:
    """Raise ExportError for whatever goes wrong, also where a folder or the disk refuses."""
    with promised("the export"):
        try:
            yield
        except ArtifactError as error:
            raise ExportError(f"the exported model is not sound: {error}") from error
        except OSError as error:
            raise ExportError(f"cannot write {place}: {error.strerror or error}") from error


@contextmanager
def _rebuilt(source: Source) -> Iterator[Any]:
    """The trainable in this process, on the CPU, as it was after the epoch."""
    for needed in ("model", "example_input"):
        if not hasattr(source.trainable, needed):
            raise ExportError(f"{source.experiment.trainable} has no {needed}(): nothing to export")
    with quiet(RAYS):
        with promised("setup()"):
            trial = _class(source)(config=source.config)
        try:
            if source.checkpoint is not None:
                with promised("load_checkpoint()"):
                    trial.restore(str(source.checkpoint))
            yield trial
        finally:
            _clean_up(trial)


def _clean_up(trial: Any) -> None:
    """Let the trial put its things away; what it raises changes nothing in the model."""
    try:
        trial.cleanup()
    except (Exception, SystemExit) as error:
        log.warning("cleanup() raised %s", told(error))


def _class(source: Source) -> Any:
    shared, base = source.shared, source.trainable

    class Rebuilt(base):  # type: ignore[misc, valid-type]
        def _setup_logdir(self) -> None:
            # Ray's own makes a folder in the user's home.
            self._logdir = str(source.folder)
            self.trial_folder = source.trial_folder

        def setup(self, config: dict[str, Any]) -> None:
            base.setup(self, config, **shared)

    Rebuilt.__name__ = base.__name__
    return Rebuilt


@dataclass(frozen=True)
class _Model:
    """A model that gives what the network gives, and is not written yet."""

    prepared: Prepared
    artifact: Artifact
    predictor: OnnxPredictor


def _model(source: Source, trial: Any) -> _Model:
    """The trial's network as a model that gives what the network gives, at every batch size."""
    prepared = prepare(trial)
    names = getattr(trial, "input_name", "input"), getattr(trial, "output_name", "output")
    manifest = _manifest(source, trial, prepared, *names)
    onnx = to_onnx(prepared.network, prepared.example, *names, row=prepared.network.row)
    content = Artifact(_with_meaning(manifest, trial, onnx, prepared), onnx)
    model = _Model(prepared, content, OnnxPredictor(content))
    _compare(model.predictor, prepared)
    return model


def _manifest(
    source: Source, trial: Any, prepared: Prepared, input_name: str, output_name: str
) -> Manifest:
    inputs = rows(prepared.example, GOLDEN_IMAGES)
    with eager():
        outputs = prepared.network(inputs)
    scale = prepared.network.scale
    given = TensorSpec(input_name, "float32", (-1, *inputs.shape[1:]))
    if scale is not None:
        pixels = (scale.low, scale.high)
        given = replace(given, range=pixels, mean=scale.mean, std=scale.std)
    return Manifest(
        name=source.experiment.name,
        inputs=(given,),
        outputs=(TensorSpec(output_name, "float32", (-1, *outputs.shape[1:])),),
        golden=Golden(inputs.tolist(), outputs.tolist()),
        labels=_labels(trial, outputs),
        run=source.folder.name,
        trial_id=source.trial.trial_id,
        epoch=source.epoch["epoch"],
        config=source.config,
        metrics={name: value for name, value in source.epoch.items() if name != "epoch"},
    )


def _with_meaning(manifest: Manifest, trial: Any, onnx: bytes, prepared: Prepared) -> Manifest:
    """The manifest with what the output is: as the class says, or as the whole example tells."""
    try:
        meaning = meaning_of(trial)
    except TrainableError as error:
        raise ExportError(str(error)) from error
    with eager():
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
    """The trainable's labels; raises ExportError where they do not fit the outputs."""
    try:
        labels = labels_of(trial)
        if labels is not None:
            check_labels(labels, outputs.shape)
    except TrainableError as error:
        raise ExportError(str(error)) from error
    return labels


def _compare(predictor: OnnxPredictor, prepared: Prepared) -> None:
    """Raise ExportError where the model and the network differ for a batch of some size."""
    for size in BATCHES:
        batch = rows(prepared.example, size)
        with eager():
            expected = prepared.network(batch).numpy()
        try:
            found = predictor.predict(batch.numpy())
        except Exception as error:  # ONNX Runtime's own exceptions share no class but this.
            first = str(error).partition("\n")[0]
            raise ExportError(f"the exported model takes no batch of {size}: {first}") from error
        if found.shape != expected.shape:
            raise ExportError(
                f"the exported model gives outputs of shape {list(found.shape)} for a batch of"
                f" {size}, the network {list(expected.shape)}"
            )
        if not agree(found, expected, GOLDEN_TOLERANCE):
            raise ExportError(
                f"the exported model's outputs for a batch of {size} differ from the network's by"
                f" {difference(found, expected):.3g}"
            )


def _verify(source: Source, trial: Any, predictor: OnnxPredictor) -> None:
    """Evaluate the exported model where the trainable can; the loss must be the recorded one."""
    if not hasattr(trial, "evaluate"):
        return
    metric = source.experiment.metric
    with promised("evaluate()"):
        metrics = flat(trial.evaluate(predictor.predict))
        found = float(metrics[metric]) if metric in metrics else None
    if found is None:
        raise ExportError(f"evaluate() gave no {metric!r}; it gave {', '.join(metrics)}")
    recorded = source.epoch[metric]
    if not np.isclose(found, recorded, rtol=TOLERANCE, atol=TOLERANCE):
        raise ExportError(
            f"the exported model has {metric} {found:.6f}, trial {source.trial.trial_id} recorded"
            f" {recorded:.6f} in epoch {source.epoch['epoch']}; nothing was written"
        )


def _weights(network: nn.Module) -> bytes:
    """The network's tensors; what else its state holds, safetensors has no place for."""
    with promised("state_dict()"):
        tensors = {
            name: tensor.detach().cpu().contiguous().clone()
            for name, tensor in network.state_dict().items()
            if isinstance(tensor, Tensor)
        }
        return safetensors.torch.save(tensors)
