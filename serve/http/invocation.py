"""Heads of requests for the model, parsed: which model, how to decode the body, which headers.

Each route has a parser in `PARSERS`. Bodies are read and answered in `inference`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from urllib.parse import parse_qs

from starlette.types import Scope

from serve.errors import BadRequestError, NotFoundError, UnsupportedTypeError
from serve.formats.codecs import CODECS, JSON
from serve.formats.compression import decompress_gzip
from serve.formats.negotiation import acceptable, content_type
from serve.formats.picture_bodies import may_have_picture
from serve.formats.requests import (
    InferRequest,
    predict_types,
    read_invocation,
    read_prediction,
)
from serve.formats.scaling import SCALE_HEADER
from serve.http import handler_messages, v2
from serve.http.body import is_small
from serve.http.headers import Header, Headers, read_echoed_headers, read_headers, read_text
from serve.http.responses import ALIAS_ROUTE
from serve.rollout.registry import Registry
from serve.runtime.backend import Backend
from serve.settings import MAX_BODY_BYTES

WITH_INPUT = "with_input"
"""Query parameter that adds to each prediction the input as the model received it."""
VARIANT = "AllTraffic"
"""Name of an endpoint's only variant."""
_TYPES = tuple(CODECS)
_GZIP = (b"gzip", b"x-gzip")
_VARIANT_HEADER = (b"x-amzn-invoked-production-variant", VARIANT.encode())
_TARGETS = {
    b"x-amzn-sagemaker-target-variant": "variant",
    b"x-amzn-sagemaker-target-model": "model",
    b"x-amzn-sagemaker-target-container-hostname": "container",
    b"x-amzn-sagemaker-inference-component": "inference component",
}
"""Headers by which clients name a part of an endpoint, and the part that each names."""


@dataclass(slots=True)
class Invocation:
    """The head of a request for the model."""

    backend: Backend
    decode: Callable[[bytes], InferRequest]
    """Decodes the body into what the backend takes."""
    headers: list[Header] = field(default_factory=list)
    """Headers to add to the reply."""
    decodes_quickly: Callable[[bytes], bool] = is_small
    """Whether the body may be decoded on the event loop."""


Parser = Callable[[Registry, Scope], Invocation]


def parse_invoke(registry: Registry, scope: Scope) -> Invocation:
    """Parse a request to `/invocations`."""
    return _parse_invoke(registry.current, scope)


def parse_invoke_endpoint(registry: Registry, scope: Scope) -> Invocation:
    """Parse a request that names the endpoint, as SageMaker's runtime clients do."""
    name, backend = scope["path_params"]["endpoint"], registry.current
    if name != (served := backend.manifest.name):
        raise NotFoundError(f"Endpoint {name[:80]} not found; {served} is served here.")
    _check_targets(read_headers(scope), served)
    invocation = _parse_invoke(backend, scope)
    invocation.headers.append(_VARIANT_HEADER)
    return invocation


def parse_predict(registry: Registry, scope: Scope) -> Invocation:
    """Parse a request to `/predict`."""
    backend, headers = registry.current, read_headers(scope)
    manifest = backend.manifest
    if manifest.has_handlers:
        raise NotFoundError(
            "this model answers by handlers of its own, which take no drawings and give no "
            "labels; ask /invocations"
        )
    header = read_text(headers, b"content-type")
    kind = content_type(header, predict_types(manifest), guessed=True)
    acceptable(read_text(headers, b"accept"), (JSON,))
    decode = partial(
        read_prediction,
        manifest=manifest,
        content_type=str(header),
        with_input=_with_input(scope),
        scale=_read_scale(headers),
    )
    quickly = _has_no_picture if kind == JSON else _never
    return _decompress(headers, Invocation(backend, decode, decodes_quickly=quickly))


