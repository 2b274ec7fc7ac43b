"""MNIST by a small convolutional network: the built-in trainable, and the template to copy.

Network, optimiser, loss, normalisation and evaluation are those of the PyTorch MNIST example
that Amazon SageMaker's hyperparameter-tuning notebook trains (21,840 parameters).
"""

import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from ray import tune
from torch import Tensor, nn
from torch.nn import functional

from trainables import data
from trainables.contract import Config, InputRange, Metrics, Predict, share
from trainables.data import Digits
from trainables.data_parallel.ranks import team

STATE = "state.pt"
PIXELS = InputRange(low=0.0, high=255.0, mean=0.1307, std=0.3081)
EVALUATION_BATCH = 100  # what a core's own cache holds


class Net(nn.Module):
    """Two convolutions and two dense layers: images (N, 1, 28, 28), normalised, to (N, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 10, kernel_size=5)
        self.conv2 = nn.Conv2d(10, 20, kernel_size=5)
        self.conv2_drop = nn.Dropout2d()
        self.fc1 = nn.Linear(320, 50)
        self.fc2 = nn.Linear(50, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Log-probabilities of the ten digits."""
        x = functional.relu(functional.max_pool2d(self.conv1(x), 2))
        x = functional.relu(functional.max_pool2d(self.conv2_drop(self.conv2(x)), 2))
        # Columns in (channel, row, column) order whatever the memory format.
        x = x.reshape(-1, 320)
        x = functional.dropout(functional.relu(self.fc1(x)), training=self.training)
        return functional.log_softmax(self.fc2(x), dim=1)


