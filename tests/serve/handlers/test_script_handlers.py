"""A script's handlers: kinds, numbers of arguments, replies and errors."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from textwrap import dedent

import pytest

from serve.handlers.script_handlers import Handlers, LoadError
from serve.ipc import Message

JSON, CSV, NPY = "application/json", "text/csv", "application/x-npy"
Load = Callable[[str], Handlers]

STEPS = """
def model_fn(model_dir):
    return "model"
def input_fn(body, content_type):
    return [body, content_type]
def predict_fn(data, model):
    return [*data, model]
def output_fn(prediction, accept):
    return repr([*prediction, accept])
"""


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Write a script and load its handlers."""
    monkeypatch.syspath_prepend(tmp_path)

    def load(script: str) -> Handlers:
        name = f"script_{tmp_path.name}_{len(list(tmp_path.iterdir()))}.py"
        (tmp_path / name).write_text(dedent(script))
        return Handlers(name, "mine", str(tmp_path))

    return load


def ask(
    handlers: Handlers,
    body: bytes = b"[1]",
    content_type: str = JSON,
    accept: str = "",
    headers: Mapping[str, str] | None = None,
) -> Message:
    return handlers.answer(body, content_type, accept, headers or {})


def test_each_step_is_the_scripts_own(load: Load) -> None:
    answer = ask(load(STEPS), b"body", "image/png", CSV)
    assert answer.body == b"[b'body', 'image/png', 'model', 'text/csv']"
    assert answer.values == {"status": 200, "content_type": CSV, "headers": {}}


WITH_CONTEXT = """
def pre_model_fn(model_dir, context):
    global BEGUN
    BEGUN = context.model_name
def model_fn(model_dir, context):
    return context.system_properties["model_dir"]
def model_warmup_fn(model_dir, model, context):
    assert model == model_dir
def input_fn(body, content_type, context):
    return context.get_request_header(0, "X-Amzn-SageMaker-Custom-Attributes")
def predict_fn(data, model, context=None):
    return [BEGUN, data, context.request_processor[0].get_request_properties()["accept"]]
def output_fn(prediction, accept, context):
    context.set_response_header(0, "X-Amzn-SageMaker-Custom-Attributes", "answered")
    context.set_response_content_type(0, "text/plain")
    context.set_response_status(code=202)
    return prediction
"""


def test_each_handler_may_take_the_context_too(load: Load) -> None:
    headers = {"x-amzn-sagemaker-custom-attributes": "asked", "accept": JSON}
    answer = ask(load(WITH_CONTEXT), headers=headers)
    assert json.loads(answer.body) == ["mine", "asked", JSON]
    assert answer.values == {
        "status": 202,
        "content_type": "text/plain",
        "headers": {"x-amzn-sagemaker-custom-attributes": "answered"},
    }


def test_the_context_forgets_the_request_before(load: Load) -> None:
    script = """
    def model_fn(model_dir): return None
    def transform_fn(model, body, content_type, accept, context):
        if body == b"first":
            context.set_response_status(code=202)
            context.set_response_header(0, "a", "b")
        return repr(context.get_all_request_header(0))
    """
    handlers = load(script)
    first = ask(handlers, b"first", "text/plain", headers={"a": "1"})
    assert (first.values["status"], first.values["headers"]) == (202, {"a": "b"})
    second = ask(handlers, b"second", "text/plain")
    assert (second.body, second.values["status"], second.values["headers"]) == (b"{}", 200, {})


def test_an_error_status_set_on_the_context_is_a_refusal(load: Load) -> None:
    script = f"""{STEPS}
def output_fn(prediction, accept, context):
    context.set_response_status(code=404)
    return "no such animal\\nin this zoo"
"""
    assert ask(load(script)).values == {"status": 404, "error": "no such animal"}


