"""A script's handlers, found and called by the rules of SageMaker's inference toolkit."""

import importlib
import inspect
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import ModuleType
from typing import Any

from serve.errors import HandlerError, NotAcceptableError, RequestError, UnprocessableError
from serve.formats.negotiation import choices, concrete
from serve.handlers import defaults
from serve.handlers.bodies import check_header, decode_body, encode_result
from serve.handlers.context import Context
from serve.handlers.error_text import describe, error_line, first_line
from serve.handlers.handler_errors import translate_error
from serve.handlers.refusals import refuse_none
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
"""Arguments of each handler; one that takes one more gets the context too."""
_DEFAULTS: Mapping[str, Callable[..., Any]] = {
    "model_fn": defaults.model_fn,
    "input_fn": defaults.input_fn,
    "predict_fn": defaults.predict_fn,
    "output_fn": defaults.output_fn,
}
_STEPS = {"input_fn", "predict_fn", "output_fn"}
"""Handlers that a `transform_fn` replaces."""
_OF_SHAPE = (RuntimeError, ValueError, IndexError, TypeError, AssertionError)
"""Errors of a network for numbers of another shape or type than its input's."""


class LoadError(Exception):
    """A script's handlers cannot be used."""


class Handlers:
    """A loaded model and its handlers; raises LoadError where the model cannot be loaded.

    Args:
        entry_point: Path of the script in the code folder; None if all handlers are the defaults.
        model_name: Name of the model, for the handlers' context.
        model_dir: Folder of the files that the script saved.
    """

    def __init__(self, entry_point: str | None, model_name: str, model_dir: str) -> None:
        self._context = Context(model_name, model_dir)
        module = None if entry_point is None else _import_script(entry_point)
        self._own = {} if module is None else _find_handlers(module)
        if "transform_fn" in self._own and (also := _STEPS & set(self._own)):
            raise LoadError(f"transform_fn replaces all steps; remove {', '.join(sorted(also))}")
        for name, function in self._own.items():
            _check_arguments(name, function)
        self._model = self._load(model_dir)

    def answer(
        self, body: bytes, content_type: str, accept: str, headers: Mapping[str, str]
    ) -> Message:
        """Answer one request.

        Returns:
            A message with the body and its `status`, `content_type` and `headers`; or, for a
            refusal or a failure, with `status` and `error`, one sentence.
        """
        try:
            self._context.start_request(headers)
            return self._transform(body, content_type, accept)
        except RequestError as error:
            if error.status >= 500:
                traceback.print_exception(error.__cause__ or error)
            return Message({"status": error.status, "error": str(error)})
        except Exception as error:  # The next request may go well.
            traceback.print_exception(error)
            return Message({"status": 500, "error": f"the handlers failed: {describe(error)}"})

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

    def _transform(self, body: bytes, content_type: str, accept: str) -> Message:
        default = defaults.default_accept()
        accepts = choices(accept, tuple(dict.fromkeys((default, *ENCODED_TYPES))))
        content, content_type = decode_body(body, content_type)
        if "transform_fn" in self._own:
            step = partial(self._call, "transform_fn", self._model, content, content_type)
            return self._first_accepted("transform_fn", step, accepts)
        prediction = self._predict(self._call("input_fn", content, content_type))
        step = partial(self._call, "output_fn", prediction)
        return self._first_accepted("output_fn", step, accepts)

    def _first_accepted(
        self, name: str, call: Callable[[str], object], accepts: Sequence[str]
    ) -> Message:
        """Call the last handler with each accepted type, until it gives one."""
        refusals: list[RequestError] = []
        status = self._context.status
        for accept in accepts:
            self._context.status = status  # A refused type may have changed it.
            try:
                content, kind = _split_result(name, call(accept))
                kind = kind or concrete(accept, defaults.default_accept())
                return self._create_message(name, content, kind)
            except RequestError as error:
                if error.status != NotAcceptableError.status:
                    raise
                refusals.append(error)
        raise refusals[0]

    def _create_message(self, name: str, result: object, kind: object) -> Message:
        """Create the message of a handler's result, with the context's status and headers."""
        body, status = encode_result(name, result), self._context.reply_status()
        if status >= 400:
            raise HandlerError(status, first_line(body.decode(errors="replace")) or "refused")
        headers = {"content-type": kind, **self._context.response_headers}
        checked = {check_header(name, key): check_header(name, headers[key]) for key in headers}
        content_type = checked.pop("content-type")
        return Message({"status": status, "content_type": content_type, "headers": checked}, body)

    def _predict(self, data: Any) -> Any:
        """Call `predict_fn`; with default handlers, a wrong shape or type is the client's fault."""
        try:
            return self._call("predict_fn", data, self._model)
        except HandlerError as error:
            are_defaults = {"input_fn", "predict_fn"}.isdisjoint(self._own)
            if are_defaults and isinstance(error.__cause__, _OF_SHAPE):
                # The log has it in case the model is wrong.
                traceback.print_exception(error.__cause__)
                raise UnprocessableError(
                    f"the model does not take {data.dtype} of shape {tuple(data.shape)}: "
                    f"{error_line(error.__cause__)}"
                ) from error.__cause__
            raise

    def _call(self, name: str, *arguments: Any) -> Any:
        function = self._own.get(name, _DEFAULTS.get(name))
        assert function is not None  # Others are called only if the script has them.
        with_context = len(inspect.signature(function).parameters) > len(arguments)
        try:
            result = function(*arguments, *((self._context,) if with_context else ()))
        except RequestError:
            raise
        except (Exception, SystemExit) as error:
            raise translate_error(name, function, error, arguments) from error
        if result is None and (refusal := refuse_none(name, function, arguments)) is not None:
            raise refusal
        return result


def _split_result(name: str, result: object) -> tuple[object, object]:
    """Split the result of the last handler into the body and its content type, None if not given.

    Raises HandlerError for any other tuple.
    """
    if not isinstance(result, tuple):
        return result, None
    if len(result) != 2:
        raise HandlerError(
            500, f"{name} returned {len(result)} values, not a body, or a body and its content type"
        )
    return result


def _import_script(entry_point: str) -> ModuleType:
    """Import the script from the code folder, which is on the path."""
    try:
        return importlib.import_module(entry_point.removesuffix(".py").replace("/", "."))
    except (Exception, SystemExit) as error:
        raise LoadError(f"{entry_point} cannot be imported: {describe(error)}") from error


def _find_handlers(module: ModuleType) -> dict[str, Callable[..., Any]]:
    functions = ((name, getattr(module, name, None)) for name in ARGUMENTS)
    return {name: function for name, function in functions if function is not None}


def _check_arguments(name: str, function: Callable[..., Any]) -> None:
    if not callable(function):
        raise LoadError(f"{name} is {type(function).__name__}, not a function")
    expected, count = ARGUMENTS[name], len(inspect.signature(function).parameters)
    if count not in (len(expected), len(expected) + 1):
        raise LoadError(
            f"{name} takes {count} arguments, but gets {len(expected)} "
            f"({', '.join(expected)}), and the context if it takes one more"
        )
