"""Default handlers: types they read and write, and errors for others."""

import io
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from serve.errors import (
    BadRequestError,
    NotAcceptableError,
    RequestError,
    UnprocessableError,
    UnsupportedTypeError,
)
from serve.handlers import defaults
from serve.handlers.script_handlers import Handlers

JSON, CSV, NPY = "application/json", "text/csv", "application/x-npy"


def npy(array: NDArray[Any], *, allow_pickle: bool = False) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=allow_pickle)
    return file.getvalue()


@pytest.mark.parametrize(
    ("body", "kind", "tensor"),
    [
        ("[[1, 2], [3, 4]]", JSON, torch.tensor([[1.0, 2], [3, 4]])),
        ("[true, 2.5]", JSON, torch.tensor([1, 2.5])),
        ("[1e39, NaN]", JSON, torch.tensor([torch.inf, torch.nan])),
        ("7", JSON, torch.tensor(7.0)),
        ('{"instances": [[1, 2.5]]}', JSON, torch.tensor([[1, 2.5]])),
        ("1,2\n3,4\n", CSV, torch.tensor([[1.0, 2], [3, 4]])),
        ("1,2.5", CSV, torch.tensor([1, 2.5])),
        ("1,2.5\n3,4", CSV, torch.tensor([[1, 2.5], [3, 4]])),
    ],
)
def test_text_becomes_float32(body: str, kind: str, tensor: Tensor) -> None:
    found = defaults.input_fn(body, kind)
    assert found.dtype == torch.float32
    assert torch.equal(found.nan_to_num(-1), tensor.nan_to_num(-1))


@pytest.mark.parametrize("dtype", ["u1", "i8", "f2", "f4", "f8", "?", "c8"])
def test_npy_keeps_its_type(dtype: str) -> None:
    array = np.asfortranarray(np.ones((2, 3), dtype))
    found = defaults.input_fn(npy(array), NPY)
    assert found.numpy().dtype == array.dtype
    assert np.array_equal(found.numpy(), array)


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return Path.touch, (Path(self._path),)  # type: ignore[return-value]


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    trap = Trap(tmp_path / "sprung")
    objects = np.array([trap], dtype=object)
    for body in (npy(objects, allow_pickle=True), pickle.dumps(trap)):
        with pytest.raises(BadRequestError, match="the body is not NPY that can be read"):
            defaults.input_fn(body, NPY)
        assert not (tmp_path / "sprung").exists()
    pickle.loads(pickle.dumps(trap))
    assert (tmp_path / "sprung").exists()  # it would have been


HUGE = npy(np.zeros(2)).replace(b"'shape': (2,)", b"'shape': (2000000000000,)")


@pytest.mark.parametrize(
    ("body", "kind", "error", "match"),
    [
        ("", JSON, BadRequestError, "the body is empty"),
        (b"", NPY, BadRequestError, "the body is empty"),
        ("[1, 2", JSON, BadRequestError, "not JSON: .* at line 1 column 6"),
        ('[1, "2"]', JSON, BadRequestError, 'the body has "2" where a number belongs'),
        ("[1, null]", JSON, BadRequestError, "the body has null where a number belongs"),
        ("[[1, 2], [3]]", JSON, UnprocessableError, "differ in length or depth"),
        ("[" * 100_000, JSON, BadRequestError, "nested too deeply"),
        ("{}", JSON, BadRequestError, 'no "instances"'),
        ("1,a", CSV, BadRequestError, "line 1: 'a' is not a number"),
        ("1,2\n3", CSV, UnprocessableError, "line 2 has 1 numbers, not 2"),
        ("\n", CSV, BadRequestError, "the body is empty"),
        (b"abc", NPY, BadRequestError, "not NPY that can be read"),
        (npy(np.zeros(2))[:-1], NPY, BadRequestError, "declares 16 bytes of numbers, but 15"),
        (HUGE, NPY, BadRequestError, "declares 16000000000000 bytes of numbers, but"),
        (npy(np.array(["a"])), NPY, BadRequestError, "not NPY that can be read: can't convert"),
        (
            npy(np.zeros(2, ">f4")),
            NPY,
            BadRequestError,
            "not NPY that can be read: given numpy array",
        ),
        (b"PK", "application/x-npz", UnsupportedTypeError, "is not read without an input_fn"),
        (b"x", "text/plain", UnsupportedTypeError, "send application/json, text/csv or applica"),
        (b"x", "", UnsupportedTypeError, "content type '' is not read"),
    ],
)
def test_a_body_that_cannot_be_read_is_refused_with_a_reason(
    body: str | bytes, kind: str, error: type[RequestError], match: str
) -> None:
    with pytest.raises(error, match=match):
        defaults.input_fn(body, kind)


