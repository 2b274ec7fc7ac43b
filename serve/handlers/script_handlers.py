"""A script's handlers by the toolkit's rules: which there are, and what each is given."""

import importlib
import inspect
import json
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import ModuleType
from typing import Any

from serve.errors import (
    BadRequestError,
    HandlerError,
    NotAcceptableError,
    RequestError,
    UnprocessableError,
    UnsupportedTypeError,
)
from serve.formats.negotiation import choices, concrete, media_type
from serve.handlers import defaults
from serve.handlers.context import Context
from serve.handlers.refusals import first_line, given_nothing, refused_type, sentence
from serve.handlers.stubs.sagemaker_inference.content_types import UTF8_TYPES
from serve.handlers.stubs.sagemaker_inference.encoder import ENCODED_TYPES
from serve.ipc import Message

ARGUMENTS = {
    "pre_model_fn": ("model_dir",),
    "model_fn": ("model_dir",),
    "model_warmup_fn": ("model_dir", "model"),
    "input_fn": ("body", "content_type"),
    "predict_fn": ("data", "model"),
    "output_fn": ("prediction", "accept"),
    "transform_fn": ("model", "body", "content_type", "accept"),
}
"""What each handler is given; one that takes one argument more is given the context too."""
_DEFAULTS: Mapping[str, Callable[..., Any]] = {
    "model_fn": defaults.model_fn,
    "input_fn": defaults.input_fn,
    "predict_fn": defaults.predict_fn,
    "output_fn": defaults.output_fn,
}
_STEPS = {"input_fn", "predict_fn", "output_fn"}
"""What a `transform_fn` does in one."""
_READING = {"input_fn", "transform_fn"}
_OF_SHAPE = (RuntimeError, ValueError, IndexError, TypeError, AssertionError)
"""What a network raises for numbers that are not of its input's shape or type."""
_OF_REQUEST = (ValueError, TypeError, LookupError, AssertionError, NotImplementedError)
"""What an `input_fn` raises for what it was sent, which is all that it knows of."""
PLACE = "/opt/ml"
"""Where SageMaker's containers have their folders; nothing is there here."""


class LoadError(Exception):
    """A script whose handlers cannot be used; its text says why."""


class Handlers:
    """A loaded model with its handlers."""

    def __init__(self, entry_point: str | None, model_name: str, model_dir: str) -> None:
        self._context = Context(model_name, model_dir)
        module = None if entry_point is None else _imported(entry_point)
        self._own = {} if module is None else _found(module)
        if "transform_fn" in self._own and (also := _STEPS & set(self._own)):
            raise LoadError(
                f"transform_fn stands for all steps; leave out {', '.join(sorted(also))}"
            )
        for name, function in self._own.items():
            _check_arguments(name, function)
        self._model = self._load(model_dir)

    def answer(
        self, body: bytes, content_type: str, accept: str, headers: Mapping[str, str]
    ) -> Message:
        """The answer to one request: a body and what it is, or one sentence on what is wrong."""
        try:
            self._context.begin(headers)
            return self._transformed(body, content_type, accept)
        except RequestError as error:
            if error.status >= 500:
                traceback.print_exception(error.__cause__ or error)
            return Message({"status": error.status, "error": str(error)})

    def _load(self, model_dir: str) -> Any:
        try:
            if "pre_model_fn" in self._own:
                self._call("pre_model_fn", model_dir)
            model = self._call("model_fn", model_dir)
            if "model_warmup_fn" in self._own:
                self._call("model_warmup_fn", model_dir, model)
        except RequestError as error:
            raise LoadError(str(error)) from error.__cause__
        return model

    def _transformed(self, body: bytes, content_type: str, accept: str) -> Message:
        default = defaults.default_accept()
        accepts = choices(accept, tuple(dict.fromkeys((default, *ENCODED_TYPES))))
        content, content_type = _as_given(body, content_type)
        if "transform_fn" in self._own:
            step = partial(self._call, "transform_fn", self._model, content, content_type)
            return self._first_given("transform_fn", step, accepts)
        prediction = self._predicted(self._call("input_fn", content, content_type))
        return self._first_given("output_fn", partial(self._call, "output_fn", prediction), accepts)

    def _first_given(
        self, last: str, step: Callable[[str], object], accepts: Sequence[str]
    ) -> Message:
        """The answer of the last handler in the first of the types that it gives."""
        refusals: list[RequestError] = []
        status = self._context.status
        for accept in accepts:
            self._context.status = status  # One that was refused may have said so there.
            try:
                result = step(accept)
                given, kind = result if isinstance(result, tuple) else (result, None)
                return self._answer(
                    last, given, kind or concrete(accept, defaults.default_accept())
                )
            except RequestError as error:
                if error.status != NotAcceptableError.status:
                    raise
                refusals.append(error)
        raise refusals[0]

    def _answer(self, last: str, given: object, kind: object) -> Message:
        """The answer of what the last handler gave, and of what was said of it to the context."""
        body, status = _as_bytes(last, given), _status(self._context.status)
        if status >= 400:
            raise HandlerError(status, sentence(body.decode(errors="replace")) or "refused")
        headers = {"content-type": kind, **self._context.response_headers}
        sent = {_header(last, name): _header(last, value) for name, value in headers.items()}
        content_type = sent.pop("content-type")
        return Message({"status": status, "content_type": content_type, "headers": sent}, body)

    def _predicted(self, data: Any) -> Any:
        """The prediction; numbers that came as they are sent are the client's own fault."""
        try:
            return self._call("predict_fn", data, self._model)
        except HandlerError as error:
            defaulted = {"input_fn", "predict_fn"}.isdisjoint(self._own)
            if defaulted and isinstance(error.__cause__, _OF_SHAPE):
                traceback.print_exception(error.__cause__)  # It may be the model's fault after all.
                raise UnprocessableError(
                    f"the model does not take {data.dtype} of shape {tuple(data.shape)}: "
                    f"{first_line(error.__cause__)}"
                ) from error.__cause__
            raise

    def _call(self, name: str, *arguments: Any) -> Any:
        function = self._own.get(name, _DEFAULTS.get(name))
        assert function is not None  # the others are asked for only where they are the script's own
        with_context = len(inspect.signature(function).parameters) > len(arguments)
        try:
            result = function(*arguments, *((self._context,) if with_context else ()))
        except RequestError:
            raise
        except (Exception, SystemExit) as error:
            raise _refusal(name, function, error, arguments) from error
        if result is None and (refusal := given_nothing(name, function, arguments)) is not None:
            raise refusal
        return result


