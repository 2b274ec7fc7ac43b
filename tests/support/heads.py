"""Server that answers a client's first call as the head of a cluster does."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from app.cluster.head_probe import METHOD

TOKEN = "a" * 32


class Gcs(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Answers as a head does that asks for a token, if it has one."""

    def __init__(self, token: str | None, method: str = METHOD) -> None:
        self.token = token
        self.method = method

    def service(self, details: Any) -> Any:
        if details.method != self.method:
            return None
        return grpc.unary_unary_rpc_method_handler(self.answer)

    def answer(self, request: bytes, context: Any) -> bytes:
        given = dict(context.invocation_metadata()).get("authorization")
        if self.token is not None and given != f"Bearer {self.token}":
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "InvalidAuthToken: it is missing")
        return b""


@pytest.fixture
def gcs() -> Iterator[tuple[Gcs, str]]:
    """A head that asks for `TOKEN`, and its address."""
    handler = Gcs(TOKEN)
    server = grpc.server(ThreadPoolExecutor(1), [handler])
    port = server.add_insecure_port("0.0.0.0:0")
    server.start()
    yield handler, f"127.0.0.1:{port}"
    server.stop(None)
