"""Ask a cluster's head whether it is one, before Ray does: Ray logs its tries for minutes.

The first call of Ray's own protocol tells a wrong port, a head that is gone, and a token that is
not the cluster's from each other within seconds.
"""

import os
import socket
from dataclasses import dataclass
from typing import Any

from app.experiment.errors import ExperimentError

ANSWER_S = 5.0
"""How long a head may take to answer, which takes a few milliseconds."""
METHOD = "/ray.rpc.NodeInfoGcsService/GetClusterId"
"""The first call of every client of a head; its request is empty."""
HTTP = "Failed parsing HTTP/2"
"""gRPC's words for a server that answers in HTTP/1, as Ray's dashboard does."""
TLS = "RAY_USE_TLS"
AUTH_MODE = "RAY_AUTH_MODE"
"""Variable that says whether Ray sends a token."""
PORT_HELP = "the head's own is 6379, unless `ray start --port` named another"
TOKEN_HELP = f"set {AUTH_MODE}=token, and RAY_AUTH_TOKEN_PATH to a file with the cluster's token"


@dataclass(frozen=True)
class Head:
    """A head that answered."""

    address: str
    """Its host and port."""
    asks_token: bool
    """Whether it answers only those who have its token."""


def probe(address: str, flag: str) -> Head:
    """Ask the head at an address, given as for `--address`, for its cluster's ID.

    Raises:
        ExperimentError: Tune cannot join such an address, no head answers there, or the head
            refuses this process's token.
    """
    _check_scheme(address, flag)
    place = _find(flag) if address == "auto" else address
    named = place if place == address else f"{address} ({place})"
    if problem := _try_port(place):
        raise ExperimentError(f"{flag}: no answer from {named}: {problem}")
    error = _call(place, None)
    if error is None:
        return Head(place, asks_token=False)
    if not _is_refused(error):
        raise ExperimentError(f"{flag}: {_explain(error, named)}")
    token = _read_token(flag, is_found=address == "auto")
    if token and _call(place, token) is None:
        return Head(place, asks_token=True)
    problem = (
        f"the token is not that of the cluster at {named}"
        if token
        else f"the cluster at {named} asks for a token"
    )
    raise ExperimentError(f"{flag}: {problem}; {TOKEN_HELP}")


def _check_scheme(address: str, flag: str) -> None:
    scheme, slashes, _ = address.partition("://")
    if slashes:
        raise ExperimentError(
            f"{flag}: {address} is no address that Tune can join ({scheme} is for other clients of"
            " Ray); give host:port of the head on one of its machines, or send the command there"
            " by: ray job submit --address http://HEAD:8265 -- python -m app.tune"
        )


def _find(flag: str) -> str:
    """Return the address of the cluster that `auto` is to Ray."""
    from ray._private.services import canonicalize_bootstrap_address

    try:
        return str(canonicalize_bootstrap_address("auto"))
    except (ConnectionError, ValueError) as error:
        raise ExperimentError(
            f"{flag}: no Ray runs on this machine; give host:port of a cluster's head, or leave"
            " it out to start one"
        ) from error


def _try_port(address: str) -> str | None:
    """Return why no connection can be made; None where one can."""
    host, colon, port = address.rpartition(":")
    if not colon:
        return "it has no port; give host:port of the head, or auto"
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_S).close()
    except (OSError, ValueError, OverflowError) as error:
        return str(error)
    return None


def _read_token(flag: str, *, is_found: bool) -> str:
    """Return the token that Ray would send; empty if none.

    Without `RAY_AUTH_MODE` Ray sends one only to a cluster that it found itself.
    """
    from ray import _raylet
    from ray.exceptions import AuthenticationError

    loader: Any = _raylet
    ignores_mode = is_found and AUTH_MODE not in os.environ
    try:
        token = loader.AuthenticationTokenLoader.instance().get_raw_token(ignores_mode)
    except AuthenticationError as error:
        reason = str(error).partition(". ")[0]
        raise ExperimentError(f"{flag}: {reason}; {TOKEN_HELP}") from error
    return str(token)


def _call(address: str, token: str | None) -> Any:
    """Ask once; returns gRPC's error, or None for an answer."""
    import grpc

    metadata = [("authorization", f"Bearer {token}")] if token else []
    with _channel(address) as channel:
        try:
            channel.unary_unary(METHOD)(b"", timeout=ANSWER_S, metadata=metadata)
        except grpc.RpcError as error:
            return error
    return None


def _channel(address: str) -> Any:
    import grpc

    options = [("grpc.enable_http_proxy", 0)]
    if os.environ.get(TLS, "0").lower() not in ("1", "true"):
        return grpc.insecure_channel(address, options)
    from ray._private.tls_utils import load_certs_from_env

    chain, key, authority = load_certs_from_env()
    return grpc.secure_channel(
        address, grpc.ssl_channel_credentials(authority, key, chain), options
    )


def _is_refused(error: Any) -> bool:
    return bool(error.code().name == "UNAUTHENTICATED")


def _explain(error: Any, named: str) -> str:
    """Say what answered at an address in place of a head, and what would do."""
    if HTTP in error.details():
        return f"{named} answers in HTTP, so that is the dashboard's port; {PORT_HELP}"
    if error.code().name == "UNIMPLEMENTED":
        return f"{named} is a port of Ray's, but not the head's own; {PORT_HELP}"
    if error.code().name == "DEADLINE_EXCEEDED":
        return f"no answer from {named} within {ANSWER_S:g} s; is it a port of Ray's?"
    return f"no answer from {named}: {' '.join(error.details().split())}"