def _imported(entry_point: str) -> ModuleType:
    """The script as a module of the code folder, which is on the path."""
    try:
        return importlib.import_module(entry_point.removesuffix(".py").replace("/", "."))
    except (Exception, SystemExit) as error:
        raise LoadError(f"{entry_point} cannot be imported: {_named(error)}") from error


def _found(module: ModuleType) -> dict[str, Callable[..., Any]]:
    found = ((name, getattr(module, name, None)) for name in ARGUMENTS)
    return {name: function for name, function in found if function is not None}


def _check_arguments(name: str, function: Callable[..., Any]) -> None:
    expected, count = ARGUMENTS[name], len(inspect.signature(function).parameters)
    if count not in (len(expected), len(expected) + 1):
        raise LoadError(
            f"{name} takes {count} arguments, but is given {len(expected)} "
            f"({', '.join(expected)}), and the context where it takes one more"
        )


def _as_given(body: bytes, content_type: str) -> tuple[str | bytes, str]:
    """The body and type as handlers know them: JSON and CSV as text, and without a charset."""
    kind = media_type(content_type)
    if kind not in UTF8_TYPES:
        return body, content_type
    charset = _charset(content_type)
    try:
        return body.decode(charset), kind
    except LookupError as error:
        raise UnsupportedTypeError(f"charset {charset[:80]!r} is not known; send utf-8") from error
    except UnicodeError as error:
        raise BadRequestError(f"the body is not text: {first_line(error)}") from error


def _charset(content_type: str) -> str:
    for parameter in content_type.split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip('"')
    return "utf-8"


def _refusal(
    name: str, function: Callable[..., Any], error: BaseException, arguments: tuple[Any, ...]
) -> RequestError:
    """The answer to what a handler raised; the toolkit's own errors are told by their names."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if "UnsupportedFormatError" in kinds:
        return HandlerError(406 if name == "output_fn" else 415, first_line(error))
    status = getattr(error, "status_code", None)
    if "BaseInferenceToolkitError" in kinds and isinstance(status, int) and 400 <= status < 600:
        said = sentence(str(getattr(error, "message", error)))
        return HandlerError(status, said or type(error).__name__)
    if name in _READING and isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
        return BadRequestError(f"the body cannot be read: {first_line(error)}")
    if (refusal := refused_type(name, function, arguments, error)) is not None:
        return refusal
    if name == "input_fn" and isinstance(error, _OF_REQUEST):
        traceback.print_exception(error)  # It may be the handler's fault after all.
        return BadRequestError(f"the body cannot be read: {_named(error)}")
    hint = f"; the model is in model_fn's model_dir, not in {PLACE}" if PLACE in str(error) else ""
    return HandlerError(500, f"{name} failed: {_named(error)}{hint}")


def _as_bytes(name: str, result: object) -> bytes:
    """A handler's result as a body: bytes and text as they are, what is neither as JSON."""
    if isinstance(result, bytes | bytearray):
        return bytes(result)
    try:
        if result is None:
            raise TypeError("None is no answer")
        return (result if isinstance(result, str) else json.dumps(result)).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise HandlerError(
            500, f"{name} gave {type(result).__name__}, not bytes, text or what JSON can hold"
        ) from error


def _header(name: str, value: object) -> str:
    if not (isinstance(value, str) and value.isascii() and value.isprintable()):
        raise HandlerError(500, f"{name} gave a header that cannot be sent: {value!r:.80}")
    return value


def _status(chosen: int | None) -> int:
    return chosen if isinstance(chosen, int) and 200 <= chosen < 600 else 200


def _named(error: BaseException) -> str:
    return f"{type(error).__name__}: {first_line(error)}"
