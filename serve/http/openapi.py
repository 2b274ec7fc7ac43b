"""The OpenAPI document of the routes that FastAPI does not see: those that ask the model."""

import math
from typing import Any

from serve.formats.codecs import JSON
from serve.formats.predictions import gives_labels, why_no_predictions
from serve.formats.requests import predict_types
from serve.formats.signatures import PNG
from serve.http.openapi_schemas import (
    ERROR,
    ERROR_SENTENCES,
    INPUT_DESCRIPTION,
    LABELLED_PREDICTION,
    NAMED_OUTPUTS,
    SAGEMAKER_ERROR,
    WITH_INPUT_PARAMETER,
    error_responses,
    invoke_operation,
    path_parameter,
    request_body,
    success_response,
)
from serve.http.responses import ALIAS_ROUTE
from serve.http.v2 import DATATYPE, INFER_ROUTES
from serve.models.manifest import Manifest, TensorSpec


def describe_routes(schema: dict[str, Any], manifest: Manifest) -> dict[str, Any]:
    """Add the routes that ask this model to FastAPI's OpenAPI document `schema`."""
    if manifest.has_handlers:
        description = "Bodies go unchanged to the model's own handlers."
        paths = handler_paths(manifest.name)
    else:
        description = "Pixels are 0 to 255; images scaled 0 to 1 or normalised are recognised."
        paths = model_paths(manifest)
    info = {
        "title": f"Tuneport: {manifest.name}",
        "version": manifest.version,
        "description": description,
    }
    return {**schema, "info": info, "paths": {**schema["paths"], **paths}}


def model_paths(manifest: Manifest) -> dict[str, Any]:
    """Describe the operations that ask a network, by path, in OpenAPI 3.0."""
    spec = manifest.inputs[0]
    raw = "The model's raw outputs; an Accept header chooses their type."
    return {
        "/invocations": {
            "post": invoke_operation(spec, raw, error_responses(ERROR, ERROR_SENTENCES))
        },
        ALIAS_ROUTE: {
            "post": invoke_operation(
                spec,
                f"The same for clients of SageMaker's runtime; the name is {manifest.name!r}.",
                error_responses(
                    SAGEMAKER_ERROR, {400: "No such endpoint.", 424: "The model refused."}
                ),
            )
            | {"parameters": [path_parameter("name")]}
        },
        **_infer_paths(spec, manifest.outputs[0]),
        "/predict": {"post": _predict(manifest)},
    }


def _predict(manifest: Manifest) -> dict[str, Any]:
    if why_no_predictions(manifest) is not None:
        return _no_predictions()
    return {
        "summary": _predict_summary(manifest),
        "parameters": [WITH_INPUT_PARAMETER],
        "requestBody": request_body(manifest.inputs[0], predict_types(manifest)),
        "responses": success_response({JSON: {"schema": _predict_answer(manifest)}})
        | error_responses(ERROR, ERROR_SENTENCES),
    }


def _predict_summary(manifest: Manifest) -> str:
    instances = "numbers or for one image" if PNG in predict_types(manifest) else "numbers"
    if gives_labels(manifest):
        return f"Labels and their probabilities, for {instances}."
    return f"The outputs by name, for {instances}."


def _predict_answer(manifest: Manifest) -> dict[str, Any]:
    """Describe the answer of `/predict`."""
    prediction = {
        **(LABELLED_PREDICTION if gives_labels(manifest) else NAMED_OUTPUTS),
        "input": {"type": "array", "items": {}, "description": INPUT_DESCRIPTION},
    }
    model = {"name": {"type": "string"}, "version": {"type": "string"}}
    return {
        "type": "object",
        "properties": {
            "predictions": {
                "type": "array",
                "items": {"type": "object", "properties": prediction},
            },
            "model": {"type": "object", "properties": model},
        },
    }


def _infer_paths(input_spec: TensorSpec, output_spec: TensorSpec) -> dict[str, Any]:
    """Describe inference by the Open Inference Protocol."""
    shape = [1, *input_spec.shape[1:]]
    tensor = {"name": input_spec.name, "datatype": DATATYPE, "shape": shape}
    example = {"inputs": [{**tensor, "data": [0] * math.prod(shape)}]}
    schema = {
        "type": "object",
        "required": ["inputs"],
        "properties": {"inputs": {"type": "array", "items": {}}},
    }
    operation = {
        "summary": f"The output {output_spec.name!r} for the input {input_spec.name!r}.",
        "requestBody": {
            "required": True,
            "content": {JSON: {"schema": schema, "example": example}},
        },
        "responses": success_response({JSON: {"schema": {"type": "object"}}})
        | error_responses(ERROR, {404: "No such model.", **ERROR_SENTENCES}),
    }
    return {
        path: {"post": {**operation, "parameters": [path_parameter(name) for name in names]}}
        for path, names in zip(INFER_ROUTES, (["name"], ["name", "version"]), strict=True)
    }


def _no_inference() -> dict[str, Any]:
    return {
        path: {
            "post": {
                "summary": "Not for this model.",
                "parameters": [path_parameter(name) for name in names],
                "responses": error_responses(ERROR, {404: "It answers at /invocations."}),
            }
        }
        for path, names in zip(INFER_ROUTES, (["name"], ["name", "version"]), strict=True)
    }


def _no_predictions() -> dict[str, Any]:
    return {
        "summary": "Not for this model.",
        "responses": error_responses(ERROR, {404: "It answers at /invocations."}),
    }


def handler_paths(name: str) -> dict[str, Any]:
    """Describe the same operations where a script's handlers read bodies and write answers."""
    anything = {"*/*": {"schema": {"type": "string", "format": "binary"}}}
    body = {"required": True, "content": anything}
    refusals = {
        400: "The body is unreadable, or the handlers refuse it.",
        **{status: ERROR_SENTENCES[status] for status in (406, 413, 415, 422)},
        500: "A handler failed.",
        503: "The model is not loaded.",
        504: "The model took too long.",
    }
    raw = "The answer of the model's handlers to the body and the Accept header."
    alias = f"The same for clients of SageMaker's runtime; the name is {name!r}."
    alias_errors = error_responses(
        SAGEMAKER_ERROR, {400: "No such endpoint.", 424: "The model refused."}
    )
    return {
        "/invocations": {
            "post": {
                "summary": raw,
                "requestBody": body,
                "responses": success_response(anything) | error_responses(ERROR, refusals),
            }
        },
        ALIAS_ROUTE: {
            "post": {
                "summary": alias,
                "requestBody": body,
                "responses": success_response(anything) | alias_errors,
                "parameters": [path_parameter("name")],
            }
        },
        **_no_inference(),
        "/predict": {"post": _no_predictions()},
    }
