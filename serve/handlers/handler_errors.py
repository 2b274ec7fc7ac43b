"""Errors of handlers, translated to the error that the client gets."""

import json
import traceback
from typing import Any

from serve.errors import BadRequestError, HandlerError, RequestError
from serve.handlers.error_text import describe, error_line, first_line
from serve.handlers.raising_statement import Handler
from serve.handlers.refusals import find_refusal

_READERS = {"input_fn", "transform_fn"}
_OF_REQUEST = (ValueError, TypeError, LookupError, AssertionError, NotImplementedError)
"""Errors of an `input_fn` that count as the request's, which is all that it works on."""
SAGEMAKER_ROOT = "/opt/ml"
"""Root of the folders in SageMaker's containers, which do not exist here."""


def translate_error(
    name: str, function: Handler, error: BaseException, arguments: tuple[Any, ...]
) -> RequestError:
    """Return the request error for an error of the handler `name`.

    The toolkit's own errors are recognised by their class names, as its modules may be stubs.
    """
    classes = {cls.__name__ for cls in type(error).__mro__}
    if "UnsupportedFormatError" in classes:
        return HandlerError(406 if name == "output_fn" else 415, error_line(error))
    status = getattr(error, "status_code", None)
    if "BaseInferenceToolkitError" in classes and isinstance(status, int) and 400 <= status < 600:
        line = first_line(str(getattr(error, "message", error)))
        return HandlerError(status, line or type(error).__name__)
    if name in _READERS and isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
        return BadRequestError(f"the body cannot be read: {error_line(error)}")
    if (refusal := find_refusal(name, function, arguments, error)) is not None:
        return refusal
    if name == "input_fn" and isinstance(error, _OF_REQUEST):
        traceback.print_exception(error)  # The log has it in case the handler is wrong.
        return BadRequestError(f"the body cannot be read: {describe(error)}")
    hint = ""
    if SAGEMAKER_ROOT in str(error):
        hint = f"; the model is in model_fn's model_dir, not in {SAGEMAKER_ROOT}"
    return HandlerError(500, f"{name} failed: {describe(error)}{hint}")
