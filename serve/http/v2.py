"""The Open Inference Protocol, version 2: the model's metadata, and inference by named tensors."""

import math
from collections.abc import Mapping
from functools import partial
from importlib import metadata
from typing import Any

import numpy as np
import orjson
from fastapi import FastAPI
from numpy.typing import NDArray
from starlette.responses import JSONResponse, Response

from serve.errors import BadRequestError, NotFoundError
from serve.formats.arrays import Floats
from serve.formats.codecs import JSON
from serve.formats.json_codec import check_finite, parse_json, quote, to_array
from serve.formats.requests import InferRequest, InferResponse
from serve.formats.scaling import to_pixels
from serve.models.manifest import HANDLERS_FORMAT, Manifest, TensorSpec
from serve.rollout.registry import Registry
from serve.runtime.backend import Backend

MODEL = "/v2/models/{name}"
VERSION = f"{MODEL}/versions/{{version}}"
INFER_ROUTES = (f"{MODEL}/infer", f"{VERSION}/infer")
DATATYPE = "FP32"
PLATFORMS = {HANDLERS_FORMAT: "pytorch_handlers"}
PLATFORM = "onnx_onnxv1"
MAX_SIZE = 2**64 - 1
"""Largest dimension of a shape, which the protocol stores in 64 bits."""


def add_metadata_routes(app: FastAPI, registry: Registry) -> None:
    """Add the routes for health and metadata."""

    @app.get("/v2")
    async def server() -> Response:
        return JSONResponse({"name": "tuneport", "version": _version(), "extensions": []})

    @app.get("/v2/health/live")
    async def live() -> Response:
        return JSONResponse({"live": True})

    @app.get("/v2/health/ready")
    async def ready() -> Response:
        registry.check()
        # The protocol's text calls it `live` here too; its clients look for either.
        return JSONResponse({"live": True, "ready": True})

    async def tensors(name: str, version: str | None = None) -> Response:
        return JSONResponse(_metadata(find_model(registry, name, version).manifest))

    async def model_ready(name: str, version: str | None = None) -> Response:
        find_model(registry, name, version).check()
        return JSONResponse({"name": name, "ready": True})

    for path in (MODEL, VERSION):
        app.get(path)(tensors)
        app.get(f"{path}/ready")(model_ready)


def find_model(registry: Registry, name: str, version: str | None) -> Backend:
    """Return the current model; raises NotFoundError if it has another name or version."""
    backend = registry.current
    manifest = backend.manifest
    if name != manifest.name:
        raise NotFoundError(f"no model {name[:80]!r}; {manifest.name!r} is served here")
    if version is not None and version != manifest.version:
        raise NotFoundError(f"no version {version[:80]!r} of it; {manifest.version} is served here")
    return backend


def decode_request(manifest: Manifest, scale: str | None, body: bytes) -> InferRequest:
    """Decode an inference request, whose numbers have the declared scale, if any.

    Raises a RequestError if it is none for this model.
    """
    if not body:
        raise BadRequestError("the body is empty")
    request = parse_json(body)
    if not isinstance(request, dict):
        raise BadRequestError('the body is no inference request; send {"inputs": […]}')
    spec, output = manifest.inputs[0], manifest.outputs[0]
    _check_request(request, output)
    pixels = to_pixels(_tensor(_only_input(request, spec), spec), spec, scale)
    return InferRequest(pixels.values, partial(_encode_answer, manifest, request, pixels.scale))


def _encode_answer(
    manifest: Manifest, request: Mapping[str, Any], scale: str | None, outputs: Floats
) -> InferResponse:
    check_finite(outputs)
    answer = {
        "model_name": manifest.name,
        "model_version": manifest.version,
        **({"id": request["id"]} if "id" in request else {}),
        "outputs": [
            {
                "name": manifest.outputs[0].name,
                "datatype": DATATYPE,
                "shape": outputs.shape,
                "data": outputs.ravel().tolist(),
            }
        ],
    }
    return InferResponse(orjson.dumps(answer), JSON, len(outputs), scale)


def _check_request(request: Mapping[str, Any], output: TensorSpec) -> None:
    if not isinstance(request.get("id", ""), str):
        raise BadRequestError("id: expected text")
    if not isinstance(request.get("parameters", {}), dict):
        raise BadRequestError("parameters: expected an object")
    requested = request.get("outputs", [])
    if not isinstance(requested, list) or not all(isinstance(item, dict) for item in requested):
        raise BadRequestError("outputs: expected a list of objects with names")
    for item in requested:
        if item.get("name") != output.name:
            raise BadRequestError(
                f"outputs: no output {_quote(item.get('name'))}; the model has {output.name!r}"
            )


def _only_input(request: Mapping[str, Any], spec: TensorSpec) -> Mapping[str, Any]:
    inputs = request.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise BadRequestError(f"inputs: expected a list of one object, the input {spec.name!r}")
    tensor: dict[str, Any] = inputs[0]
    for key, expected in (("name", spec.name), ("datatype", DATATYPE)):
        if tensor.get(key) != expected:
            value = _quote(tensor.get(key))
            raise BadRequestError(f"inputs[0].{key}: expected {expected!r}, got {value}")
    if not isinstance(tensor.get("parameters", {}), dict):
        raise BadRequestError("inputs[0].parameters: expected an object")
    return tensor


def _quote(value: object) -> str:
    return repr(value[:80]) if isinstance(value, str) else quote(value)


def _tensor(tensor: Mapping[str, Any], spec: TensorSpec) -> NDArray[Any]:
    """Return a tensor's numbers in its shape; they come flat in row-major order, or nested."""
    shape = tensor.get("shape")
    if not isinstance(shape, list) or not all(
        type(size) is int and 0 <= size <= MAX_SIZE for size in shape
    ):
        raise BadRequestError("inputs[0].shape: expected a list of sizes from 0 to 2^64 - 1")
    if not isinstance(tensor.get("data"), list):
        raise BadRequestError("inputs[0].data: expected a list of numbers, flat or nested")
    if len(shape) != len(spec.shape) or shape[1:] != list(spec.shape[1:]):
        raise BadRequestError(f"inputs[0].shape: expected {list(spec.shape)}, got {shape[:9]}")
    data = to_array(tensor["data"], suspect=True)
    if data.size != math.prod(shape) or data.shape not in ((data.size,), tuple(shape)):
        raise BadRequestError(
            f"inputs[0].data: {data.size} numbers of shape {list(data.shape)} are not {shape}"
        )
    return np.reshape(data, shape)


def _metadata(manifest: Manifest) -> dict[str, Any]:
    return {
        "name": manifest.name,
        "versions": [manifest.version],
        "platform": PLATFORMS.get(manifest.format, PLATFORM),
        "inputs": [_describe_tensor(spec) for spec in manifest.inputs],
        "outputs": [_describe_tensor(spec) for spec in manifest.outputs],
    }


def _describe_tensor(spec: TensorSpec) -> dict[str, Any]:
    meaning = {} if spec.meaning is None else {"parameters": {"meaning": spec.meaning}}
    return {"name": spec.name, "datatype": DATATYPE, "shape": list(spec.shape), **meaning}


def _version() -> str:
    try:
        return metadata.version("tuneport")
    except metadata.PackageNotFoundError:  # It runs from its source.
        return "0"
