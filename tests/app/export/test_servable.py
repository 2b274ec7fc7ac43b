"""Obstacles to serving a model, found without running its code."""

import io
import warnings
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import nn

from app.export.servable import bound_names, find_obstacle
from serve.models.archive import write_handlers
from serve.models.manifest import Manifest
from tests.support.scripted import ECHO, write_model
from tests.support.tiny_model import TinyModel


def weights() -> bytes:
    """A layer as `torch.save` writes it."""
    content = io.BytesIO()
    torch.save(nn.Linear(2, 1).state_dict(), content)
    return content.getvalue()


@pytest.fixture(scope="module")
def torchscript(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A layer as TorchScript."""
    path = tmp_path_factory.mktemp("torchscript") / "model.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # It is the format of the toolkit.
        torch.jit.trace(nn.Linear(2, 1), torch.zeros(1, 2)).save(str(path))
    return path.read_bytes()


def test_a_model_with_a_model_fn_can_be_served(tmp_path: Path) -> None:
    assert find_obstacle(write_model(tmp_path / "model", ECHO)) is None


def test_an_onnx_model_can_be_served(tmp_path: Path) -> None:
    assert find_obstacle(TinyModel.random().write(tmp_path / "model")) is None


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (
            {"model.pth": weights()},
            "train.py has no model_fn, and model.pth is not TorchScript; write a model_fn in train",
        ),
        (
            {"model.bin": b"x"},
            "train.py has no model_fn, and saved no single .pt or .pth file; write",
        ),
        (
            {"a.pt": b"x", "b.pth": b"x"},
            "train.py has no model_fn, and saved no single .pt or .pth",
        ),
        ({"model.pt": b"x"}, "train.py has no model_fn, and model.pt is not TorchScript"),
    ],
)
def test_a_model_that_nothing_loads_is_reported_with_a_remedy(
    tmp_path: Path, files: Mapping[str, bytes], reason: str
) -> None:
    found = find_obstacle(write_model(tmp_path / "model", "print(1)", files=files))
    assert found is not None
    assert found.startswith(reason)


def test_torchscript_needs_no_model_fn(tmp_path: Path, torchscript: bytes) -> None:
    files = {"model.pt": torchscript, "other.pt": b"x"}
    assert find_obstacle(write_model(tmp_path / "model", "print(1)", files=files)) is None


def test_a_program_that_is_no_python_has_no_model_fn(tmp_path: Path) -> None:
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved/model.pth").write_bytes(weights())
    write_handlers(tmp_path / "model", Manifest("m"), tmp_path / "saved", {"train.sh": b"true"})
    assert find_obstacle(tmp_path / "model") == (
        "its code has no model_fn, and model.pth is not TorchScript; write a model_fn in a file "
        "inference.py beside the script"
    )


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("def a(): b = 1", {"a"}),
        ("try:\n    from c import d as e\nexcept ImportError:\n    f = g = None", {"e", "f", "g"}),
        ("if True:\n    class H:\n        def i(self): pass", {"H"}),
        ("from j import *", {"*"}),
        ("def (", None),
        ("\0", None),
    ],
)
def test_global_names_of_a_program_are_found(source: str, names: set[str] | None) -> None:
    assert bound_names(source.encode()) == names
