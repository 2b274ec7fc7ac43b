"""Schemas and parts of operations in the OpenAPI document, for the routes in `openapi`."""

import math
from typing import Any

from serve.formats.codecs import CODECS, JSON
from serve.formats.picture_bodies import FORM, IMAGE_KEY
from serve.formats.scaling import MIXED, SCALE_HEADER, scales
from serve.models.manifest import TensorSpec

ERROR_SENTENCES = {
    400: "The body is empty or unreadable, or has text where numbers belong.",
    406: "None of the accepted types can be produced.",
    413: "The body is larger than 6 MiB.",
    415: "The content type is not supported.",
    422: "Readable, but a wrong shape, NaN or infinity, or out of range.",
    503: "The server is overloaded, or the model is not loaded; Retry-After says when to retry.",
    504: "The request waited too long for its turn.",
}
ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string", "description": "The reason, in one sentence."}},
}
SAGEMAKER_ERROR = {
    "type": "object",
    "required": ["Message"],
    "properties": {
        "Message": {"type": "string"},
        "OriginalStatusCode": {"type": "integer"},
        "OriginalMessage": {"type": "string"},
        "LogStreamArn": {"type": "string"},
    },
}
INPUT_DESCRIPTION = "The numbers that the model received, if with_input is true."
LABELLED_PREDICTION = {
    "label": {"type": "string"},
    "probability": {"type": "number"},
    "probabilities": {"type": "array", "items": {"type": "number"}},
}
NAMED_OUTPUTS = {
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
WITH_INPUT_PARAMETER = {
    "name": "with_input",
    "in": "query",
    "required": False,
    "description": "Return each input too, as the model received it.",
    "schema": {"type": "boolean", "default": False},
}


def scale_parameters(spec: TensorSpec) -> list[dict[str, Any]]:
    """Describe the header by which the scale of numbers is declared, where they have scales."""
    if spec.range is None:
        return []
    description = (
        "Scale of the numbers; without it, each input's own numbers tell it, and are refused where "
        "they leave a doubt."
    )
    names = [scale.name for scale in scales(spec)]
    schema = {"type": "string", "enum": names}
    parameter = {"name": SCALE_HEADER, "in": "header", "required": False, "schema": schema}
    return [{**parameter, "description": description}]


def path_parameter(name: str) -> dict[str, Any]:
    """Describe a parameter in the path."""
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def invoke_operation(spec: TensorSpec, summary: str, errors: dict[str, Any]) -> dict[str, Any]:
    """Describe an operation that takes and returns every type of `/invocations`."""
    outputs: dict[str, Any] = {name: {"schema": {}} for name in CODECS}
    return {
        "summary": summary,
        "parameters": scale_parameters(spec),
        "requestBody": request_body(spec, tuple(CODECS)),
        "responses": success_response(outputs, spec) | errors,
    }


def request_body(spec: TensorSpec, types: tuple[str, ...]) -> dict[str, Any]:
    """Describe a body of these content types, among them those of pictures."""
    contents = {name: _content(spec, name, pictures=FORM in types) for name in types}
    return {"required": True, "content": contents}


def _content(spec: TensorSpec, media_type: str, *, pictures: bool) -> dict[str, Any]:
    file: dict[str, Any] = {"type": "string", "format": "binary"}
    if media_type == FORM:
        form = {"type": "object", "required": ["file"], "properties": {"file": file}}
        return {"schema": form}
    if media_type != JSON:
        return {"schema": file}
    instances = {
        "type": "array",
        "items": {},
        "description": f"Inputs of shape {list(spec.shape)}, flat or nested.",
    }
    image = {
        "type": "string",
        "description": "Or one PNG, JPEG or WebP, as a data URL or its base64.",
    }
    schema: dict[str, Any] = {"type": "object", "properties": {"instances": instances}}
    if pictures:
        schema["properties"][IMAGE_KEY] = image
    else:
        schema["required"] = ["instances"]
    value = spec.range[1] if spec.range else 0  # An image of zeros is blank.
    return {"schema": schema, "example": {"instances": [[value] * math.prod(spec.shape[1:])]}}


def success_response(content: dict[str, Any], spec: TensorSpec | None = None) -> dict[str, Any]:
    """Describe the response of status 200, to inputs of `spec` where they are known."""
    headers = {"x-model-version": "The model that answered."}
    if spec is not None and spec.range is not None:
        headers[SCALE_HEADER] = f"The scale of the numbers received, or {MIXED}."
    header_objects = {
        name: {"description": text, "schema": {"type": "string"}} for name, text in headers.items()
    }
    return {"200": {"description": "Answered.", "headers": header_objects, "content": content}}


def error_responses(schema: dict[str, Any], sentences: dict[int, str]) -> dict[str, Any]:
    """Describe the responses of these statuses."""
    return {
        str(status): {"description": sentence, "content": {JSON: {"schema": schema}}}
        for status, sentence in sentences.items()
    }
