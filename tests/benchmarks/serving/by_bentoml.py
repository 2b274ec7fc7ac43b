"""BentoML: a service that batches, as its documentation says to make it fast."""

import bentoml
import numpy as np
import torch
from numpy.typing import NDArray

from tests.benchmarks.serving.network import answer, loaded


@bentoml.service(workers=1, metrics={"enabled": False})
class Digits:
    """The network as a service of BentoML."""

    def __init__(self) -> None:
        self.network = loaded()

    @bentoml.api(batchable=True, max_batch_size=16)  # type: ignore[untyped-decorator]
    def predict(self, instances: NDArray[np.float32]) -> NDArray[np.float32]:
        """Outputs for all of them."""
        return np.array(answer(self.network, torch.from_numpy(instances)), np.float32)