def test_a_transform_is_all_steps_in_one(load: Load) -> None:
    script = """
    def model_fn(model_dir): return "model"
    def transform_fn(model, body, content_type, accept):
        return f"{model} {body} {content_type} {accept}", "text/x-mine"
    """
    answer = ask(load(script), accept="text/html")
    assert answer.body == b"model [1] application/json text/html"
    assert answer.values["content_type"] == "text/x-mine"


GIVEN = """
def model_fn(model_dir): return None
def transform_fn(model, body, content_type, accept): return repr((body, content_type, accept))
"""


@pytest.mark.parametrize(
    ("content_type", "given"),
    [
        (JSON, ("é", JSON)),
        ("application/json; charset=utf-8", ("é", JSON)),
        ("Text/CSV;charset=UTF-8", ("é", CSV)),
        ("text/csv; charset=latin-1", ("Ã©", CSV)),
        (NPY, ("é".encode(), NPY)),
        ("multipart/form-data; boundary=x", ("é".encode(), "multipart/form-data; boundary=x")),
        ("text/plain; charset=utf-8", ("é".encode(), "text/plain; charset=utf-8")),
        ("", ("é".encode(), "")),
    ],
)
def test_handlers_get_json_and_csv_as_text_and_other_bodies_as_bytes(
    load: Load, content_type: str, given: tuple[object, str]
) -> None:
    answer = ask(load(GIVEN), "é".encode(), content_type)
    assert answer.body.decode() == repr((*given, JSON))


@pytest.mark.parametrize(
    ("accept", "given", "answered"),
    [
        ("", JSON, JSON),
        ("*/*", JSON, JSON),
        (NPY, NPY, NPY),
        ("text/csv, application/json", CSV, CSV),
        ("text/csv;q=0.5, image/png", "image/png", "image/png"),
        ("Text/CSV;q=0.5", CSV, CSV),
        ("text/*", CSV, CSV),
        ("image/*", "image/*", JSON),
        (",", JSON, JSON),
    ],
)
def test_the_answer_is_of_one_type(load: Load, accept: str, given: str, answered: str) -> None:
    answer = ask(load(GIVEN), b"", "", accept)
    assert answer.body.decode() == repr((b"", "", given))
    assert answer.values["content_type"] == answered


