"""A shorter export: the exporter's table of operators is read once."""

from functools import cache

import pytest


@pytest.fixture(scope="session", autouse=True)
def _operators_are_read_once() -> None:
    """Keep the exporter's table, for which each export reads the source of 500 functions anew."""
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    ONNXRegistry.from_torchlib = staticmethod(cache(ONNXRegistry.from_torchlib))  # type: ignore[method-assign]
