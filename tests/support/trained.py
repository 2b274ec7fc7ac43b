"""A network that has seen a slice of MNIST for as long as a test can wait, as a model folder."""

from pathlib import Path
from typing import Any

from app.experiment import loading
from app.export.onnx_model import export_onnx
from app.export.trial_snapshot import best_snapshot
from app.run.status import TrialStatus
from app.run.trial import Epoch, Trial
from trainables.data import Digits
from trainables.mnist import MnistTrainable

CONFIG = {"lr": 0.05, "batch_size": 32}
EPOCHS = 2


def trained(folder: Path, *, images: int) -> Path:
    """A model folder in the folder, trained on so many images; the same every time."""
    whole = MnistTrainable.shared(None, False)
    slices = {"train": images, "test": 1000}
    shared = {
        name: Digits(whole[name].images[:size], whole[name].labels[:size])
        for name, size in slices.items()
    }

    class Built(MnistTrainable):
        def setup(self, config: dict[str, Any]) -> None:  # type: ignore[override]
            super().setup(config, **shared)

    defaults = loading.load(None, {})
    network = Built(config={**CONFIG, **defaults.fixed, "seed": defaults.seed})
    history = [network.step() for _ in range(EPOCHS)]
    checkpoint = folder / "checkpoint"
    checkpoint.mkdir()
    network.save_checkpoint(str(checkpoint))
    trial = Trial("001", dict(CONFIG), status=TrialStatus.COMPLETED)
    trial.best_epoch = Epoch.from_json({**history[-1], "epoch": EPOCHS})
    trial.checkpoints[EPOCHS] = checkpoint.name
    snapshot = best_snapshot(folder, defaults, MnistTrainable, shared, trial)
    export_onnx(snapshot, folder / "model")
    return folder / "model"