class MnistTrainable(tune.Trainable):
    """One trial: an epoch of training and a whole evaluation at every step."""

    labels: ClassVar[tuple[str, ...]] = tuple("0123456789")
    input_range: ClassVar[InputRange] = PIXELS
    input_name: ClassVar[str] = "image"
    output_name: ClassVar[str] = "log_probabilities"
    output_meaning: ClassVar[str] = "log_probabilities"
    data_parallel: ClassVar[bool] = True

    @staticmethod
    def check_config(config: Config) -> None:
        """Raise ValueError for a value that cannot be trained with."""
        batch_size, lr, momentum = config["batch_size"], config["lr"], config["momentum"]
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError(f"batch_size: needs a whole number of at least 1, got {batch_size!r}")
        if not isinstance(lr, (int, float)) or not lr > 0:
            raise ValueError(f"lr: needs a number above 0, got {lr!r}")
        if not isinstance(momentum, (int, float)) or not 0 <= momentum < 1:
            raise ValueError(f"momentum: needs a number from 0 to below 1, got {momentum!r}")

    @staticmethod
    def shared(data_dir: Path | None, download: bool) -> Mapping[str, Digits]:
        """The training and the test digits, as `setup` takes them."""
        train, test = data.load(data_dir, download=download)
        return {"train": train, "test": test}

    def setup(self, config: Config, train: Digits, test: Digits) -> None:  # type: ignore[override]
        """Keep the data, take this trial's share of the machine, and start afresh."""
        mine = share()
        torch.set_num_threads(mine.threads)
        self.team = team()
        self.device = torch.device(mine.device)
        self.train_images, self.train_labels = _tensors(train, self.device)
        self.test_images, self.test_labels = _tensors(test, self.device)
        self.test = test
        self.reset_config(config)

    def reset_config(self, new_config: Config) -> bool:
        """Start afresh with another configuration, in the same process and on the same data."""
        torch.manual_seed(new_config["seed"])
        self.batch_size = int(new_config["batch_size"])
        self.net = Net().to(memory_format=torch.channels_last).to(self.device)
        self.optimizer = torch.optim.SGD(
            self.net.parameters(),
            lr=new_config["lr"],
            momentum=new_config["momentum"],
            fused=True,  # a twelfth less time for a step of 32 images
        )
        self.epoch = 0
        return True

    def step(self) -> Metrics:
        """Train for one epoch, then evaluate on the whole test set."""
        start = time.perf_counter()
        train_loss = self._train()
        outputs = self._predict_test()
        self.epoch += 1
        return {
            **_metrics(outputs, self.test.labels),
            "train_loss": train_loss,
            "epoch": self.epoch,
            "seconds": time.perf_counter() - start,
        }

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write weights, optimiser, epoch and random state."""
        state = {
            "model": self.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "epoch": self.epoch,
            "rng": torch.get_rng_state(),
        }
        if self.device.type == "cuda":
            state["cuda_rng"] = torch.cuda.get_rng_state(self.device)
        torch.save(state, Path(checkpoint_dir, STATE))

    def load_checkpoint(self, checkpoint: dict[str, Any] | str | None) -> None:
        """Go on from what `save_checkpoint` wrote."""
        # The random state of the CPU must stay on the CPU, so all loads there and is copied over.
        state = torch.load(Path(str(checkpoint), STATE), map_location="cpu", weights_only=True)
        self.net.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch = state["epoch"]
        torch.set_rng_state(state["rng"])
        if self.device.type == "cuda" and "cuda_rng" in state:
            torch.cuda.set_rng_state(state["cuda_rng"], self.device)

    def model(self) -> nn.Module:
        """The network as trained so far; it takes normalised images."""
        return self.net

    def example_input(self) -> Tensor:
        """The first two test images, normalised: (2, 1, 28, 28)."""
        return _normalized(self.test_images[:2])

    def evaluate(self, predict: Predict) -> Metrics:
        """The metrics of a network that takes pixels 0 to 255, on the whole test set."""
        pixels = self.test.images[:, None].astype(np.float32)
        batches = range(0, len(pixels), EVALUATION_BATCH)
        outputs = [predict(pixels[start : start + EVALUATION_BATCH]) for start in batches]
        return _metrics(np.concatenate(outputs), self.test.labels)

    def _train(self) -> float:
        """One epoch over shuffled batches; the mean training loss.

        Of several workers each takes its part of every batch, so that together they follow one.
        """
        self.net.train()
        total = torch.zeros((), device=self.device)
        for batch in self._shuffled():
            mine = self.team.part(batch)
            outputs = self.net(_normalized(self.train_images[mine]))
            summed = functional.nll_loss(outputs, self.train_labels[mine], reduction="sum")
            self.optimizer.zero_grad()
            (summed / len(batch)).backward()
            self.team.sum_gradients(self.net.parameters())
            self.optimizer.step()
            total += summed.detach()
        return float(self.team.sum(total)) / len(self.train_labels)

    def _shuffled(self) -> Iterator[Tensor]:
        """Indices of an epoch's batches; the last may be smaller."""
        order = torch.randperm(len(self.train_labels)).to(self.device)
        yield from self.team.same(order).split(self.batch_size)

    @torch.inference_mode()
    def _predict_test(self) -> NDArray[np.float32]:
        """Log-probabilities of all test images, (N, 10)."""
        self.net.eval()
        outputs = torch.zeros(len(self.test_images), len(self.labels), device=self.device)
        batches = zip(
            self.test_images.split(EVALUATION_BATCH), outputs.split(EVALUATION_BATCH), strict=True
        )
        for images, into in list(batches)[self.team.rank :: self.team.size]:
            into.copy_(self.net(_normalized(images)))
        return self.team.sum(outputs).cpu().numpy()


def _tensors(digits: Digits, device: torch.device) -> tuple[Tensor, Tensor]:
    """Images (N, 1, 28, 28) uint8 and labels (N,) int64; on the CPU the images are not copied."""
    with warnings.catch_warnings():
        # The array lies read-only in memory that all trials share; nothing here writes to it.
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        images = torch.from_numpy(digits.images)
    return (
        images.unsqueeze(1).to(device),
        torch.tensor(digits.labels, dtype=torch.int64, device=device),
    )


def _normalized(images: Tensor) -> Tensor:
    """Pixels 0 to 255 as the network takes them."""
    return images.float().div_(PIXELS.high).sub_(PIXELS.mean).div_(PIXELS.std)


def _metrics(outputs: NDArray[np.float32], labels: NDArray[np.uint8]) -> Metrics:
    """Mean negative log-likelihood and accuracy of log-probabilities (N, 10)."""
    wanted = outputs[np.arange(len(labels)), labels].astype(np.float64)
    right = outputs.argmax(axis=1) == labels
    return {"average_test_loss": float(-wanted.mean()), "test_accuracy": float(right.mean())}
