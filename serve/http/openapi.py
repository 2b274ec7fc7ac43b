"""The OpenAPI description of the routes that FastAPI does not see: those that ask the model."""

import math
from typing import Any

from serve.formats.codecs import CODECS, JSON
from serve.formats.predictions import gives_labels, why_no_predictions
from serve.http.responses import ALIAS_ROUTE
from serve.http.v2 import DATATYPE, INFER_ROUTES
from serve.models.manifest import Manifest, TensorSpec
from serve.rollout.registry import Model
from serve.runtime.backend import PNG, Service

_SENTENCES = {
    400: "The body is empty or unreadable, or has text where numbers belong.",
    406: "No type that is accepted can be given.",
    413: "The body is larger than 6 MiB.",
    415: "The content type is not read here.",
    422: "Readable, but a wrong shape, NaN or infinity, or out of range.",
    503: "The server is overloaded, or the model not loaded; Retry-After says when to ask again.",
    504: "The request waited too long for its turn.",
}
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string", "description": "What is wrong, in one sentence."}},
}
_SERVICE_ERROR = {
    "type": "object",
    "required": ["Message"],
    "properties": {
        "Message": {"type": "string"},
        "OriginalStatusCode": {"type": "integer"},
        "OriginalMessage": {"type": "string"},
        "LogStreamArn": {"type": "string"},
    },
}
_INPUT = "The numbers that the model was given, where with_input asks for them."
_LABELLED = {
    "label": {"type": "string"},
    "probability": {"type": "number"},
    "probabilities": {"type": "array", "items": {"type": "number"}},
}
_NAMED = {
    "outputs": {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "labels": {"type": "array", "items": {"type": "string"}},
                "values": {"description": "A number, or a list of them, nested as the output is."},
            },
        },
    }
}
_WITH_INPUT = {
    "name": "with_input",
    "in": "query",
    "required": False,
    "description": "Give back each input too, as the model saw it: a drawing prepared, for one.",
    "schema": {"type": "boolean", "default": False},
}


def described(schema: dict[str, Any], model: Model) -> dict[str, Any]:
    """FastAPI's description of what it knows, with what this model adds to it."""
    manifest, asked = model.manifest, model.asked
    if isinstance(asked, Service):
        said = "Pixels are 0 to 255; images scaled 0 to 1 or normalised are recognised."
        paths = model_paths(manifest, asked.predict_types)
    else:
        said = "Bodies go to the model's own handlers as they come."
        paths = handler_paths(manifest.name)
    info = {
        "title": f"Tuneport: {manifest.name}",
        "version": manifest.version,
        "description": said,
    }
    return {**schema, "info": info, "paths": {**schema["paths"], **paths}}


def model_paths(manifest: Manifest, predict_types: tuple[str, ...]) -> dict[str, Any]:
    """The operations that ask the model, by path, as OpenAPI 3.0 has them."""
    spec = manifest.inputs[0]
    raw = "The model's raw outputs; an Accept header chooses their type."
    return {
        "/invocations": {"post": _invoke(spec, raw, _errors(_ERROR, _SENTENCES))},
        ALIAS_ROUTE: {
            "post": _invoke(
                spec,
                f"The same for clients of SageMaker's runtime; the name is {manifest.name!r}.",
                _errors(_SERVICE_ERROR, {400: "No such endpoint.", 424: "The model refused."}),
            )
            | {"parameters": [_parameter("name")]}
        },
        **_infer_paths(spec, manifest.outputs[0]),
        "/predict": {"post": _predict(manifest, predict_types)},
    }


def _predict(manifest: Manifest, predict_types: tuple[str, ...]) -> dict[str, Any]:
    if why_no_predictions(manifest) is not None:
        return _no_predictions()
    return {
        "summary": _predict_summary(manifest, predict_types),
        "parameters": [_WITH_INPUT],
        "requestBody": _body(manifest.inputs[0], predict_types),
        "responses": _ok({JSON: {"schema": _answer(manifest)}}) | _errors(_ERROR, _SENTENCES),
    }


def _predict_summary(manifest: Manifest, predict_types: tuple[str, ...]) -> str:
    given = "numbers or for one image" if PNG in predict_types else "numbers"
    if gives_labels(manifest):
        return f"Labels and their probabilities, for {given}."
    return f"The outputs by name, for {given}."


