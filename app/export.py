"""From a trial's best checkpoint to a CPU model that gives the loss recorded for it."""

import copy
import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from ray.tune import Trainable
from torch import Tensor, nn

from app.experiment import Experiment
from app.journal import Epoch, Trial
from app.places import fetched
from serve import artifact
from serve.artifact import Artifact, ArtifactError, Golden, Manifest, TensorSpec
from serve.engine import OnnxPredictor
from serve.meaning import find_meaning, last_operation
from trainables.contract import InputRange, meaning_of

TOLERANCE = 1e-5
"""How far the exported model's loss may be from the recorded one."""
GOLDEN_IMAGES = 2


class ExportError(Exception):
    """A trial that gives no model, or a model that does not give what was recorded."""


class Pixels(nn.Module):
    """A network with its normalisation inside: it takes pixels as they come."""

    def __init__(self, network: nn.Module, scale: InputRange) -> None:
        super().__init__()
        self.network = network
        self.scale = scale

    def forward(self, pixels: Tensor) -> Tensor:
        """The network's outputs for pixels from low to high."""
        scaled = (pixels / self.scale.high - self.scale.mean) / self.scale.std
        outputs: Tensor = self.network(scaled)
        return outputs


@dataclass(frozen=True)
class Source:
    """The trial that is exported, and all that is needed to build it again."""

    run: str
    experiment: Experiment
    trainable: type[Trainable]
    shared: Mapping[str, Any]
    trial: Trial
    epoch: Epoch
    checkpoint: Path


def best_source(
    folder: Path,
    experiment: Experiment,
    trainable: type[Trainable],
    shared: Mapping[str, Any],
    trial: Trial,
) -> Source:
    """The trial at its best epoch; raises ExportError where it has no checkpoint of it."""
    epoch = trial.best_epoch
    if epoch is None:
        raise ExportError(f"trial {trial.trial_id} reported no finite {experiment.metric}")
    name = trial.checkpoints.get(epoch["epoch"])
    checkpoint = None if name is None else fetched(folder, name)
    if checkpoint is None or not checkpoint.is_dir():
        raise ExportError(
            f"trial {trial.trial_id} has no checkpoint of epoch {epoch['epoch']}, its best"
        )
    return Source(folder.name, experiment, trainable, shared, trial, epoch, checkpoint)


def export(source: Source, folder: Path) -> Artifact:
    """Write the model folder, whole or not at all, and give what was written.

    Raises ExportError where the trainable gives no model, where the model has no ONNX form, or
    where the model's loss is not the recorded one.
    """
    for needed in ("model", "example_input"):
        if not hasattr(source.trainable, needed):
            raise ExportError(f"{source.experiment.trainable} has no {needed}(): nothing to export")
    trial = _rebuilt(source)
    try:
        network, example = _network(trial)
        onnx = to_onnx(network, example, *_names(trial))
        manifest = _manifest(source, trial, network, example)
        manifest = _with_meaning(manifest, trial, onnx, network, example)
        predictor = OnnxPredictor(Artifact(manifest, onnx))
        _verify(source, trial, predictor)
        files = {"model.onnx": onnx, "weights.safetensors": _weights(trial.model())}
        return artifact.write(folder, manifest, files)
    except ArtifactError as error:
        raise ExportError(f"the exported model is not sound: {error}") from error
    except OSError as error:
        raise ExportError(f"cannot write {folder}: {error.strerror}") from error
    finally:
        trial.cleanup()


def warm_up() -> None:
    """Import what exporting needs and export once, so that the true export is quick."""
    to_onnx(nn.Conv2d(1, 1, 1), torch.zeros(2, 1, 2, 2), "input", "output")


