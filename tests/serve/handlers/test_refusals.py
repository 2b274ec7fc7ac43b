"""The many ways in which scripts refuse the type of a body or of an answer."""

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from serve.handlers.script_handlers import Handlers
from serve.ipc import Message

JSON, CSV, NPY = "application/json", "text/csv", "application/x-npy"
Load = Callable[[str], Handlers]

MODEL = """
import json
def model_fn(model_dir):
    return "model"
"""
PREDICT = """
def predict_fn(data, model):
    return data
"""


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Write a script and load its handlers."""
    monkeypatch.syspath_prepend(tmp_path)

    def load(script: str) -> Handlers:
        name = f"refusing_{tmp_path.name}_{len(list(tmp_path.iterdir()))}.py"
        predict = "" if "transform_fn" in script else PREDICT
        (tmp_path / name).write_text(MODEL + predict + dedent(script))
        return Handlers(name, "mine", str(tmp_path))

    return load


def sent_csv(handlers: Handlers, accept: str = JSON) -> Message:
    return handlers.answer(b"1,2", CSV, accept, {})


@pytest.mark.parametrize(
    ("script", "text"),
    [
        (
            """
            def input_fn(body, content_type):
                if content_type == "application/json":
                    return json.loads(body)
            """,
            "input_fn does not take content type 'text/csv'",
        ),
        (
            """
            def input_fn(body, content_type):
                if content_type == "application/json":
                    return json.loads(body)
                raise Exception("Requested unsupported ContentType: " + content_type)
            """,
            "Requested unsupported ContentType: text/csv",
        ),
        (
            """
            def input_fn(body, content_type):
                if content_type == "application/json":
                    return json.loads(body)
                else:
                    raise ValueError("we do not know what to do with that")
            """,
            "input_fn does not take content type 'text/csv': we do not know what to do with that",
        ),
        (
            """
            def input_fn(request_body, request_content_type):
                assert request_content_type == "application/json"
                return json.loads(request_body)
            """,
            "input_fn does not take content type 'text/csv'",
        ),
        (
            """
            def input_fn(body, kind):
                subtype = kind.split("/")[1]
                if subtype not in ("json", "png"):
                    raise NotImplementedError
                return json.loads(body)
            """,
            "input_fn does not take content type 'text/csv'",
        ),
        (
            """
            def input_fn(body, content_type):
                match content_type:
                    case "application/json":
                        return json.loads(body)
                    case _:
                        raise OSError("what is that")
            """,
            "input_fn does not take content type 'text/csv': what is that",
        ),
        (
            """
            def input_fn(body, content_type):
                return parsed(body, json=content_type.endswith("json"))
            def parsed(body, json):
                if not json:
                    raise ValueError("not support this type yet")
            """,
            "input_fn does not take content type 'text/csv': not support this type yet",
        ),
        (
            """
            def input_fn(body, content_type):
                return {"application/json": json.loads}[content_type](body)
            """,
            "input_fn does not take content type 'text/csv'",
        ),
        (
            """
            def input_fn(body, content_type, context):
                if content_type != "application/json":
                    raise RuntimeException(content_type)  # There is no such name in Python.
            """,
            "input_fn does not take content type 'text/csv': name 'RuntimeException' is not",
        ),
        (
            """
            class Reader:
                def read(self, body, content_type):
                    if content_type == "application/json":
                        return json.loads(body)
            input_fn = Reader().read
            """,
            "input_fn does not take content type 'text/csv'",
        ),
    ],
)
def test_an_input_fn_that_refuses_a_type_is_unsupported(load: Load, script: str, text: str) -> None:
    answer = sent_csv(load(script))
    assert answer.values["status"] == 415
    assert answer.values["error"].startswith(text)


@pytest.mark.parametrize(
    ("script", "status", "text"),
    [
        (
            """
            def input_fn(body, content_type):
                if content_type == "text/csv":
                    row = body.split(",")
                    if len(row) != 3:
                        raise ValueError(f"three numbers, not {len(row)}")
                    return row
                raise ValueError("not support this type yet")
            """,
            400,
            "the body cannot be read: ValueError: three numbers, not 2",
        ),
        (
            """
            def input_fn(body, content_type):
                if content_type == "text/csv" and len(body) < 10:
                    raise ValueError("too short")
            """,
            400,
            "the body cannot be read: ValueError: too short",
        ),
        (
            """
            def decoded(body, content_type):
                return {}
            def input_fn(body, content_type):
                data = decoded(body, content_type)
                if "features" not in data:
                    raise ValueError("no features")
            """,
            400,
            "the body cannot be read: ValueError: no features",
        ),
        (
            """
            def input_fn(body, content_type):
                if content_type == "text/csv":
                    return body - 1.5
            """,
            400,
            "the body cannot be read: TypeError: unsupported operand type(s) for -",
        ),
        (
            """
            def input_fn(body, content_type):
                if content_type == "text/csv":
                    try:
                        return [int(cell) for cell in body.split(";")]
                    except ValueError:
                        raise ValueError("cells are whole numbers")
            """,
            400,
            "the body cannot be read: ValueError: cells are whole numbers",
        ),
        (
            """
            def input_fn(body, content_type):
                if content_type == "text/csv":
                    raise MemoryError("too small a machine")
            """,
            500,
            "input_fn failed: MemoryError: too small a machine",
        ),
        (
            """
            def input_fn(body, content_type):
                if content_type == "text/csv":
                    return MISSING
            """,
            500,
            "input_fn failed: NameError: name 'MISSING' is not defined",
        ),
        (
            """
            def predict_fn(data, model):
                raise ValueError("content type text/csv is not supported")
            """,
            500,
            "predict_fn failed: ValueError: content type text/csv is not supported",
        ),
    ],
)
def test_an_error_of_the_body_or_of_the_handler_is_no_refusal_of_its_type(
    load: Load, script: str, status: int, text: str
) -> None:
    answer = sent_csv(load(script))
    assert answer.values["status"] == status
    assert answer.values["error"].startswith(text)


def test_an_input_fn_that_looks_at_no_type_may_give_none(load: Load) -> None:
    handlers = load("def input_fn(body, content_type): pass")
    assert sent_csv(handlers).body == b"null"


@pytest.mark.parametrize(
    ("script", "text"),
    [
        (
            """
            def output_fn(prediction, accept):
                if accept == "application/json":
                    return json.dumps(prediction)
            """,
            "output_fn does not give 'application/x-npy'",
        ),
        (
            """
            def output_fn(prediction, accept):
                if accept == "application/json":
                    return json.dumps(prediction), accept
                raise RuntimeException(f"{accept} accept type is not supported.")
            """,
            "output_fn does not give 'application/x-npy': name 'RuntimeException' is not defined",
        ),
        (
            """
            def output_fn(prediction, accept):
                assert accept in ("application/json", "text/csv"), "JSON and CSV alone"
                return json.dumps(prediction)
            """,
            "output_fn does not give 'application/x-npy': JSON and CSV alone",
        ),
        (
            """
            from serve.handlers.stubs.sagemaker_inference import errors
            def output_fn(prediction, accept):
                raise errors.UnsupportedFormatError(accept)
            """,
            "Content type application/x-npy is not supported by this framework",
        ),
    ],
)
def test_an_output_fn_that_refuses_a_type_is_not_acceptable(
    load: Load, script: str, text: str
) -> None:
    answer = sent_csv(load(f"def input_fn(body, content_type): return 1\n{dedent(script)}"), NPY)
    assert answer.values["status"] == 406
    assert answer.values["error"].startswith(text)


TRANSFORM = """
def transform_fn(model, body, content_type, accept):
    if content_type != "text/csv":
        raise ValueError("no")
    if accept == "application/json":
        return "[]"
    if accept == "image/png":
        raise ValueError("this response format is not supported")
"""


@pytest.mark.parametrize(
    ("content_type", "accept", "status", "text"),
    [
        (NPY, JSON, 415, "transform_fn does not take content type 'application/x-npy': no"),
        (CSV, "image/png", 406, "transform_fn does not give 'image/png': this response"),
        (CSV, JSON, 200, ""),
    ],
)
def test_a_transform_fn_refuses_either(
    load: Load, content_type: str, accept: str, status: int, text: str
) -> None:
    answer = load(TRANSFORM).answer(b"1", content_type, accept, {})
    assert answer.values["status"] == status
    assert answer.values.get("error", "").startswith(text)
