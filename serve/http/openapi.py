"""The OpenAPI document of the routes that FastAPI does not see: those that ask the model."""

import math
from typing import Any

from serve.formats.codecs import JSON
from serve.formats.predictions import gives_labels, why_no_predictions
from serve.formats.requests import predict_types, why_no_page
from serve.formats.scaling import SCALE_HEADER, format_shape, scales
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
    scale_parameters,
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
        description = _describe_inputs(manifest.inputs[0])
        paths = model_paths(manifest)
    info = {
        "title": f"Tuneport: {manifest.name}",
        "version": manifest.version,
        "description": description,
    }
    paths = {**schema["paths"], **paths}
    if why_no_page(manifest) is not None:
        paths.pop("/", None)
    # Relative to this document, so that a proxy may strip a prefix.
    return {**schema, "info": info, "servers": [{"url": "./"}], "paths": paths}


def _describe_inputs(spec: TensorSpec) -> str:
    shape = format_shape(("N", *spec.shape[1:]))
    if spec.range is None:
        return f"Inputs have shape {shape}; their numbers are taken as they are."
    names = [scale.name for scale in scales(spec)]
    return (
        f"Inputs have shape {shape}; their numbers are {spec.range[0]:g} to {spec.range[1]:g}, or "
        f"in another scale of {', '.join(names)}, which they tell or {SCALE_HEADER} declares."
    )


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
            | {"parameters": [path_parameter("name"), *scale_parameters(spec)]}
        },
        **_infer_paths(spec, manifest.outputs[0]),
        "/predict": {"post": _predict(manifest)},
    }


def _predict(manifest: Manifest) -> dict[str, Any]:
    if why_no_predictions(manifest) is not None:
        return _no_predictions()
    return {
        "summary": _predict_summary(manifest),
        "parameters": [WITH_INPUT_PARAMETER, *scale_parameters(manifest.inputs[0])],
        "requestBody": request_body(manifest.inputs[0], predict_types(manifest)),
        "responses": success_response(
            {JSON: {"schema": _predict_answer(manifest)}}, manifest.inputs[0]
        )
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
        "responses": success_response({JSON: {"schema": {"type": "object"}}}, input_spec)
        | error_responses(ERROR, {404: "No such model.", **ERROR_SENTENCES}),
    }
    scale = scale_parameters(input_spec)
    return {
        path: {"post": {**operation, "parameters": [*map(path_parameter, names), *scale]}}
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
