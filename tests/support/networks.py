"""Small networks such as users bring, what is right for each, and the way of each through export.

`CASES` has them by name; `snapshot` gives one as a trial that is ready to be exported.
"""

import re
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import safetensors.torch
import torch
from numpy.typing import NDArray
from ray import tune
from torch import Tensor, nn
from torch.nn.utils import prune

from app.experiment import schema
from app.export.batch_sizes import BATCH_SIZES
from app.export.network import eager_inference, repeat_to_batch, unwrap
from app.export.onnx_model import export_onnx
from app.export.trial_snapshot import TrialSnapshot
from app.export.user_code import ExportError
from app.run.status import TrialStatus
from app.run.trial import Epoch, Trial
from serve.errors import NotFoundError
from serve.formats.codecs import JSON
from serve.formats.requests import read_prediction
from serve.runtime.onnx_predictor import Predictor, agree, load

PIXELS = (4, 1, 8, 8)
INPUTS = 64


@dataclass(frozen=True)
class Case:
    """A network, its example, and what comes out of an export that is right."""

    build: Callable[[], nn.Module]
    right: str
    """In words."""
    refused: str = ""
    """Part of the sentence that refuses it; empty if it is exported."""
    shape: tuple[int, ...] = PIXELS
    labels: tuple[Any, ...] | None = None
    example: Callable[[tuple[int, ...]], Any] = torch.rand
    remark: str = ""
    """Remark of the export."""
    meaning: str = "values"
    """Meaning of its outputs."""
    probabilities: Callable[[Tensor], Tensor] | None = None
    """Those of its outputs, which `/predict` is to give with its labels."""


def softmax(outputs: Tensor) -> Tensor:
    """The probabilities of logits."""
    return outputs.softmax(1)


def as_they_are(outputs: Tensor) -> Tensor:
    """Those of outputs that are probabilities."""
    return outputs


def of_the_second(outputs: Tensor) -> Tensor:
    """Those of two labels, of which the one output is the second's."""
    return torch.cat([1 - outputs, outputs], 1)


class Around(nn.Module):
    """One layer of `outputs` numbers and a forward pass of one's own around it."""

    def __init__(self, outputs: int = 3) -> None:
        super().__init__()
        self.linear = nn.Linear(INPUTS, outputs)

    def forward(self, x: Tensor) -> Any:
        return self.linear(x.flatten(1))


class Star(Around):
    def forward(self, *inputs: Tensor) -> Any:
        return super().forward(inputs[0])


class ChangesItsInput(Around):
    def forward(self, x: Tensor) -> Any:
        x.mul_(2).add_(-1)
        return super().forward(x)


class Squeezes(Around):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x).squeeze()


class Masks(Around):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("never", torch.tensor([0.0, -torch.inf, 0.0]))

    def forward(self, x: Tensor) -> Any:
        return super().forward(x) + self.never


