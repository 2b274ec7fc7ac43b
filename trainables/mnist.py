"""Train a small convolutional network on MNIST: the built-in trainable, and a template to copy.

Network, optimizer, loss, normalization and evaluation are those of the PyTorch MNIST example that
Amazon SageMaker's hyperparameter-tuning notebook trains (21,840 parameters). To tune a copy:

    cp trainables/mnist.py my_file.py
    python -m trainables.check my_file.py:MnistTrainable --set lr=0.01 --set batch_size=64 \
        --set momentum=0.5 --metric average_test_loss
    python -m app.tune my_experiment.toml  # with trainable = "my_file.py:MnistTrainable"
"""

import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from ray import tune
from torch import Tensor, nn, optim

from trainables import data
from trainables.contract import Config, InputRange, Metrics, Predict, share
from trainables.data import Digits

STATE = "state.pt"
PIXELS = InputRange(low=0.0, high=255.0, mean=0.1307, std=0.3081)
TEST_BATCH_SIZE = 100  # fits the cache of a CPU core


class Net(nn.Module):
    """Two convolutional and two linear layers with dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 10, kernel_size=5)
        self.conv2 = nn.Conv2d(10, 20, kernel_size=5)
        self.conv2_drop = nn.Dropout2d()
        self.fc1 = nn.Linear(320, 50)
        self.fc2 = nn.Linear(50, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return log-probabilities (N, 10) of normalized images (N, 1, 28, 28)."""
        x = F.relu(F.max_pool2d(self.conv1(x), 2))
        x = F.relu(F.max_pool2d(self.conv2_drop(self.conv2(x)), 2))
        # Columns in (channel, row, column) order whatever the memory format.
        x = x.reshape(-1, 320)
        x = F.dropout(F.relu(self.fc1(x)), training=self.training)
        return F.log_softmax(self.fc2(x), dim=1)


