"""The process beside a search, which serves its page: `python -m app.watch PLACE NAME PORT`."""

import os
import signal
import sys
import threading
from functools import partial

from app.run import store
from app.run.store import StoreError
from app.terminal import command
from app.watch.server import listen_near, serve


def main() -> None:
    """Serve the page until the pipe on stdin ends."""
    place, name, text = sys.argv[1:]
    port, say = int(text), partial(print, file=sys.stderr, flush=True)
    # Ctrl-C in the terminal is for the search.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_pipe, daemon=True).start()
    try:
        listener = listen_near(port)
    except StoreError as error:
        sys.exit(f"warning: --watch: {error}; the search goes on without its page")
    with listener:
        if listener.getsockname()[1] != port:
            say(f"--watch: port {port} is in use; the page of this run has the next free one")
        serve(store.open_runs(place), listener, say, path=f"runs/{name}")


def _end_with_pipe() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    command(main)