class Keeps(Around):
    """Keeps what it computed, and a lock: neither can be copied."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()
        self.kept: Tensor | None = None

    def forward(self, x: Tensor) -> Any:
        self.kept = super().forward(x)
        return self.kept


class TwoOutputs(Around):
    def forward(self, x: Tensor) -> Any:
        return {"logits": super().forward(x), "size": x.abs().sum((1, 2, 3))}


class TwoInputs(Around):
    def forward(self, x: Tensor, y: Tensor) -> Any:  # type: ignore[override]
        return super().forward(x + y)


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(12, 3)

    def forward(self, ids: Tensor) -> Any:
        return self.embedding(ids).mean(1)


class Autocasts(Around):
    def forward(self, x: Tensor) -> Any:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return super().forward(x)


class FixedBatch(Around):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x) * torch.ones(4, 1)


class DrawsNumbers(Around):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x + torch.rand_like(x))


class Branches(Around):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x if float(x.detach().sum()) > 0 else -x)


class CompiledPart(Around):
    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.compile(self.linear, backend="eager")  # type: ignore[assignment]


def layers(*last: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(INPUTS, 8), nn.ReLU(), nn.Linear(8, 3), *last)


def compiled() -> Any:
    return torch.compile(layers(), backend="eager")


def compiled_in_place() -> nn.Module:
    network = layers()
    network.compile(backend="eager")
    return network


def weight_norm() -> nn.Module:
    network = layers()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated, and in use
        nn.utils.weight_norm(network[1])  # its weight is no leaf, which nothing can copy
    return network


def pruned() -> nn.Module:
    network = layers()
    prune.l1_unstructured(network[1], "weight", 0.25)
    return network


def large() -> nn.Module:
    network = Around()
    network.linear.weight.data *= 1e4
    return network


def ids(shape: tuple[int, ...]) -> Tensor:
    return torch.randint(0, 12, shape)


CASES = {
    "compiled": Case(compiled, "exported, without what torch.compile put around it"),
    "compiled_in_place": Case(compiled_in_place, "exported"),
    "compiled_part": Case(CompiledPart, "exported"),
    "data_parallel": Case(lambda: nn.DataParallel(layers()), "exported, without the wrapper"),
    "old_weight_norm": Case(weight_norm, "exported"),
    "pruned": Case(pruned, "exported"),
    "star_arguments": Case(Star, "exported"),
    "changes_its_input": Case(ChangesItsInput, "exported, with the inputs that it was given"),
    "keeps_an_activation_and_a_lock": Case(Keeps, "exported"),
    "squeezed": Case(lambda: Squeezes(1), "exported, also right for a single input"),
    "large_outputs": Case(large, "exported: tolerances are relative too"),
    "masked_class": Case(
        Masks,
        "exported: equal infinities are equal; /predict gives that class 0",
        labels=("x", "y", "z"),
        meaning="logits",
        probabilities=softmax,
    ),
    "ends_in_softmax": Case(
        lambda: layers(nn.Softmax(1)),
        "exported; /predict gives its own probabilities",
        labels=("no", "yes", "x"),
        meaning="probabilities",
        probabilities=as_they_are,
    ),
    "one_sigmoid": Case(
        lambda: nn.Sequential(Around(1), nn.Sigmoid()),
        "exported; /predict gives 'yes' the sigmoid and 'no' the rest",
        labels=("no", "yes"),
        meaning="sigmoids",
        probabilities=of_the_second,
    ),
    "one_logit": Case(
        lambda: Around(1),
        "exported; /predict gives 'yes' its sigmoid and 'no' the rest",
        labels=("no", "yes"),
        meaning="logits",
        probabilities=lambda outputs: of_the_second(outputs.sigmoid()),
    ),
    "several_sigmoids": Case(
        lambda: layers(nn.Sigmoid()),
        "exported; /predict gives each label its own",
        labels=("x", "y", "z"),
        meaning="sigmoids",
        probabilities=as_they_are,
    ),
    "log_softmax": Case(
        lambda: layers(nn.LogSoftmax(1)),
        "exported; /predict gives the exponentials",
        labels=("x", "y", "z"),
        meaning="log_probabilities",
        probabilities=torch.exp,
    ),
    "labels_are_numbers": Case(
        layers,
        "exported, with labels that are texts",
        labels=(0, 1, 2),
        meaning="logits",
        probabilities=softmax,
    ),
    "a_map_of_classes": Case(
        lambda: nn.Conv2d(1, 3, 1),
        "exported; /predict says that there is no one label",
        labels=("x", "y", "z"),
        meaning="logits",
    ),
    "half_precision": Case(
        lambda: layers().half(), "exported as float32, with a remark", remark="float16"
    ),
    "double_precision": Case(
        lambda: layers().double(), "exported as float32, with a remark", remark="float64"
    ),
    "too_few_labels": Case(
        layers, "refused: 2 labels for 3 outputs", "2 labels", labels=("a", "b")
    ),
    "two_outputs": Case(TwoOutputs, "refused: several outputs", r"a dict of 2 \(logits, size\)"),
    "two_inputs": Case(
        TwoInputs,
        "refused: several inputs",
        "several inputs",
        example=lambda shape: (torch.rand(shape), torch.rand(shape)),
    ),
    "token_ids": Case(Tokens, "refused: ids are no float32", "int64", shape=(4, 6), example=ids),
    "autocast": Case(Autocasts, "refused: says bfloat16", "bfloat16"),
    "fixed_batch": Case(FixedBatch, "refused: says that the batch is fixed", "batch is fixed at 4"),
    "draws_numbers": Case(DrawsNumbers, "refused: says that it is random", "random"),
    "branches": Case(Branches, "refused: has no graph", "no ONNX form: "),
}


class Bringing(tune.Trainable):
    """Brings a case's network; nothing is learned."""

    case: Case

    def setup(self, config: dict[str, Any]) -> None:
        torch.manual_seed(config["seed"])
        self.network = self.case.build()

    def step(self) -> dict[str, Any]:
        return {"loss": 1.0}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        Path(checkpoint_dir, "nothing").touch()

    def load_checkpoint(self, checkpoint: Any) -> None:
        """There is nothing to load."""

    def model(self) -> nn.Module:
        return self.network

    def example_input(self) -> Any:
        return self.case.example(self.case.shape)


