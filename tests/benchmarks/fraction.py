"""The built-in trainable on a part of its data, for quick runs of other benchmarks."""

import os
from collections.abc import Mapping
from pathlib import Path

from trainables.data import Digits
from trainables.mnist import MnistTrainable

FRACTION = "TUNEPORT_FRACTION"


class FractionMnist(MnistTrainable):
    """Reads as much of the data as the environment says."""

    @staticmethod
    def shared(data_dir: Path | None, download: bool) -> Mapping[str, Digits]:
        """The first part of both sets."""
        fraction = float(os.environ[FRACTION])
        whole = MnistTrainable.shared(data_dir, download)
        return {name: _first(digits, fraction) for name, digits in whole.items()}


def _first(digits: Digits, fraction: float) -> Digits:
    size = int(len(digits.labels) * fraction)
    return Digits(digits.images[:size], digits.labels[:size])
