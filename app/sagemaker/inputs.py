"""Channels of training data by SageMaker's names."""

from collections.abc import Mapping
from typing import Any

from app.sagemaker.aws import ignore


class TrainingInput:
    """Place of a channel's data."""

    def __init__(self, s3_data: str, **aws: Any) -> None:
        """Take a folder, a file or a URI; options of AWS's copying are ignored."""
        ignore(aws)
        self.s3_data = s3_data


Inputs = str | TrainingInput | Mapping[str, str | TrainingInput] | None


def channels(inputs: Inputs) -> dict[str, str]:
    """Give the places of data by channel; a single place is the channel `training`."""
    if inputs is None:
        return {}
    if isinstance(inputs, Mapping):
        return {name: _place(data) for name, data in inputs.items()}
    return {"training": _place(inputs)}


def _place(data: str | TrainingInput) -> str:
    return data.s3_data if isinstance(data, TrainingInput) else data
