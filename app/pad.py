"""Drawing pad for a notebook: `pad = Pad()` shows it, `pad.pixels` is the drawn digit."""

import base64
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from traitlets import Unicode

from serve.errors import RequestError
from serve.formats.drawing import read_picture

try:
    import anywidget
except ImportError as error:
    raise ImportError("a pad needs anywidget: pip install -e '.[notebook]'") from error


class PadError(Exception):
    """A pad without a drawing, or with one that cannot be read, in one sentence."""


class Pad(anywidget.AnyWidget):
    """Widget to draw on by mouse, finger or pen, in any front end that shows widgets."""

    _esm = Path(__file__).with_suffix(".js")

    drawing = Unicode().tag(sync=True)
    """PNG of the drawing as a data URL, dark on white; empty if nothing is drawn."""

    @property
    def png(self) -> bytes:
        """The drawing as the endpoint's `/predict` takes it; raises PadError if there is none."""
        if not self.drawing:
            raise PadError("nothing is drawn on the pad yet")
        _, _, encoded = self.drawing.partition(",")
        return base64.b64decode(encoded)

    @property
    def pixels(self) -> NDArray[np.float32]:
        """The drawing, prepared as MNIST's digits: 28 by 28, 0 (paper) to 255 (ink).

        Raises PadError if there is none.
        """
        try:
            return read_picture(self.png)
        except RequestError as error:
            raise PadError(f"the pad's drawing: {error}") from error

    def clear(self) -> None:
        """Remove the drawing."""
        self.drawing = ""