def test_the_default_accept_can_be_set(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT", CSV)
    assert ask(load(GIVEN)).values["content_type"] == CSV


@pytest.mark.parametrize(
    ("result", "body"),
    [
        ("b'bytes'", b"bytes"),
        ("bytearray(b'bytes')", b"bytes"),
        ("'é'", "é".encode()),
        ("{'a': [1]}", b'{"a": [1]}'),
        ("3.5", b"3.5"),
        ("('text', 'text/plain')", b"text"),
    ],
)
def test_a_result_becomes_a_body(load: Load, result: str, body: bytes) -> None:
    script = f"{STEPS}\ndef output_fn(prediction, accept): return {result}"
    assert ask(load(script)).body == body


FAILURES: list[tuple[str, str, int, str]] = [
    ("input_fn", "raise UnsupportedFormatError('a/b')", 415, "Content type a/b is not supported"),
    ("output_fn", "raise UnsupportedFormatError('a/b')", 406, "Content type a/b is not supported"),
    ("input_fn", "import json; json.loads('{')", 400, "the body cannot be read: Expecting"),
    ("input_fn", "b'\\xff'.decode()", 400, "the body cannot be read: 'utf-8' codec"),
    ("predict_fn", "import json; json.loads('{')", 500, "predict_fn failed: JSONDecodeError"),
    ("predict_fn", "raise Chosen(422, 'too dark', 'no')", 422, "too dark"),
    ("predict_fn", "raise Chosen(422, '', '')", 422, "Chosen"),
    ("output_fn", "raise Chosen(200, 'not so', 'no')", 500, "output_fn failed: Chosen"),
    ("input_fn", "raise ValueError('no: ' + b)", 415, "no: text/csv"),
    ("output_fn", "raise ValueError('no: ' + b)", 406, "no: application/x-npy"),
    (
        "output_fn",
        "raise ValueError('line 1\\nline 2')",
        500,
        "output_fn failed: ValueError: line 1",
    ),
    ("input_fn", "a.absent", 500, "input_fn failed: AttributeError: 'str' object has no attribute"),
    ("predict_fn", "raise KeyError", 500, "predict_fn failed: KeyError: KeyError"),
    ("predict_fn", "import sys; sys.exit(1)", 500, "predict_fn failed: SystemExit: 1"),
    ("output_fn", "return None", 500, "output_fn returned NoneType, not bytes, text or what JSON"),
    ("output_fn", "return '\\ud800'", 500, "output_fn returned str, not bytes, text or what JSON"),
    ("output_fn", "return object()", 500, "output_fn returned object, not bytes"),
    (
        "output_fn",
        "return 'x', 'a\\r\\nb: c'",
        500,
        "output_fn returned a header that cannot be sent",
    ),
    (
        "output_fn",
        "return 'x', 'text/csv', 3",
        500,
        "output_fn returned 3 values, not a body, or a body",
    ),
    (
        "output_fn",
        "import numpy; return 'x', numpy.arange(2)",
        500,
        "the handlers failed: ValueError: The truth value of an array",
    ),
    ("output_fn", "return 'x', 7", 500, "output_fn returned a header that cannot be sent: 7"),
]


@pytest.mark.parametrize(("name", "line", "status", "text"), FAILURES)
def test_an_error_of_a_handler_is_answered_in_one_sentence(
    load: Load,
    capsys: pytest.CaptureFixture[str],
    name: str,
    line: str,
    status: int,
    text: str,
) -> None:
    script = f"""
from serve.handlers.stubs.sagemaker_inference import errors
UnsupportedFormatError = errors.UnsupportedFormatError
class Chosen(errors.BaseInferenceToolkitError): pass
{STEPS}
def {name}(a, b):
    {line}
"""
    answer = ask(load(script), b"1", CSV, NPY)
    assert answer.values["status"] == status
    assert answer.values["error"].startswith(text)
    assert "\n" not in answer.values["error"]
    assert ("Traceback" in capsys.readouterr().err) == (status >= 500)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("raise ValueError('no numbers')", "ValueError: no numbers"),
        ("return {}['features']", "KeyError: 'features'"),
        ("return [1][a]", "TypeError: list indices must be integers or slices, not str"),
    ],
)
def test_an_error_of_an_input_fn_is_a_bad_request_and_logged(
    load: Load, capsys: pytest.CaptureFixture[str], line: str, text: str
) -> None:
    answer = ask(load(f"{STEPS}\ndef input_fn(a, b): {line}"))
    assert answer.values == {"status": 400, "error": f"the body cannot be read: {text}"}
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "status"), [("kind", 415), ("accept", 406), ("'nothing'", 500), ("''", 500)]
)
def test_a_transform_fn_names_the_type_that_it_does_not_take(
    load: Load, given: str, status: int
) -> None:
    script = f"def transform_fn(model, body, kind, accept): raise ValueError('no ' + {given})"
    model = load(f"{script}\ndef model_fn(model_dir): return 1")
    assert ask(model, b"1", CSV, NPY).values["status"] == status


ONE_BY_ONE = f"""
{STEPS}
def output_fn(prediction, accept):
    if accept == "text/csv":
        return "a,b", accept
    if accept == "application/json":
        return '["a", "b"]'
    raise ValueError("cannot write " + accept)
"""


@pytest.mark.parametrize(
    ("accept", "answered"),
    [
        ("image/png, text/csv, application/json", CSV),
        ("text/csv;q=0.1, image/png, application/json;q=0.2", JSON),
        ("image/png, */*;q=0.1", JSON),
        ("application/json;q=0, */*", CSV),
    ],
)
def test_the_first_accepted_type_that_a_handler_gives_is_sent(
    load: Load, accept: str, answered: str
) -> None:
    answer = ask(load(ONE_BY_ONE), accept=accept)
    assert answer.values["status"] == 200
    assert answer.values["content_type"] == answered


