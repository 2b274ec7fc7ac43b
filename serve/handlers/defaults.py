"""The toolkit's default handlers, for those that a script does not define."""

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from serve.errors import BadRequestError, NotAcceptableError, UnsupportedTypeError
from serve.formats.codecs import CODECS
from serve.formats.negotiation import acceptable
from serve.handlers.error_text import error_line
from serve.handlers.stubs.sagemaker_inference.content_types import CSV, JSON, NPY, UTF8_TYPES
from serve.handlers.stubs.sagemaker_inference.decoder import decode
from serve.handlers.stubs.sagemaker_inference.encoder import ENCODED_TYPES, encode

if TYPE_CHECKING:
    from torch import Tensor

MODEL_FILE = "model.pt"
SUFFIXES = {".pt", ".pth"}


def model_fn(model_dir: str) -> Any:
    """Load the TorchScript model of a folder: `model.pt`, or its only `.pt` or `.pth` file."""
    import torch

    path = Path(model_dir, MODEL_FILE)
    if not path.exists():
        files = sorted(file for file in Path(model_dir).iterdir() if file.suffix in SUFFIXES)
        if len(files) != 1:
            names = ", ".join(file.name for file in files) or "none"
            raise ValueError(
                f"exactly one .pth or .pt file is served without a model_fn, not {names}"
            )
        path = files[0]
    try:
        with warnings.catch_warnings():
            # Torch deprecates TorchScript, which is the toolkit's format.
            warnings.simplefilter("ignore", FutureWarning)
            return torch.jit.load(str(path), map_location="cpu")
    except RuntimeError as error:
        raise ValueError(
            f"{path.name} is not TorchScript; write a model_fn that loads it"
        ) from error


def input_fn(body: str | bytes, content_type: str) -> "Tensor":
    """Decode a body to a tensor: float32 from JSON or CSV, from NPY of the array's own type.

    Raises:
        UnsupportedTypeError: The content type is another.
        BadRequestError: The body is empty or cannot be decoded.
    """
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
        raise BadRequestError(
            f"the body is not NPY that can be read: {error_line(error)}"
        ) from error


def predict_fn(data: Any, model: Any) -> Any:
    """Run the model in evaluation mode, without gradients."""
    import torch

    model.eval()
    with torch.no_grad():
        return model(data)


def output_fn(prediction: Any, accept: str) -> tuple[str | bytes, str]:
    """Encode a prediction in the type that Accept prefers.

    Raises:
        NotAcceptableError: No such type can be given, or the prediction has no form in it.
    """
    import torch

    kind = acceptable(accept, ENCODED_TYPES)
    if type(prediction) is torch.Tensor:
        prediction = prediction.detach().cpu().tolist()
    try:
        return encode(prediction, kind), kind
    except ValueError as error:
        raise NotAcceptableError(
            f"the model's answer has no form in {kind}: {error_line(error)}"
        ) from error


def default_accept() -> str:
    """Return the type of replies for clients that accept any."""
    return os.environ.get("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT", JSON)


def _numbers(text: str, content_type: str) -> NDArray[Any]:
    """Decode a text as the toolkit does, or by our own codec where that gives no numbers.

    Our codec also takes columns of different types and `{"instances": …}`, and its errors say what
    is wrong and where.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # The codec refuses what NumPy warns of.
            array = decode(text, content_type)
    except Exception:  # NumPy's guess of types fails in many ways.
        array = None
    if array is None or array.dtype.kind not in "biuf":
        array = CODECS[content_type].decode(text.encode())
        return np.squeeze(array) if content_type == CSV else array
    return np.asarray(array)