def parse_infer(registry: Registry, scope: Scope) -> Invocation:
    """Parse an inference request of the Open Inference Protocol."""
    names, headers = scope["path_params"], read_headers(scope)
    backend = v2.find_model(registry, names["name"], names.get("version"))
    if backend.manifest.has_handlers:
        raise NotFoundError(
            "this model answers by handlers of its own, whose tensors are not described; ask "
            "/invocations"
        )
    content_type(read_text(headers, b"content-type"), (JSON,))
    decode = partial(v2.decode_request, backend.manifest, _read_scale(headers))
    return _decompress(headers, Invocation(backend, decode))


PARSERS: Mapping[str, Parser] = {
    "/invocations": parse_invoke,
    "/predict": parse_predict,
    ALIAS_ROUTE: parse_invoke_endpoint,
    **dict.fromkeys(v2.INFER_ROUTES, parse_infer),
}
"""Parser of each route that asks the model."""
_NAMED_PATH = re.compile(
    r"/endpoints/(?P<endpoint>[^/]+)/invocations"
    r"|/v2/models/(?P<name>[^/]+)(?:/versions/(?P<version>[^/]+))?/infer"
)
_NAMED_ROUTES = dict(
    zip(("endpoint", "name", "version"), (ALIAS_ROUTE, *v2.INFER_ROUTES), strict=True)
)
"""Route of a path by the last name in it."""


def find_route(scope: Scope) -> str | None:
    """Return the route of a path that asks the model, and put the names in it into the scope."""
    path: str = scope["path"]
    if path in PARSERS:
        return path
    match = _NAMED_PATH.fullmatch(path)
    if match is None:
        return None
    scope["path_params"] = match.groupdict()
    return _NAMED_ROUTES[str(match.lastgroup)]


def _parse_invoke(backend: Backend, scope: Scope) -> Invocation:
    headers = read_headers(scope)
    manifest = backend.manifest
    echoed = read_echoed_headers(headers)
    if manifest.has_handlers:
        decode = partial(handler_messages.create_request, headers)
        return _decompress(headers, Invocation(backend, decode))
    decode = partial(
        read_invocation,
        manifest=manifest,
        content_type=content_type(read_text(headers, b"content-type"), _TYPES, guessed=True),
        accept=acceptable(read_text(headers, b"accept"), _TYPES),
        scale=_read_scale(headers),
    )
    return _decompress(headers, Invocation(backend, decode, echoed))


def _check_targets(headers: Headers, endpoint: str) -> None:
    """Raise NotFoundError if a client names a part that an endpoint of one model lacks."""
    for header, part in _TARGETS.items():
        name = read_text(headers, header)
        if name is not None and (part, name) != ("variant", VARIANT):
            raise NotFoundError(
                f"Endpoint {endpoint} has no {part} {name[:80]!r}; it is one model, whose "
                f"variant is {VARIANT}."
            )


def _with_input(scope: Scope) -> bool:
    query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    value = query.get(WITH_INPUT, ["false"])[-1]
    if value not in ("true", "false"):
        raise BadRequestError(f"{WITH_INPUT} is true or false, not {value[:80]!r}")
    return bool(value == "true")


def _read_scale(headers: Headers) -> str | None:
    """Return the scale that the client declares for its numbers."""
    return read_text(headers, SCALE_HEADER.encode())


def _has_no_picture(body: bytes) -> bool:
    return is_small(body) and not may_have_picture(body)


def _never(_: bytes) -> bool:
    return False


def _decompress(headers: Headers, invocation: Invocation) -> Invocation:
    """Have the body decompressed first, in a thread, if its head says that it is compressed.

    Raises UnsupportedTypeError for a compression other than gzip.
    """
    encoding = headers.get(b"content-encoding", b"identity").strip().lower()
    if encoding == b"identity":
        return invocation
    if encoding not in _GZIP:
        value = encoding[:80].decode("latin-1")
        raise UnsupportedTypeError(
            f"content encoding {value!r} is not supported; send gzip, or the body uncompressed"
        )
    decode = invocation.decode
    return replace(
        invocation,
        decode=lambda body: decode(decompress_gzip(body, MAX_BODY_BYTES)),
        decodes_quickly=_never,
    )
