"""Ray Serve: one replica that batches, in its throughput mode."""

import io
import signal
import sys

import numpy as np
import ray
import torch
from numpy.typing import NDArray
from ray import serve as ray_serve
from starlette.requests import Request

from tests.benchmarks.serving.network import answer, loaded


@ray_serve.deployment(num_replicas=1, max_ongoing_requests=100, ray_actor_options={"num_cpus": 1})
class Digits:
    """The network as a deployment."""

    def __init__(self) -> None:
        self.network = loaded()

    @ray_serve.batch(max_batch_size=16, batch_wait_timeout_s=0.0)
    async def answers(self, images: list[NDArray[np.uint8]]) -> list[list[list[float]]]:
        """Outputs for all of them."""
        return [[row] for row in answer(self.network, torch.from_numpy(np.concatenate(images)))]

    async def __call__(self, request: Request) -> list[list[float]]:
        """One image as NPY."""
        image = np.load(io.BytesIO(await request.body()), allow_pickle=False)
        outputs: list[list[float]] = await self.answers(image)
        return outputs


if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    ray_serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    ray_serve.run(Digits.bind(), route_prefix="/")  # type: ignore[attr-defined]
    signal.pause()
