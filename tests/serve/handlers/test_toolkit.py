"""Our default handlers against AWS's own, where its packages are installed; skipped elsewhere.

They are `sagemaker-inference` and `sagemaker-pytorch-inference`, installed, or unpacked with their
`src` folder named by `TUNEPORT_ORACLE`.
"""

import io
import os
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from serve.handlers.script_handlers import Handlers

JSON, CSV, NPY = "application/json", "text/csv", "application/x-npy"
SCRIPTS = {
    "linear": """
import torch
def model_fn(model_dir):
    torch.manual_seed(0)
    return torch.nn.Linear(3, 2)
""",
    "digits": """
import torch
from torch import nn
def model_fn(model_dir):
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 4, 5), nn.Dropout2d(), nn.Flatten(), nn.Linear(2304, 10)
    return nn.DataParallel(nn.Sequential(*layers, nn.LogSoftmax(dim=1)))
""",
    "same": """
import torch
def model_fn(model_dir):
    return torch.nn.Identity()
""",
    "own": """
import torch
def model_fn(model_dir):
    return torch.nn.Identity()
def input_fn(body, content_type):
    return torch.ones(2, 2) * len(body)
def output_fn(prediction, accept, context):
    return f"{accept} {prediction.tolist()}", "text/plain"
""",
}


def npy(array: object) -> bytes:
    file = io.BytesIO()
    np.save(file, np.asarray(array))
    return file.getvalue()


PIXELS: NDArray[Any] = np.random.default_rng(0).normal(size=(2, 1, 28, 28))
BODIES: dict[str, tuple[str, bytes]] = {
    "row": (JSON, b"[1, 2, 3]"),
    "rows": (JSON, b"[[1, 2, 3.5], [0.1, 1e-3, -7e10]]"),
    "none": (JSON, b"[]"),
    "no rows": (JSON, b"[[]]"),
    "truths": (JSON, b"[[true, false, true]]"),
    "not finite": (JSON, b"[[NaN, 1, Infinity]]"),
    "cube": (JSON, b"[[[1, 2, 3]], [[4, 5, 6]]]"),
    "short row": (JSON, b"[1, 2]"),
    "ragged": (JSON, b"[[1, 2, 3], [1]]"),
    "cut off": (JSON, b"[[1, 2, 3"),
    "words": (JSON, b'["a", "b", "c"]'),
    "nulls": (JSON, b"[null, 1, 2]"),
    "an object": (JSON, b'{"a": [1, 2, 3]}'),
    "empty": (JSON, b""),
    "csv row": (CSV, b"1,2,3"),
    "csv rows": (CSV, b"1,2,3\n4,5,6\n"),
    "csv floats": (CSV, b"1.5,2.5,3.5\n0.1,0.2,0.3\n"),
    "csv crlf": (CSV, b"1,2,3\r\n4,5,6\r\n"),
    "csv spaces": (CSV, b"1 , 2 , 3"),
    "csv gap": (CSV, b"1,,3"),
    "csv words": (CSV, b"a,b,c"),
    "csv ragged": (CSV, b"1,2,3\n1"),
    "csv empty": (CSV, b""),
    "npy f4": (NPY, npy(np.arange(6, dtype="f4").reshape(2, 3))),
    "npy f8": (NPY, npy(np.arange(6, dtype="f8").reshape(2, 3))),
    "npy i8": (NPY, npy(np.arange(3))),
    "npy bool": (NPY, npy(np.ones(3, bool))),
    "npy scalar": (NPY, npy(np.float32(3))),
    "npy fortran": (NPY, npy(np.asfortranarray(np.arange(6, dtype="f4").reshape(2, 3)))),
    "npy more": (NPY, npy(np.arange(3, dtype="f4")) + b"more"),
    "npy cut off": (NPY, npy(np.arange(3, dtype="f4"))[:-1]),
    "npy text": (NPY, npy(np.array(["a"]))),
    "npy not": (NPY, b"not NPY"),
    "digits f4": (NPY, npy(PIXELS.astype("f4"))),
    "digits json": (JSON, repr(PIXELS.round(4).tolist()).encode()),
    "octets": ("application/octet-stream", b"[1, 2, 3]"),
    "charset": ("application/json; charset=utf-8", b"[1, 2, 3]"),
    "untyped": ("", b"[1, 2, 3]"),
}
ACCEPTS = ["", "*/*", JSON, CSV, NPY, f"{CSV}, {JSON}", "image/png, text/csv", "image/png"]
READ_BY_OURS_ALONE = {"charset"}


class Oracle:
    """AWS's own code around a script, asked without its server."""

    def __init__(self, script: str, model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        if (folder := os.environ.get("TUNEPORT_ORACLE")) is not None:
            monkeypatch.syspath_prepend(folder)
        toolkit = pytest.importorskip("sagemaker_inference.transformer")
        handler = pytest.importorskip(
            "sagemaker_pytorch_serving_container.default_pytorch_inference_handler"
        )
        monkeypatch.setenv("SAGEMAKER_PROGRAM", script)
        self._model_dir = str(model_dir)
        self._transformer = toolkit.Transformer(handler.DefaultPytorchInferenceHandler())

    def ask(self, body: bytes, content_type: str, accept: str) -> tuple[int, bytes, str]:
        """Return status, body and content type of the answer."""
        sent = {"Content-Type": content_type, "Accept": accept}
        answered: dict[str, Any] = {"status": 200}
        context = SimpleNamespace(
            model_name="mine",
            system_properties={"model_dir": self._model_dir},
            request_processor=[SimpleNamespace(get_request_properties=lambda: sent)],
            set_response_status=lambda code, phrase: answered.update(status=code),
            set_response_content_type=lambda index, value: answered.update(type=value),
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            [given] = self._transformer.transform([{"body": body}], context)
        content = given if isinstance(given, bytes) else given.encode()
        return answered["status"], content, answered.get("type", "")


@pytest.mark.parametrize("name", SCRIPTS)
def test_answers_equal_those_of_sagemakers_toolkit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    script = f"oracle_{name}.py"
    (tmp_path / script).write_text(SCRIPTS[name])
    monkeypatch.syspath_prepend(tmp_path)
    theirs = Oracle(script, tmp_path, monkeypatch)
    ours = Handlers(script, "mine", str(tmp_path))
    for what, (kind, body) in BODIES.items():
        for accept in ACCEPTS:
            status, content, given = theirs.ask(body, kind, accept)
            answer = ours.answer(body, kind, accept, {})
            case = f"{what} as {accept!r}: {answer.values}"
            if status == 200:
                assert (answer.values["status"], answer.body) == (200, content), case
                assert answer.values["content_type"] in given.split(", "), case
            elif answer.values["status"] == 200:
                assert what in READ_BY_OURS_ALONE, case
            else:
                assert 400 <= answer.values["status"] < 500, case
                assert answer.values["error"], case
