"""Requests made up from the API's own description, valid ones and others: no answer is a 5xx."""

import json
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from schemathesis import Case, openapi
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode

from serve.http.app import create_app
from serve.rollout.registry import Registry
from serve.runtime.onnx_backend import OnnxBackend
from tests.support import ROOT
from tests.support.fake_model import Fake

EXAMPLES = 25
REFERENCE = re.compile(r'"\$ref": "#/components/(\w+)/([\w-]+)"')


def test_every_reference_leads_to_a_component_and_every_component_is_used() -> None:
    texts = [path.read_text() for path in (ROOT / "serve" / "http").glob("openapi*.json")]
    used = {found for text in texts for found in REFERENCE.findall(text)}
    components = json.loads(max(texts, key=len))["components"]
    described = {(kind, name) for kind, named in components.items() for name in named}
    assert described - used == {("schemas", "NamedOutputs")}  # It takes another's place.
    assert used <= described


def test_paths_of_handlers_take_the_place_of_the_networks() -> None:
    folder = ROOT / "serve" / "http"
    paths = json.loads((folder / "openapi.json").read_text())["paths"]
    of_handlers = json.loads((folder / "openapi_handlers.json").read_text())
    assert set(of_handlers) == {path for path, methods in paths.items() if "post" in methods}


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_no_generated_request_makes_the_server_fail(mode: GenerationMode) -> None:
    schema = openapi.from_asgi("/openapi.json", create_app(Registry(OnnxBackend(Fake()))))
    operations = [read.ok() for read in schema.get_all_operations() if isinstance(read, Ok)]
    assert len(operations) == 19
    for operation in operations:
        if mode is GenerationMode.NEGATIVE and not operation.body:
            continue  # Nothing about it can be wrong.

        @settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck), database=None)
        @given(operation.as_strategy(generation_mode=mode))
        def ask(case: Case[Any]) -> None:
            reply = case.call()
            assert reply.status_code < 500, reply.text

        ask()
