"""Programs of ours as child processes: started with a channel, watched, restarted, and ended.

Workers and the process of a model's handlers are such children::

    child = ChildProcess("serve.handlers.worker", os.getpid(), cwd=scratch)
    child.channel.send(message)
    ChildSupervisor(start, on_exit, on_failure).watch(child)
"""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from serve.ipc import Channel

MAX_PAUSE_SECONDS = 30.0
"""Longest pause between starts that fail."""


class ChildProcess:
    """A program in a process of its own, killed with all that it has started."""

    def __init__(
        self,
        program: str,
        *arguments: int,
        descriptors: Sequence[int] = (),
        environment: Mapping[str, str] | None = None,
        **options: Any,
    ) -> None:
        """Start a module; its arguments are the channel's descriptor, descriptors, arguments.

        It inherits the descriptors and, beside `environment`, this process's variables; `options`
        are more of `subprocess.Popen`'s.
        """
        parent_end, child_end = socket.socketpair()
        inherited = [child_end.fileno(), *descriptors]
        paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
        path = os.pathsep.join(filter(None, paths))
        with child_end:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", program, *map(str, (*inherited, *arguments))],
                env={**os.environ, **(environment or {}), "PYTHONPATH": path},
                stdin=subprocess.DEVNULL,
                pass_fds=inherited,
                # Ctrl-C goes to this process alone, which lets its children drain.
                start_new_session=True,
                **options,
            )
        self.channel = Channel(parent_end)
        self._lock = threading.Lock()
        self._is_reaped = False

    def kill(self) -> None:
        """Kill the process and all that it has started; does nothing once it has ended."""
        with self._lock:
            if not self._is_reaped:
                os.killpg(self._process.pid, signal.SIGKILL)

    def wait(self) -> str:
        """Wait for the end of the process, kill what it has left, and return how it ended."""
        if not self._is_reaped:
            # Until it is reaped nobody else gets its pid, so no other process group is killed.
            os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
            self.kill()
        with self._lock:
            code = self._process.wait()
            self._is_reaped = True
        return f"ended with status {code}" if code >= 0 else f"was killed by signal {-code}"


class ChildSupervisor:
    """Starts a child again whenever it ends, with longer and longer pauses where that fails."""

    def __init__(
        self,
        start: Callable[[], ChildProcess],
        on_exit: Callable[[str], None],
        on_failure: Callable[[Exception], None],
        *,
        errors: tuple[type[Exception], ...],
    ) -> None:
        """Prepare to watch a child.

        Args:
            start: Starts the child and makes it ready, or raises one of `errors`.
            on_exit: Called with how a child has ended, before another is started.
            on_failure: Called with the error of a start.
            errors: Errors by which a start may fail.
        """
        self._start = start
        self._on_exit = on_exit
        self._on_failure = on_failure
        self._errors = errors
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._child: ChildProcess | None = None

    def watch(self, child: ChildProcess | None = None) -> None:
        """Watch a child, or start the first, in a thread: it starts every later one too.

        The kernel ends the process of handlers with the thread that it is from.
        """
        self._child = child
        self._thread.start()

    def stop(self) -> None:
        """Start no other child."""
        self._stopping.set()

    def join(self, timeout_s: float | None = None) -> None:
        """Wait until the last child has ended, if one was watched."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        pause = 0.0
        while True:
            if self._child is not None:
                self._on_exit(self._child.wait())
                self._child, pause = None, 0.0
            if self._stopping.wait(pause):
                return
            try:
                self._child = self._start()
            except self._errors as error:
                self._on_failure(error)
                pause = min(2 * pause + 1, MAX_PAUSE_SECONDS)
