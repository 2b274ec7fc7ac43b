"""The built-in trainable on a slice of MNIST, where a whole epoch would take too long."""

from collections.abc import Mapping
from pathlib import Path

from trainables.data import Digits
from trainables.mnist import MnistTrainable


class SmallMnist(MnistTrainable):
    """Trains on 2,000 digits and evaluates on 500."""

    @staticmethod
    def shared(data_dir: Path | None, download: bool) -> Mapping[str, Digits]:
        whole = MnistTrainable.shared(data_dir, download)
        sizes = {"train": 2000, "test": 500}
        return {
            name: Digits(whole[name].images[:size], whole[name].labels[:size])
            for name, size in sizes.items()
        }
