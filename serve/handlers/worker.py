"""The program of a handler process: it loads a model and answers requests over a socket."""

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
    """Load the model that the environment names, report it, and answer until the server is gone."""
    descriptor, server = map(int, sys.argv[1:])
    end_with_parent(server)
    os.set_inheritable(descriptor, False)
    channel = Channel(socket.socket(fileno=descriptor))
    del sys.argv[1:]  # For scripts that read arguments when they are imported.
    prepare_imports(os.environ["SAGEMAKER_SUBMIT_DIRECTORY"])
    try:
        handlers = _load()
    except LoadError as error:
        if error.__cause__ is not None:
            traceback.print_exception(error.__cause__)
        channel.send(Message({"failure": str(error)}))
        sys.exit(1)
    channel.send(Message({"failure": None}))
    answer_all(channel, handlers)


def end_with_parent(pid: int) -> None:
    """Have the kernel kill this process when its parent, the server, ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != pid:  # The server ended before.
        sys.exit(1)


def prepare_imports(code: str) -> None:
    """Put the code folder first on the path and the stubs last.

    Our modules are loaded by now; their names become free for the script, which may be called
    `serve.py`.
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
