"""Channels of data by SageMaker's names."""

from collections.abc import Mapping
from typing import Any

from app.sagemaker.aws import ignore


class TrainingInput:
    """Where a channel's data is."""

    def __init__(self, s3_data: str, **aws: Any) -> None:
        """A folder or its URI; how AWS would copy it is ignored."""
        ignore(aws)
        self.s3_data = s3_data


Inputs = str | TrainingInput | Mapping[str, str | TrainingInput] | None


def channels(inputs: Inputs) -> dict[str, str]:
    """The places of data by channel; a single one is the channel `training`."""
    if inputs is None:
        return {}
    if isinstance(inputs, Mapping):
        return {name: _place(each) for name, each in inputs.items()}
    return {"training": _place(inputs)}


def _place(each: str | TrainingInput) -> str:
    return each.s3_data if isinstance(each, TrainingInput) else each
