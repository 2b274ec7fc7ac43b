"""The OpenAPI document: `openapi.json`, less what the current model lacks, and its own facts.

The paths in `openapi_handlers.json` take the place of those that ask a network where a script's
handlers read bodies and write answers. A test holds both against the routes.
"""

import json
import math
from importlib.resources import files
from typing import Any

from serve.formats.codecs import JSON
from serve.formats.picture_bodies import IMAGE_KEY
from serve.formats.predictions import gives_labels, why_no_predictions
from serve.formats.requests import predict_types, takes_images, why_no_page
from serve.formats.scaling import SCALE_HEADER, format_shape, scales
from serve.http.v2 import DATATYPE, INFER_ROUTES
from serve.models.manifest import Manifest, TensorSpec

Document = dict[str, Any]
SCALE_PARAMETER = {"$ref": "#/components/parameters/input_scale"}


def describe_api(manifest: Manifest) -> Document:
    """Return the OpenAPI document of an endpoint whose current model has this manifest."""
    document, of_handlers = _read("openapi.json"), _read("openapi_handlers.json")
    paths = document["paths"]
    if why_no_page(manifest) is not None:
        del paths["/"]
    description = "Bodies go unchanged to the model's own handlers."
    if manifest.has_handlers:
        paths |= of_handlers
    else:
        if why_no_predictions(manifest) is not None:
            paths["/predict"] = of_handlers["/predict"]
        else:
            _describe_predictions(document, manifest)
        description = _describe_inputs(manifest.inputs[0])
        _describe_bodies(document, manifest)
    if manifest.has_handlers or manifest.inputs[0].range is None:
        _remove_scales(document)
    document["info"] = {
        "title": f"Tuneport: {manifest.name}",
        "version": manifest.version,
        "description": description,
    }
    return document


def _read(name: str) -> Document:
    document: Document = json.loads((files("serve.http") / name).read_text(encoding="utf-8"))
    return document


def _describe_inputs(spec: TensorSpec) -> str:
    shape = format_shape(("N", *spec.shape[1:]))
    if spec.range is None:
        return f"Inputs have shape {shape}; their numbers are taken as they are."
    names = " or ".join(scale.name for scale in reversed(scales(spec)))
    return (
        f"Inputs have shape {shape}; their numbers are {names}, which they tell by themselves or "
        f"{SCALE_HEADER} declares."
    )


def _describe_bodies(document: Document, manifest: Manifest) -> None:
    """Add the shape of the model's input and its scales, and an example to each body of JSON."""
    spec, output, components = manifest.inputs[0], manifest.outputs[0], document["components"]
    instances = components["schemas"]["Instances"]["properties"]["instances"]
    instances["description"] = f"Inputs of shape {list(spec.shape)}, flat or nested."
    scale = components["parameters"]["input_scale"]
    scale["schema"]["enum"] = [scale.name for scale in scales(spec)]
    # An image of zeros is blank.
    values = [spec.range[1] if spec.range else 0] * math.prod(spec.shape[1:])
    tensor = {"name": spec.name, "datatype": DATATYPE, "shape": [1, *spec.shape[1:]]}
    for path, operation in _operations(document):
        content = operation.get("requestBody", {}).get("content", {})
        if path in INFER_ROUTES:
            operation["summary"] = f"The output {output.name!r} for the input {spec.name!r}."
            content[JSON]["example"] = {"inputs": [{**tensor, "data": values}]}
        elif JSON in content:
            content[JSON]["example"] = {"instances": [values]}


def _describe_predictions(document: Document, manifest: Manifest) -> None:
    """Keep the content types that `/predict` reads, and describe the predictions that it gives."""
    operation = document["paths"]["/predict"]["post"]
    content = operation["requestBody"]["content"]
    kept = {kind: content[kind] for kind in predict_types(manifest)}
    operation["requestBody"]["content"] = kept
    forms = "numbers or for one image"
    if not takes_images(manifest):
        forms = "numbers"
        del content[JSON]["schema"]["properties"][IMAGE_KEY]
    operation["summary"] = f"Labels and their probabilities, for {forms}."
    if not gives_labels(manifest):
        operation["summary"] = f"The outputs by name, for {forms}."
        predictions = document["components"]["schemas"]["Predictions"]["properties"]["predictions"]
        predictions["items"] = {"$ref": "#/components/schemas/NamedOutputs"}


def _remove_scales(document: Document) -> None:
    """Remove the headers by which a scale is declared and reported."""
    for _, operation in _operations(document):
        if SCALE_PARAMETER in operation.get("parameters", ()):
            operation["parameters"].remove(SCALE_PARAMETER)
        operation["responses"].get("200", {}).get("headers", {}).pop(SCALE_HEADER, None)
    del document["components"]["parameters"]["input_scale"]
    del document["components"]["headers"][SCALE_HEADER]


def _operations(document: Document) -> list[tuple[str, Document]]:
    """Return the operations that ask the model, with their paths."""
    paths = document["paths"].items()
    return [(path, methods["post"]) for path, methods in paths if "post" in methods]
