"""Requests made up from the API's own description, valid ones and others: no answer is a 5xx."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from schemathesis import Case, openapi
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode

from serve.http.app import create_app
from serve.rollout.registry import Registry
from serve.runtime.onnx_backend import OnnxBackend
from tests.support.fake_model import Fake

EXAMPLES = 25


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
