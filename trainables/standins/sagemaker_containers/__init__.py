"""Stands in for `sagemaker_containers`, which old training scripts import and hardly use."""

import json
import os
from typing import Any


def training_env() -> dict[str, Any]:
    """All that the container knows of the training job."""
    return dict(json.loads(os.environ["SM_TRAINING_ENV"]))
