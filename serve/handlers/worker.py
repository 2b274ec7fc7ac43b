"""The program that runs a model's handlers, in a process that `process.py` starts."""

import ctypes
import os
import signal
import socket
import sys
import traceback

from serve.handlers import stubs
from serve.handlers.script_handlers import Handlers, LoadError
from serve.ipc import Channel, Message

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Load the model that the environment names, say so, and answer until the server is gone."""
    descriptor, server = map(int, sys.argv[1:])
    end_with(server)
    os.set_inheritable(descriptor, False)
    channel = Channel(socket.socket(fileno=descriptor))
    del sys.argv[1:]  # Scripts that read arguments as they are imported find none.
    make_room_for_script(os.environ["SAGEMAKER_SUBMIT_DIRECTORY"])
    try:
        handlers = _load()
    except LoadError as error:
        if error.__cause__ is not None:
            traceback.print_exception(error.__cause__)
        channel.send(Message({"failure": str(error)}))
        sys.exit(1)
    channel.send(Message({"failure": None}))
    answer_all(channel, handlers)


def end_with(server: int) -> None:
    """Have the kernel end this process when the server ends, however that comes."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != server:  # It ended before this was asked for.
        sys.exit(1)


def make_room_for_script(code: str) -> None:
    """Put the code before everything else on the path, the stubs after everything else.

    Our own modules stay with who has imported them, but their names are the script's to use: it
    may well be called `serve.py`.
    """
    sys.path[:] = [code, *sys.path, str(stubs.path())]
    os.environ["PYTHONPATH"] = os.pathsep.join([code, os.environ["PYTHONPATH"]])
    for name in [name for name in sys.modules if name.partition(".")[0] == "serve"]:
        del sys.modules[name]


def answer_all(channel: Channel, handlers: Handlers) -> None:
    """Answer one request after the other, until the server hangs up."""
    try:
        while True:
            request = channel.receive()
            channel.send(handlers.answer(request.body, **request.values))
    except (EOFError, ConnectionError):
        return


def _load() -> Handlers:
    environment = os.environ
    return Handlers(
        environment["SAGEMAKER_PROGRAM"] or None,
        environment["TUNEPORT_MODEL_NAME"],
        environment["SM_MODEL_DIR"],
    )


if __name__ == "__main__":
    main()
