"""Hook by which Ray Serve's HTTP proxies load our middleware and our limits on connections.

Ray imports `create_middlewares` in each proxy, by an environment variable of its own.
"""

import json
import os
from dataclasses import asdict
from typing import Any

import uvicorn.config
from starlette.middleware import Middleware
from uvicorn.server import ServerState

from serve.http.responses import create_transport_refusal
from serve.ray_serve.proxy_middleware import ProxyMiddleware, ProxySettings
from serve.server.protocol import create_protocol
from serve.settings import limits_from_dict

SETTINGS_VARIABLE = "TUNEPORT_PROXY_SETTINGS"


def create_environment(settings: ProxySettings) -> dict[str, str]:
    """Create the environment variables that load the hook in Ray's proxies."""
    return {
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": f"{__name__}.{create_middlewares.__name__}",
        SETTINGS_VARIABLE: json.dumps(asdict(settings)),
        # Do not trust any client's `X-Forwarded-For`.
        "FORWARDED_ALLOW_IPS": "",
    }


def create_middlewares() -> list[Middleware]:
    """Set uvicorn's protocol and return the middleware; Ray calls it before its server starts."""
    values = json.loads(os.environ[SETTINGS_VARIABLE])
    settings = ProxySettings(limits_from_dict(values["limits"]), values["timeout_s"])
    bound_protocol = create_protocol(settings.limits, create_transport_refusal)
    protocol = type("ProxyProtocol", (_WithoutServerHeader, bound_protocol), {})
    protocols: dict[str, Any] = uvicorn.config.HTTP_PROTOCOLS
    protocols["auto"] = protocol
    return [Middleware(ProxyMiddleware, settings)]


class _WithoutServerHeader:
    """Mixin that removes uvicorn's `server` header from a connection's replies."""

    def __init__(
        self, config: uvicorn.Config, server_state: ServerState, *arguments: Any, **named: Any
    ) -> None:
        for headers in (config.encoded_headers, server_state.default_headers):
            headers[:] = [pair for pair in headers if pair[0] != b"server"]
        super().__init__(config, server_state, *arguments, **named)  # type: ignore[call-arg]