def _answer(manifest: Manifest) -> dict[str, Any]:
    """The schema of what `/predict` answers."""
    prediction = {
        **(_LABELLED if gives_labels(manifest) else _NAMED),
        "input": {"type": "array", "items": {}, "description": _INPUT},
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


def _infer_paths(given: TensorSpec, wanted: TensorSpec) -> dict[str, Any]:
    """Inference by the Open Inference Protocol."""
    shape = [1, *given.shape[1:]]
    tensor = {"name": given.name, "datatype": DATATYPE, "shape": shape}
    example = {"inputs": [{**tensor, "data": [0] * math.prod(shape)}]}
    schema = {
        "type": "object",
        "required": ["inputs"],
        "properties": {"inputs": {"type": "array", "items": {}}},
    }
    operation = {
        "summary": f"The output {wanted.name!r} for the input {given.name!r}.",
        "requestBody": {
            "required": True,
            "content": {JSON: {"schema": schema, "example": example}},
        },
        "responses": _ok({JSON: {"schema": {"type": "object"}}})
        | _errors(_ERROR, {404: "No such model.", **_SENTENCES}),
    }
    return {
        path: {"post": {**operation, "parameters": [_parameter(name) for name in names]}}
        for path, names in zip(INFER_ROUTES, (["name"], ["name", "version"]), strict=True)
    }


def _no_inference() -> dict[str, Any]:
    return {
        path: {
            "post": {
                "summary": "Not for this model.",
                "parameters": [_parameter(name) for name in names],
                "responses": _errors(_ERROR, {404: "It answers at /invocations."}),
            }
        }
        for path, names in zip(INFER_ROUTES, (["name"], ["name", "version"]), strict=True)
    }


def _no_predictions() -> dict[str, Any]:
    return {
        "summary": "Not for this model.",
        "responses": _errors(_ERROR, {404: "It answers at /invocations."}),
    }


def handler_paths(name: str) -> dict[str, Any]:
    """The same operations where handlers of a model's own read the bodies and write the answers."""
    anything = {"*/*": {"schema": {"type": "string", "format": "binary"}}}
    body = {"required": True, "content": anything}
    refusals = {
        400: "The body is unreadable, or what the handlers say.",
        **{status: _SENTENCES[status] for status in (406, 413, 415, 422)},
        500: "A handler failed.",
        503: "The model is not loaded.",
        504: "The model took too long.",
    }
    raw = "What the model's handlers make of the body; they are given the Accept header."
    alias = f"The same for clients of SageMaker's runtime; the name is {name!r}."
    alias_errors = _errors(_SERVICE_ERROR, {400: "No such endpoint.", 424: "The model refused."})
    return {
        "/invocations": {
            "post": {
                "summary": raw,
                "requestBody": body,
                "responses": _ok(anything) | _errors(_ERROR, refusals),
            }
        },
        ALIAS_ROUTE: {
            "post": {
                "summary": alias,
                "requestBody": body,
                "responses": _ok(anything) | alias_errors,
                "parameters": [_parameter("name")],
            }
        },
        **_no_inference(),
        "/predict": {"post": _no_predictions()},
    }


def _parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _invoke(spec: TensorSpec, summary: str, errors: dict[str, Any]) -> dict[str, Any]:
    outputs: dict[str, Any] = {name: {"schema": {}} for name in CODECS}
    return {
        "summary": summary,
        "requestBody": _body(spec, tuple(CODECS)),
        "responses": _ok(outputs) | errors,
    }


def _body(spec: TensorSpec, types: tuple[str, ...]) -> dict[str, Any]:
    return {"required": True, "content": {name: _content(spec, name) for name in types}}


def _content(spec: TensorSpec, media_type: str) -> dict[str, Any]:
    if media_type != JSON:
        return {"schema": {"type": "string", "format": "binary"}}
    schema = {
        "type": "object",
        "required": ["instances"],
        "properties": {
            "instances": {
                "type": "array",
                "items": {},
                "description": f"Inputs of shape {list(spec.shape)}, flat or nested.",
            }
        },
    }
    return {"schema": schema, "example": {"instances": [[0] * math.prod(spec.shape[1:])]}}


def _ok(content: dict[str, Any]) -> dict[str, Any]:
    headers = {
        "x-model-version": "The model that answered.",
        "x-input-scale": "The scale in which the pixels came.",
    }
    described = {
        name: {"description": text, "schema": {"type": "string"}} for name, text in headers.items()
    }
    return {"200": {"description": "Answered.", "headers": described, "content": content}}


def _errors(schema: dict[str, Any], sentences: dict[int, str]) -> dict[str, Any]:
    return {
        str(status): {"description": sentence, "content": {JSON: {"schema": schema}}}
        for status, sentence in sentences.items()
    }