def trainable(case: Case) -> type[Bringing]:
    """A trainable that brings the case's network."""
    labels = {} if case.labels is None else {"labels": case.labels}
    return type("Brought", (Bringing,), {"case": case, **labels})


FixedBatchNetwork = trainable(CASES["fixed_batch"])
"""For experiments that name it: its search is sound, and its export is refused."""
SoundNetwork = trainable(CASES["star_arguments"])
"""Likewise; it is exported."""


def snapshot(brought: type[tune.Trainable], folder: Path) -> TrialSnapshot:
    """A trial of a trainable, in an empty run folder, as it is exported."""
    (folder / "checkpoint").mkdir(parents=True, exist_ok=True)
    table = {
        "name": "brought",
        "trainable": "brought.py:Brought",
        "metric": "loss",
        "mode": "min",
        "space": {"lr": {"type": "continuous", "low": 0.0, "high": 1.0}},
        "fixed": {"width": 8},
        "seed": 3,
    }
    trial = Trial("001", {"lr": 0.5}, status=TrialStatus.COMPLETED)
    trial.best_epoch = Epoch(1, {"loss": 1.0})
    asked = schema.from_table(table)
    checkpoint, own = folder / "checkpoint", folder / "trials/001"
    return TrialSnapshot(folder, asked, brought, {}, trial, trial.best_epoch, checkpoint, own)


class Wrong(Exception):
    """The export is not as the case expects."""


def outcome(case: Case, folder: Path) -> str:
    """Put a case through an export, and say what came out; raises Wrong where it is not right."""
    brought = trainable(case)
    try:
        exported = export_onnx(snapshot(brought, folder), folder / "model")
    except ExportError as error:
        if not (case.refused and re.search(case.refused, str(error))) or "\n" in str(error):
            raise Wrong(f"refused: {error}") from error
        return f"refused: {error}"
    if case.refused:
        raise Wrong("exported")
    if case.remark not in " ".join(exported.remarks) or bool(case.remark) != bool(exported.remarks):
        raise Wrong(f"exported with the remarks {exported.remarks}")
    _check_answers(case, folder / "model")
    return "; ".join(("exported", *exported.remarks))


def _check_answers(case: Case, folder: Path) -> None:
    """Raise Wrong unless the model answers as the network does, which has the weights kept."""
    torch.manual_seed(3)
    network = unwrap(case.build()).eval()
    weights = safetensors.torch.load_file(folder / "weights.safetensors")
    if set(weights) != set(network.state_dict()):
        raise Wrong(f"its weights are {', '.join(weights)}")
    predictor, example = load(folder), case.example(case.shape)
    for size in BATCH_SIZES:
        batch = repeat_to_batch(example, size)
        with eager_inference():
            expected = network.float()(batch.clone()).numpy()
        found = predictor.predict(batch.numpy())
        # One that loses the batch axis at a single input is given it back.
        if len(found) != size or not agree(found, expected.reshape(found.shape), 1e-4):
            raise Wrong(f"other outputs for a batch of {size}")
    _check_predictions(case, predictor, repeat_to_batch(example, 3).numpy())


def _check_predictions(case: Case, predictor: Predictor, batch: NDArray[np.float32]) -> None:
    """Raise Wrong unless `/predict` says of the outputs what they mean."""
    (output,) = predictor.manifest.outputs
    if output.meaning != case.meaning:
        raise Wrong(f"its outputs are {output.meaning}")
    body, outputs = orjson.dumps({"instances": batch.tolist()}), predictor.predict(batch)
    try:
        request = read_prediction(body, predictor.manifest, content_type=JSON)
    except NotFoundError as error:
        if case.labels is None or case.probabilities is not None:
            raise Wrong(f"no predictions: {error}") from error
        return
    said = orjson.loads(request.respond(predictor.predict(request.inputs)).body)["predictions"]
    if case.probabilities is None:
        found = [prediction["outputs"][0]["values"] for prediction in said]
        right, names = outputs, list[str | None]([None] * len(batch))
    else:
        found = [prediction["probabilities"] for prediction in said]
        right = case.probabilities(torch.from_numpy(outputs)).numpy()
        names = [str((case.labels or ())[best]) for best in right.argmax(1)]
    if not agree(np.array(found, np.float32), right, 1e-5):
        raise Wrong(f"predicts {found}")
    if [prediction.get("label") for prediction in said] != names:
        raise Wrong(f"labels {said}")