class MnistTrainable(tune.Trainable):
    """One trial: each step trains for an epoch and evaluates on the whole test set."""

    labels: ClassVar[tuple[str, ...]] = tuple("0123456789")
    input_range: ClassVar[InputRange] = PIXELS
    input_name: ClassVar[str] = "image"
    output_name: ClassVar[str] = "log_probabilities"
    output_meaning: ClassVar[str] = "log_probabilities"

    @staticmethod
    def check_config(config: Config) -> None:
        """Raise ValueError for a hyperparameter that cannot be trained with."""
        batch_size, lr, momentum = config["batch_size"], config["lr"], config["momentum"]
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError(f"batch_size: needs a whole number of at least 1, got {batch_size!r}")
        if not isinstance(lr, (int, float)) or not lr > 0:
            raise ValueError(f"lr: needs a number above 0, got {lr!r}")
        if not isinstance(momentum, (int, float)) or not 0 <= momentum < 1:
            raise ValueError(f"momentum: needs a number from 0 to below 1, got {momentum!r}")

    @staticmethod
    def shared(data_dir: Path | None, download: bool) -> Mapping[str, Digits]:
        """Load the dataset once a machine; `setup` gets it as keyword arguments."""
        train, test = data.load(data_dir, download=download)
        return {"train": train, "test": test}

    def setup(self, config: Config, train: Digits, test: Digits) -> None:  # type: ignore[override]
        """Move the dataset to the device that Ray assigned, and build the first trial's network."""
        resources = share()
        torch.set_num_threads(resources.threads)
        self.device = torch.device(resources.device)
        self.train_images, self.train_labels = _to_tensors(train, self.device)
        self.test_images, self.test_labels = _to_tensors(test, self.device)
        self.test = test
        self.reset_config(config)

    def reset_config(self, new_config: Config) -> bool:
        """Start over with another configuration, in the same process and on the same data."""
        torch.manual_seed(new_config["seed"])
        self.batch_size = int(new_config["batch_size"])
        self.net = Net().to(memory_format=torch.channels_last).to(self.device)
        self.optimizer = optim.SGD(
            self.net.parameters(),
            lr=new_config["lr"],
            momentum=new_config["momentum"],
            fused=True,  # a twelfth less time for a step of 32 images
        )
        self.epoch = 0
        return True

    def step(self) -> Metrics:
        """Train for one epoch, then evaluate."""
        start = time.perf_counter()
        train_loss = self._train_epoch()
        outputs = self._predict_test_set()
        self.epoch += 1
        return {
            **compute_metrics(outputs, self.test.labels),
            "train_loss": train_loss,
            "epoch": self.epoch,
            "seconds": time.perf_counter() - start,
        }

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Save weights, optimizer, epoch and random state."""
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
        """Load what `save_checkpoint` saved."""
        # Random states must stay on the CPU; `load_state_dict` copies all else to the device.
        state = torch.load(Path(str(checkpoint), STATE), map_location="cpu", weights_only=True)
        self.net.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch = state["epoch"]
        torch.set_rng_state(state["rng"])
        if self.device.type == "cuda" and "cuda_rng" in state:
            torch.cuda.set_rng_state(state["cuda_rng"], self.device)

    def model(self) -> nn.Module:
        """Return the network, which takes normalized images; export adds the normalization."""
        return self.net

    def example_input(self) -> Tensor:
        """Return the first two test images, normalized: (2, 1, 28, 28)."""
        return normalize(self.test_images[:2])

    def evaluate(self, predict: Predict) -> Metrics:
        """Evaluate an exported network on the whole test set.

        Args:
            predict: Maps pixels (N, 1, 28, 28) from 0 to 255 to log-probabilities (N, 10).
        """
        pixels = self.test.images[:, None].astype(np.float32)
        starts = range(0, len(pixels), TEST_BATCH_SIZE)
        outputs = [predict(pixels[start : start + TEST_BATCH_SIZE]) for start in starts]
        return compute_metrics(np.concatenate(outputs), self.test.labels)

    def labelled_examples(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return the test images (N, 1, 28, 28), and the digit of each (N,)."""
        return self.test.images[:, None], self.test.labels

    def _train_epoch(self) -> float:
        """Train on all images once; return the mean training loss."""
        self.net.train()
        total_loss = torch.zeros((), device=self.device)
        order = torch.randperm(len(self.train_labels)).to(self.device)
        for batch in order.split(self.batch_size):
            output = self.net(normalize(self.train_images[batch]))
            loss = F.nll_loss(output, self.train_labels[batch], reduction="sum")
            self.optimizer.zero_grad()
            (loss / len(batch)).backward()
            self.optimizer.step()
            total_loss += loss.detach()
        return float(total_loss) / len(self.train_labels)

    @torch.inference_mode()
    def _predict_test_set(self) -> NDArray[np.float32]:
        """Return log-probabilities (N, 10) of all test images."""
        self.net.eval()
        batches = self.test_images.split(TEST_BATCH_SIZE)
        outputs = torch.cat([self.net(normalize(images)) for images in batches])
        return outputs.cpu().numpy()


def _to_tensors(digits: Digits, device: torch.device) -> tuple[Tensor, Tensor]:
    """Make images (N, 1, 28, 28) uint8 and labels (N,) int64; images on the CPU are not copied."""
    with warnings.catch_warnings():
        # The array is read-only, in memory that all trials share; nothing here writes to it.
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        images = torch.from_numpy(digits.images)
    return (
        images.unsqueeze(1).to(device),
        torch.tensor(digits.labels, dtype=torch.int64, device=device),
    )


def normalize(images: Tensor) -> Tensor:
    """Scale pixels from 0 to 255 to mean 0 and standard deviation 1."""
    return images.float().div_(PIXELS.high).sub_(PIXELS.mean).div_(PIXELS.std)


def compute_metrics(outputs: NDArray[np.float32], labels: NDArray[np.uint8]) -> Metrics:
    """Compute the mean loss and the accuracy of log-probabilities (N, 10)."""
    target_outputs = outputs[np.arange(len(labels)), labels].astype(np.float64)
    correct = outputs.argmax(axis=1) == labels
    return {
        "average_test_loss": float(-target_outputs.mean()),
        "test_accuracy": float(correct.mean()),
    }
