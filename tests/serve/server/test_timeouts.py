"""Connections in process: what is looked over a few times a second."""

import asyncio

import uvicorn
from starlette.responses import Response
from uvicorn.server import ServerState

from serve.server.protocol import create_protocol
from serve.settings import ClientLimits


def refuse(status: int, sentence: str) -> tuple[list[tuple[bytes, bytes]], bytes]:
    raise AssertionError("no request is refused")


REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


def test_an_idle_connection_is_closed_after_the_keep_alive_timeout() -> None:
    protocol = create_protocol(ClientLimits(read_timeout_s=0.1), refuse)
    config = uvicorn.Config(Response(b"here"), http=protocol, lifespan="off", timeout_keep_alive=0)

    async def came() -> bytes:
        loop, state = asyncio.get_running_loop(), ServerState()
        server = await loop.create_server(
            lambda: protocol(config=config, server_state=state, app_state={}), "127.0.0.1", 0
        )
        async with server:
            port = server.sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(REQUEST)
            all_of_it = await reader.read()  # Until the server closes.
            writer.close()
            await writer.wait_closed()
            return all_of_it

    reply = asyncio.run(asyncio.wait_for(came(), 30))
    assert reply.startswith(b"HTTP/1.1 200")
    assert reply.endswith(b"here")
