"""What a trainable needs to train with several workers: `team()`, by which a batch is shared out.

With one worker every method gives back what it was given, so that a trainable is written once.
`torch.distributed` itself is there as well, for `DistributedDataParallel` and the like.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, distributed


@dataclass(frozen=True)
class Team:
    """The workers that train a trial together, seen from one of them."""

    rank: int = 0
    """This worker's number, from 0."""
    size: int = 1
    """How many there are."""

    def part(self, batch: Tensor) -> Tensor:
        """This worker's part of a batch: parts differ by one at most, and may be empty."""
        return batch.tensor_split(self.size)[self.rank]

    def same(self, values: Tensor) -> Tensor:
        """The first worker's values, on all of them."""
        if self.size > 1:
            distributed.broadcast(values, src=0)
        return values

    def sum(self, values: Tensor) -> Tensor:
        """The sum of all workers' values, on all of them; the values are written over."""
        if self.size > 1:
            distributed.all_reduce(values)
        return values

    @torch.no_grad()
    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace each gradient by the sum of all workers' gradients.

        Where each worker's loss is the sum over its part, divided by the size of the whole batch,
        this is the gradient of the whole batch's mean loss, however the parts differ in size.
        """
        if self.size == 1:
            return
        gradients = [each.grad for each in parameters if each.grad is not None]
        # Together, since each exchange costs more than what is exchanged.
        total = self.sum(torch.cat([gradient.reshape(-1) for gradient in gradients]))
        parts = total.split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view(gradient.shape))


def team() -> Team:
    """The team that this process is in; from `setup` on it stays the same."""
    if not distributed.is_available() or not distributed.is_initialized():
        return Team()
    return Team(distributed.get_rank(), distributed.get_world_size())
