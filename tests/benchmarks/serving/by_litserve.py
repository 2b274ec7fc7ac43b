"""LitServe: batches, and its quick queue, as its documentation says to make it fast."""

import sys
from typing import Any

import litserve
import torch

from tests.benchmarks.serving.network import answer, loaded


class Digits(litserve.LitAPI):  # type: ignore[misc]
    """The network as an API of LitServe."""

    def setup(self, device: str) -> None:
        """Load the network."""
        self.network = loaded()

    def decode_request(self, request: dict[str, Any]) -> torch.Tensor:
        """One image."""
        return torch.tensor(request["instances"], dtype=torch.float32)

    def batch(self, inputs: list[torch.Tensor]) -> torch.Tensor:
        """Images together."""
        return torch.cat(inputs)

    def predict(self, batch: torch.Tensor) -> list[list[float]]:
        """Outputs for all of them."""
        return answer(self.network, batch)

    def unbatch(self, output: list[list[float]]) -> list[list[float]]:
        """Outputs for each."""
        return output

    def encode_response(self, output: list[float]) -> list[list[float]]:
        """Reply."""
        return [output]


if __name__ == "__main__":
    server = litserve.LitServer(
        Digits(max_batch_size=16, batch_timeout=0.002), accelerator="cpu", fast_queue=True
    )
    server.run(port=int(sys.argv[1]), log_level="warning", generate_client_file=False)