def test_the_refusal_of_the_preferred_type_is_sent_if_none_is_given(load: Load) -> None:
    answer = ask(load(ONE_BY_ONE), accept="image/png;q=0.5, image/gif")
    assert answer.values == {"status": 406, "error": "cannot write image/gif"}


def test_an_accept_header_that_allows_nothing_is_refused(load: Load) -> None:
    answer = ask(load(ONE_BY_ONE), accept="application/json;q=0")
    assert answer.values["status"] == 406
    assert "nothing that Accept 'application/json;q=0' allows" in answer.values["error"]


def test_a_status_that_an_earlier_step_chose_stays(load: Load) -> None:
    script = f"""
{STEPS}
def predict_fn(data, model, context):
    context.set_response_status(422)
    return "too dark"
def output_fn(prediction, accept):
    return prediction
"""
    answer = ask(load(script), accept="image/png, text/csv")
    assert answer.values == {"status": 422, "error": "too dark"}


def test_an_error_that_is_no_refusal_is_not_tried_again(load: Load) -> None:
    script = f"""
{STEPS}
TRIED = []
def output_fn(prediction, accept):
    TRIED.append(accept)
    return {{}}[len(TRIED)]
"""
    answer = ask(load(script), accept="image/png, text/csv")
    assert answer.values == {"status": 500, "error": "output_fn failed: KeyError: 1"}


@pytest.mark.parametrize(
    ("body", "content_type", "status", "text"),
    [
        (b"\xff", JSON, 400, "the body is not text: 'utf-8' codec can't decode byte 0xff"),
        (b"[1]", "application/json; charset=klingon", 415, "charset 'klingon' is not read"),
        (b"[1]", "text/csv; charset=rot13", 415, "charset 'rot13' is not read"),
        (b"\xff-", "text/csv; charset=utf-8", 400, "the body is not text"),
        (b"a-b", "text/csv; charset=punycode", 415, "charset 'punycode' is not read; send utf-8"),
    ],
)
def test_text_that_cannot_be_read_reaches_no_handler(
    load: Load, body: bytes, content_type: str, status: int, text: str
) -> None:
    answer = ask(load(STEPS), body, content_type)
    assert answer.values["status"] == status
    assert answer.values["error"].startswith(text)


@pytest.mark.parametrize(
    ("script", "match"),
    [
        ("def model_fn(): pass", r"model_fn takes 0 arguments, but gets 1 \(model_dir\), and"),
        ("def input_fn(a): pass", r"input_fn takes 1 arguments, but gets 2 \(body, content_"),
        ("def predict_fn(a, b, c, d): pass", "predict_fn takes 4 arguments"),
        ("def output_fn(*a): pass", "output_fn takes 1 arguments"),
        ("def transform_fn(a, b, c): pass", "transform_fn takes 3 arguments"),
        (f"{STEPS}\ndef transform_fn(a, b, c, d): pass", "remove input_fn, output_fn, predict"),
        ("raise OSError('no')", "cannot be imported: OSError: no"),
        (
            "def model_fn(model_dir): open('/opt/ml/model/model.pth')",
            r"'/opt/ml/model/model\.pth'; the model is in model_fn's model_dir, not in /opt/ml$",
        ),
        ("def model_fn(model_dir): open('/no/file')", "model_fn failed: FileNotFoundError"),
    ],
)
def test_unusable_handlers_are_reported_when_loaded(load: Load, script: str, match: str) -> None:
    with pytest.raises(LoadError, match=match):
        load(script)


def test_a_model_without_a_script_has_the_defaults(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"exactly one \.pth or \.pt file is served without a mod"):
        Handlers(None, "mine", str(tmp_path))
