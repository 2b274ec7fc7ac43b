"""The built-in trainable on a slice of MNIST, in double precision and without dropout if asked.

So the rounding of its sums does not grow, and two workers compute what one does.
"""

from torch import Tensor

from tests.support.small_mnist import SmallMnist
from trainables.contract import Config
from trainables.mnist import Net


class StillNet(Net):
    """Is never in the mode for training, in which it would drop out."""

    def train(self, mode: bool = True) -> "StillNet":
        """Stay in the other mode."""
        super().train(False)
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Log-probabilities of the ten digits."""
        return super().forward(x.double())


class StillMnist(SmallMnist):
    """Drops nothing out where the configuration says `still`."""

    def reset_config(self, new_config: Config) -> bool:
        """Start afresh, with the same weights in either network."""
        done = super().reset_config(new_config)
        if new_config.get("still"):
            self.net.double().__class__ = StillNet
        return done
