"""The least that can be served: the body is read, and ten fixed numbers are answered."""

import sys

import uvicorn
from starlette.types import Receive, Scope, Send

BODY = str([[-2.3025851249694824] * 10]).encode()
HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY))]


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one request."""
    while (await receive()).get("more_body", False):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})


if __name__ == "__main__":
    uvicorn.run(
        app, port=int(sys.argv[1]), loop="uvloop", http="httptools", ws="none", lifespan="off",
        log_level="warning", access_log=False, server_header=False, proxy_headers=False,
        backlog=2048, timeout_keep_alive=65,
    )  # fmt: skip
