"""A pad to draw on in a notebook: `pad = Pad()` shows it, `pad.pixels` is what is drawn."""

import base64
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from traitlets import Unicode

from serve.errors import RequestError
from serve.formats.drawing import read_png

try:
    import anywidget
except ImportError as error:
    raise ImportError("a pad needs more: pip install -e '.[notebook]'") from error


class PadError(Exception):
    """A pad from which there is nothing to read, in one sentence."""


class Pad(anywidget.AnyWidget):
    """Takes strokes of mouse, finger or pen, in whatever shows the widgets of a notebook."""

    _esm = Path(__file__).with_suffix(".js")

    drawing = Unicode().tag(sync=True)
    """What is drawn, dark on white: a PNG as a data URL; empty where nothing is."""

    @property
    def png(self) -> bytes:
        """The drawing as it was made, as the endpoint's `/predict` takes it; raises PadError."""
        if not self.drawing:
            raise PadError("nothing is drawn on the pad yet")
        _, _, encoded = self.drawing.partition(",")
        return base64.b64decode(encoded)

    @property
    def pixels(self) -> NDArray[np.float32]:
        """The drawing as MNIST has digits: 28 by 28, 0 (paper) to 255 (ink); raises PadError."""
        try:
            return read_png(self.png)
        except RequestError as error:
            raise PadError(f"the pad's drawing: {error}") from error

    def clear(self) -> None:
        """Take a new sheet."""
        self.drawing = ""