@pytest.mark.parametrize(
    ("prediction", "accept", "body", "kind"),
    [
        (torch.tensor([[1.5, 2]]), JSON, "[[1.5, 2.0]]", JSON),
        (torch.tensor([[1.5, 2]]), CSV, "1.5,2.0\n", CSV),
        (torch.tensor([1.5]), NPY, npy(np.array([1.5], np.float64)), NPY),
        (torch.tensor([1.5], requires_grad=True), JSON, "[1.5]", JSON),
        (torch.tensor([1.5], dtype=torch.bfloat16), JSON, "[1.5]", JSON),
        ({"a": torch.tensor([1])}, JSON, '{"a": [1]}', JSON),
        (np.array([1.5], np.float32), NPY, npy(np.array([1.5], np.float32)), NPY),
        (torch.tensor([1.5]), "image/png, text/csv", "1.5\n", CSV),
        (torch.tensor([1.5]), "text/csv;q=0.1, application/json;q=0.9", "[1.5]", JSON),
        (torch.tensor([1.5]), "text/*", "1.5\n", CSV),
    ],
)
def test_a_prediction_is_encoded_in_the_accepted_type(
    prediction: object, accept: str, body: str | bytes, kind: str
) -> None:
    assert defaults.output_fn(prediction, accept) == (body, kind)


@pytest.mark.parametrize(
    ("prediction", "accept", "match"),
    [
        (torch.zeros(1), "image/png", "nothing that Accept 'image/png' allows can be sent"),
        (torch.zeros(1), "application/json;q=0", "can be sent; accept application/json, text/csv"),
        (torch.zeros(2, 2, 2), CSV, "no form in text/csv: Expected 1D or 2D array"),
        (torch.tensor(1.0), CSV, "no form in text/csv"),
        ({"a": 1}, NPY, "no form in application/x-npy: Object arrays cannot be saved"),
        ([[1], [1, 2]], NPY, "no form in application/x-npy"),
    ],
)
def test_a_prediction_without_a_form_in_the_accepted_type_is_refused(
    prediction: object, accept: str, match: str
) -> None:
    with pytest.raises(NotAcceptableError, match=match):
        defaults.output_fn(prediction, accept)


def test_a_prediction_is_made_in_evaluation_and_without_gradients() -> None:
    class Probe(nn.Module):
        def forward(self, x: Tensor) -> tuple[bool, bool]:
            return self.training, torch.is_grad_enabled()

    assert defaults.predict_fn(torch.zeros(1), Probe()) == (False, False)


def save_doubler(path: Path) -> None:
    """A model that doubles rows of two numbers, as TorchScript."""
    layer = nn.Linear(2, 2, bias=False)
    nn.init.eye_(layer.weight).data.mul_(2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Torch would rather have another format.
        torch.jit.save(torch.jit.script(layer), path)


@pytest.mark.parametrize("name", ["model.pt", "any.pth"])
def test_torchscript_is_served_without_a_script(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    save_doubler(tmp_path / name)
    if name == "model.pt":
        (tmp_path / "other.pth").touch()
    handlers = Handlers(None, "mine", str(tmp_path))
    assert handlers.answer(b"[[1, 2]]", JSON, "", {}).body == b"[[2.0, 4.0]]"
    refused = handlers.answer(b"[1, 2, 3]", JSON, "", {}).values
    assert refused["status"] == 422
    assert refused["error"].startswith("the model does not take torch.float32 of shape (3,): ")
    assert "Traceback" in capsys.readouterr().err


def test_a_model_that_fails_on_what_an_input_fn_made_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_doubler(tmp_path / "model.pt")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_input.py").write_text("def input_fn(body, content_type): return body")
    answer = Handlers("own_input.py", "mine", str(tmp_path)).answer(b"[[1, 2]]", JSON, "", {})
    assert answer.values["status"] == 500
    assert answer.values["error"].startswith("predict_fn failed: ")


def test_a_state_dict_needs_a_model_fn(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(1)}, tmp_path / "model.pth")
    with pytest.raises(ValueError, match=r"model\.pth is not TorchScript; write a model_fn"):
        defaults.model_fn(str(tmp_path))


def test_the_only_model_file_is_found(tmp_path: Path) -> None:
    for names in ([], ["a.pt", "b.pth"]):
        for name in names:
            (tmp_path / name).touch()
        with pytest.raises(ValueError, match=r"exactly one \.pth or \.pt file is served"):
            defaults.model_fn(str(tmp_path))
