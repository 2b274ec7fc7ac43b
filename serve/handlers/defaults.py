"""What the toolkit does where a script has no handler of its own; torch is loaded when needed."""

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from serve.errors import BadRequestError, NotAcceptableError, UnsupportedTypeError
from serve.formats.codecs import CODECS
from serve.formats.negotiation import acceptable
from serve.handlers.stubs.sagemaker_inference.content_types import CSV, JSON, NPY, UTF8_TYPES
from serve.handlers.stubs.sagemaker_inference.decoder import decode
from serve.handlers.stubs.sagemaker_inference.encoder import ENCODED_TYPES, encode

if TYPE_CHECKING:
    from torch import Tensor

MODEL_FILE = "model.pt"
SUFFIXES = {".pt", ".pth"}


def model_fn(model_dir: str) -> Any:
    """The TorchScript model of the folder: `model.pt`, or its only `.pt` or `.pth` file."""
    import torch

    path = Path(model_dir, MODEL_FILE)
    if not path.exists():
        found = sorted(file for file in Path(model_dir).iterdir() if file.suffix in SUFFIXES)
        if len(found) != 1:
            names = ", ".join(file.name for file in found) or "none"
            raise ValueError(
                f"exactly one .pth or .pt file is served without a model_fn, not {names}"
            )
        path = found[0]
    try:
        with warnings.catch_warnings():
            # Torch would rather have another format; this one is the toolkit's.
            warnings.simplefilter("ignore", FutureWarning)
            return torch.jit.load(str(path), map_location="cpu")
    except RuntimeError as error:
        raise ValueError(
            f"{path.name} is no TorchScript; write a model_fn that loads it"
        ) from error


def input_fn(body: str | bytes, content_type: str) -> "Tensor":
    """A tensor of JSON or CSV, as float32, or of NPY, as the type that it has."""
    import torch

    if content_type not in (*UTF8_TYPES, NPY):
        raise UnsupportedTypeError(
            f"content type {content_type[:80]!r} is not read without an input_fn; "
            f"send {JSON}, {CSV} or {NPY}"
        )
    if not body:
        raise BadRequestError("the body is empty")
    if isinstance(body, str):
        with np.errstate(over="ignore"):
            return torch.from_numpy(_numbers(body, content_type).astype(np.float32))
    try:
        return torch.from_numpy(decode(body, content_type))
    except (ValueError, TypeError, EOFError) as error:
        raise BadRequestError(f"the body is no NPY that is read: {_first_line(error)}") from error


def predict_fn(data: Any, model: Any) -> Any:
    """The model's answer, without gradients and with its layers as they are after training."""
    import torch

    model.eval()
    with torch.no_grad():
        return model(data)


def output_fn(prediction: Any, accept: str) -> tuple[str | bytes, str]:
    """The answer in the type that Accept prefers of those that are written."""
    import torch

    kind = acceptable(accept, ENCODED_TYPES)
    if type(prediction) is torch.Tensor:
        prediction = prediction.detach().cpu().tolist()
    try:
        return encode(prediction, kind), kind
    except ValueError as error:
        raise NotAcceptableError(
            f"the model's answer has no form in {kind}: {_first_line(error)}"
        ) from error


def default_accept() -> str:
    """What is given to clients that accept anything."""
    return os.environ.get("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT", JSON)


def _numbers(text: str, content_type: str) -> NDArray[Any]:
    """The numbers of a text, as the toolkit reads them.

    What it does not read as numbers goes to our own codec, which takes columns of different types
    and `{"instances": …}`, and says of everything else what is wrong and where.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # What NumPy warns of, the codec refuses.
            array = decode(text, content_type)
    except Exception:  # It guesses at types, and fails at that in many ways; the codec says why.
        array = None
    if array is None or array.dtype.kind not in "biuf":
        array = CODECS[content_type].decode(text.encode())
        return np.squeeze(array) if content_type == CSV else array
    return np.asarray(array)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
