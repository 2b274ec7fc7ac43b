"""The process group of a trial's workers, for trainables that share each batch out among them.

With one worker every method returns its argument, so that a trainable is written once. The default
group of `torch.distributed` is the same group, for `DistributedDataParallel` and
`DistributedSampler`.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, distributed


@dataclass(frozen=True)
class ProcessGroup:
    """The workers that train a trial together, seen from one of them."""

    rank: int = 0
    """The number of this worker, from 0."""
    world_size: int = 1
    """The number of workers."""

    def shard(self, batch: Tensor) -> Tensor:
        """Return this worker's shard of a batch, split along the first axis.

        Shards differ by one example at most; where workers are more than examples, some are empty.
        """
        return batch.tensor_split(self.world_size)[self.rank]

    def broadcast(self, values: Tensor) -> Tensor:
        """Overwrite the values by those of rank 0, and return them."""
        if self.world_size > 1:
            distributed.broadcast(values, src=0)
        return values

    def all_reduce(self, values: Tensor) -> Tensor:
        """Overwrite the values by their sum over all workers, and return them."""
        if self.world_size > 1:
            distributed.all_reduce(values)
        return values

    @torch.no_grad()
    def all_reduce_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace each gradient by its sum over all workers.

        Where each worker's loss is the sum over its shard, divided by the size of the whole batch,
        this is the gradient of the whole batch's mean loss, however the shards differ in size.
        """
        if self.world_size == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        # In one call, since each costs more than the numbers that it sends.
        total = self.all_reduce(torch.cat([gradient.reshape(-1) for gradient in gradients]))
        sums = total.split([gradient.numel() for gradient in gradients])
        for gradient, summed in zip(gradients, sums, strict=True):
            gradient.copy_(summed.view(gradient.shape))


def process_group() -> ProcessGroup:
    """Return the group of this process; it is the same from `setup` on."""
    if not distributed.is_available() or not distributed.is_initialized():
        return ProcessGroup()
    return ProcessGroup(distributed.get_rank(), distributed.get_world_size())
