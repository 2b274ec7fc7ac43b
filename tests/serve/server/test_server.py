"""A server that has no file descriptor left."""

import contextlib
import signal
import socket
import subprocess
import sys
from pathlib import Path

from tests.support.tiny_model import TinyModel
from tests.support.wire import answer, status

MOST_FILES = 100
PING = b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n"


LIMITED = """
import resource, sys
from serve.__main__ import main
resource.setrlimit(resource.RLIMIT_NOFILE, ({most}, {most}))
main(sys.argv[1:])
"""


def test_without_free_descriptors_new_connections_are_closed_until_others_are(
    tmp_path: Path,
) -> None:
    folder = TinyModel.random().write(tmp_path / "model")
    code = LIMITED.format(most=MOST_FILES)
    command = [sys.executable, "-c", code, str(folder), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            port = int(process.stderr.readline().rpartition(":")[2].partition("/")[0])

            def connect() -> socket.socket:
                return socket.create_connection(("127.0.0.1", port), 60)

            with contextlib.ExitStack() as clients:
                lines = [clients.enter_context(connect()) for _ in range(MOST_FILES)]
                assert answer(lines[-1]) == b""
                lines[0].sendall(PING)
                assert status(answer(lines[0])) == 200
            reply = b""
            while not reply:  # It takes a moment until the server knows of their end.
                with connect() as line, contextlib.suppress(ConnectionResetError):
                    line.sendall(PING)
                    reply = answer(line)
            assert status(reply) == 200
            process.send_signal(signal.SIGTERM)
            assert (process.wait(60), process.stderr.read()) == (0, "")
        finally:
            process.kill()
