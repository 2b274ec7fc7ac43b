"""Types of arrays that formats read and write."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[Any]
"""Numbers of any type and shape, as a body has them."""
Floats = NDArray[np.float32]
"""Inputs or outputs of a model, the batch along the first axis."""
