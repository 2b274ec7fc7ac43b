"""The watchdog: it reports a process that is away, and none that comes back in time."""

import math
import socket
import threading

from app.cluster.watchdog import Process, accepts_connections, watched


def test_a_process_that_no_longer_answers_is_reported() -> None:
    told: list[str] = []
    heard = threading.Event()

    def lost(kind: str) -> None:
        told.append(kind)
        heard.set()

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        core = {
            "patient": Process(lambda: False, grace_s=math.inf),
            "there": Process(lambda: True),
            "raylet": Process(lambda: accepts_connections("127.0.0.1", port)),
        }
        with watched(core, lost):
            server.close()
            heard.wait()
    assert told == ["raylet"]


def test_a_process_that_comes_back_in_time_is_not_reported() -> None:
    looks = iter([True, False, True, False, True])
    seen = threading.Event()
    told: list[str] = []

    def is_there() -> bool:
        look = next(looks, None)
        if look is None:
            seen.set()
        return look is not False

    with watched({"gcs_server": Process(is_there, grace_s=1000)}, told.append):
        seen.wait()
    assert told == []
