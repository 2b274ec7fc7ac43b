"""A trainable that keeps every promise."""

import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from ray import tune
from torch import Tensor, nn

CONFIG = {"lr": 0.1}


STATE = "state.pt"


class Sound(tune.Trainable):
    """Keeps every promise there is: a line is fitted to noise, and its input dropped out."""

    labels: ClassVar[tuple[str, ...]] = ("low", "high")

    @staticmethod
    def check_config(config: dict[str, Any]) -> None:
        if not config["lr"] > 0:
            raise ValueError(f"lr: needs a number above 0, got {config['lr']}")

    @staticmethod
    def shared(data_dir: Path | None, download: bool) -> Mapping[str, Any]:
        return {"data": torch.linspace(-1, 1, 24).reshape(8, 3)}

    def setup(self, config: dict[str, Any], data: Tensor) -> None:  # type: ignore[override]
        self.data = data
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        torch.manual_seed(new_config["seed"])
        self.net: nn.Module = nn.Linear(3, 2)
        self.optimizer = torch.optim.SGD(self.net.parameters(), new_config["lr"], momentum=0.9)
        return True

    def step(self) -> dict[str, Any]:
        loss = self.net(nn.functional.dropout(self.data)).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return {"loss": self.loss(self.net), "noise": random.random()}

    def loss(self, network: Callable[[Tensor], Tensor]) -> float:
        with torch.inference_mode():
            return float(network(self.data).square().mean())

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        state = [self.net.state_dict(), self.optimizer.state_dict(), torch.get_rng_state()]
        torch.save(state, Path(checkpoint_dir, STATE))

    def load_checkpoint(self, checkpoint: Any) -> None:
        weights, optimizer, rng = torch.load(Path(checkpoint, STATE), weights_only=True)
        self.net.load_state_dict(weights)
        self.optimizer.load_state_dict(optimizer)
        torch.set_rng_state(rng)

    def model(self) -> nn.Module:
        return self.net

    def example_input(self) -> Tensor:
        return self.data[:2]

    def evaluate(self, predict: Any) -> dict[str, Any]:
        return {"loss": self.loss(lambda data: torch.from_numpy(predict(data.numpy())))}
