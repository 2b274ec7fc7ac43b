"""LitServe with ONNX Runtime: batches, and its quick queue, as its documentation makes it fast."""

import os
import sys
from pathlib import Path
from typing import Any

import litserve
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from tests.benchmarks.serving.arms import MODEL_VARIABLE


class Digits(litserve.LitAPI):  # type: ignore[misc]
    """The network as an API of LitServe."""

    def setup(self, device: str) -> None:
        """Load the network, on one thread, as it is loaded for the other servers."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            Path(os.environ[MODEL_VARIABLE], "model.onnx"), options
        )

    def decode_request(self, request: dict[str, Any]) -> NDArray[np.float32]:
        """One image."""
        return np.array(request["instances"], np.float32).reshape(1, 1, 28, 28)

    def batch(self, inputs: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Images together."""
        return np.concatenate(inputs)

    def predict(self, batch: NDArray[np.float32]) -> list[list[float]]:
        """Outputs for all of them."""
        outputs: list[Any] = self.session.run(None, {"image": batch})
        return outputs[0].tolist()  # type: ignore[no-any-return]

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