def to_onnx(network: nn.Module, example: Tensor, input_name: str, output_name: str) -> bytes:
    """The network as ONNX in one piece, its batch free; raises ExportError where it has no form."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # The exporter warns of its own insides, which neither its users nor ours can change.
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                network,
                (example,),
                dynamo=True,
                input_names=[input_name],
                output_names=[output_name],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                verbose=False,
            )
        assert program is not None  # the dynamo exporter always gives one
        content: bytes = program.model_proto.SerializeToString()
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ExportError(f"the network has no ONNX form: {reason[0]}") from error
    finally:
        log.setLevel(level)
    return content


def _rebuilt(source: Source) -> Any:
    """The trainable in this process, on the CPU, as it was after the epoch."""
    shared = source.shared
    base = source.trainable

    class Rebuilt(base):  # type: ignore[misc, valid-type]
        def setup(self, config: dict[str, Any]) -> None:
            base.setup(self, config, **shared)

    experiment = source.experiment
    config = {**experiment.fixed, **source.trial.config, "seed": experiment.seed}
    trial = Rebuilt(config=config)
    trial.restore(str(source.checkpoint))
    return trial


def _network(trial: Any) -> tuple[nn.Module, Tensor]:
    """The network on the CPU, in its plain layout, taking pixels; and pixels as an example."""
    network = copy.deepcopy(trial.model()).cpu().eval()
    network = network.to(memory_format=torch.contiguous_format)
    example = trial.example_input().detach().cpu().float()
    scale = getattr(trial, "input_range", None)
    if scale is None:
        return network, example
    pixels = ((example * scale.std + scale.mean) * scale.high).round()
    return Pixels(network, scale).eval(), pixels.clamp(scale.low, scale.high)


def _names(trial: Any) -> tuple[str, str]:
    return getattr(trial, "input_name", "input"), getattr(trial, "output_name", "output")


def _manifest(source: Source, trial: Any, network: nn.Module, example: Tensor) -> Manifest:
    inputs = example[:GOLDEN_IMAGES]
    with torch.inference_mode():
        outputs = network(inputs)
    input_name, output_name = _names(trial)
    scale = getattr(trial, "input_range", None)
    ranged = (
        {}
        if scale is None
        else {"range": (scale.low, scale.high), "mean": scale.mean, "std": scale.std}
    )
    labels = getattr(trial, "labels", None)
    return Manifest(
        name=source.experiment.name,
        inputs=(TensorSpec(input_name, "float32", (-1, *inputs.shape[1:]), **ranged),),
        outputs=(TensorSpec(output_name, "float32", (-1, *outputs.shape[1:])),),
        golden=Golden(inputs.tolist(), outputs.tolist()),
        labels=None if labels is None else tuple(labels),
        run=source.run,
        trial_id=source.trial.trial_id,
        epoch=source.epoch["epoch"],
        config=source.trial.config,
        metrics={name: value for name, value in source.epoch.items() if name != "epoch"},
    )


def _with_meaning(
    manifest: Manifest, trial: Any, onnx: bytes, network: nn.Module, example: Tensor
) -> Manifest:
    """The manifest with what the output is: as the class says, or as the whole example tells."""
    meaning = meaning_of(trial)
    if meaning is None:
        with torch.inference_mode():
            outputs = network(example.clone()).numpy()
        meaning = find_meaning(outputs, manifest.labels, last_operation(onnx))
    output = replace(manifest.outputs[0], meaning=meaning)
    return replace(manifest, outputs=(output, *manifest.outputs[1:]))


def _verify(source: Source, trial: Any, predictor: OnnxPredictor) -> None:
    """Evaluate the exported model where the trainable can; the loss must be the recorded one."""
    if not hasattr(trial, "evaluate"):
        return
    metric = source.experiment.metric
    found, recorded = trial.evaluate(predictor.predict)[metric], source.epoch[metric]
    if not np.isclose(found, recorded, rtol=0, atol=TOLERANCE):
        raise ExportError(
            f"the exported model has {metric} {found:.6f}, trial {source.trial.trial_id} recorded"
            f" {recorded:.6f} in epoch {source.epoch['epoch']}; nothing was written"
        )


def _weights(network: nn.Module) -> bytes:
    tensors = {
        name: tensor.detach().cpu().contiguous().clone()
        for name, tensor in network.state_dict().items()
    }
    return safetensors.torch.save(tensors)
