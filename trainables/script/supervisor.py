"""Supervise a program: run it, and end it with all its children once its caller is gone.

`python -I supervisor.py GRACE STATUS SHARED PROGRAM [ARGUMENT …]` leaves its caller at once, so
that no end of the caller, not even by SIGKILL, ends it before its work is done.

- Output of the program goes to stderr, in whole lines where SHARED is 1 since others write there
  too, and to stdout while anybody reads that.
- When stdin ends, the program gets SIGTERM, and GRACE seconds later SIGKILL.
- Its status, as `subprocess` gives it, and the time of its end are written to the file descriptor
  STATUS.

Linux only.
"""

import ctypes
import os
import select
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
WANTED, OUT, LOG = 0, 1, 2
"""File descriptors: open while the program is wanted; output to the caller; output to a file."""
CHUNK = 2**16
LONGEST = 2**20
"""Bytes of a line that are waited for; a longer one is written in parts."""
POLL_MS = 50
"""Interval at which orphaned children are looked for while the program is ending."""


def main(arguments: Sequence[str]) -> None:
    """Run the program to its end and write its status."""
    grace_s, status, is_shared, *command = arguments
    if os.fork():
        os._exit(0)
    os.setsid()
    _keep_files()
    # Orphans of the program become children of this process, which ends them.
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    pid, file = _start(command)
    code, ended_at = _watch(pid, _Output(file, is_shared=is_shared == "1"), float(grace_s))
    with suppress(BrokenPipeError):  # the caller is gone
        os.write(int(status), f"{code} {ended_at}".encode())


def _keep_files() -> None:
    """Let the program inherit none of the caller's files, such as the lock."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
        # One of them was that of the listing, which is closed.
        with suppress(OSError):
            os.set_inheritable(int(name), int(name) <= LOG)


class _Output:
    """Output of the program, on its way to the caller and to the log."""

    def __init__(self, file: int, *, is_shared: bool) -> None:
        self.file = file
        self._is_shared = is_shared
        self._rest = b""
        """Beginning of a line that has not ended."""

    def pass_on(self) -> bool:
        """Pass on what can be read; return whether there may be more."""
        try:
            chunk = os.read(self.file, CHUNK)
        except BlockingIOError:
            return False
        _write(LOG, self._whole(chunk) if self._is_shared else chunk)
        # Nobody may read the output of a program that is being ended; its log is complete.
        _write(OUT, chunk)
        return bool(chunk)

    def end(self) -> None:
        """Pass on the rest, and a line without an end."""
        while self.pass_on():
            pass
        if self._rest:
            _write(LOG, self._rest + b"\n")

    def _whole(self, chunk: bytes) -> bytes:
        """Return the lines that end in this chunk, or the text that a progress bar overwrites."""
        text = self._rest + chunk
        end = max(text.rfind(b"\n"), text.rfind(b"\r")) + 1
        if len(text) - end >= LONGEST:
            text, end = text + b"\n", len(text) + 1
        self._rest = text[end:]
        return text[:end]


def _start(command: list[str]) -> tuple[int, int]:
    """Start the program in a session of its own; return its process ID and its output."""
    output, child_output = os.pipe()
    pid = os.fork()
    if pid:
        os.close(child_output)
        os.set_blocking(output, False)
        return pid, output
    try:
        os.setsid()
        for signum in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, signal.SIG_DFL)
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(child_output, 1)
        os.dup2(child_output, 2)
        os.execvp(command[0], command)
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(127)


def _watch(pid: int, output: _Output, grace_s: float) -> tuple[int, float]:
    """Pass on output until the program and its children have ended; return its status and time."""
    poll = select.poll()
    ended = os.pidfd_open(pid)
    for file in (WANTED, output.file, ended):
        poll.register(file, select.POLLIN)
    deadline = None
    while True:
        ready = {file for file, _ in poll.poll(None if deadline is None else POLL_MS)}
        if output.file in ready and not output.pass_on():
            poll.unregister(output.file)
        if WANTED in ready and deadline is None:
            poll.unregister(WANTED)
            deadline = time.monotonic() + grace_s
            _signal(pid, signal.SIGTERM)
        if ended in ready:
            status, ended_at = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), time.time()
            break
        if deadline is not None and time.monotonic() >= deadline:
            _signal(pid, signal.SIGKILL)
    if deadline is not None:
        _terminate_orphans(output, deadline)
    _kill_children(output)
    return status, ended_at


def _terminate_orphans(output: _Output, deadline: float) -> None:
    """Send SIGTERM to the program's orphans, and wait for them until the deadline."""
    signalled: set[int] = set()
    while time.monotonic() < deadline and (pids := _children()):
        for pid in pids - signalled:
            _signal(pid, signal.SIGTERM)
        signalled |= pids
        _reap()
        output.pass_on()
        time.sleep(POLL_MS / 1000)


def _kill_children(output: _Output) -> None:
    """Kill all children, and their orphans in turn; then pass on the rest of the output."""
    while pids := _children():
        for pid in pids:
            _signal(pid, signal.SIGKILL)
        os.waitpid(-1, 0)
        _reap()
    output.end()


def _children() -> set[int]:
    with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:  # noqa: PTH123
        return {int(pid) for pid in file.read().split()}


def _reap() -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _signal(pid: int, signum: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signum)


def _write(file: int, chunk: bytes) -> None:
    with suppress(BrokenPipeError):
        while chunk:
            chunk = chunk[os.write(file, chunk) :]


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl failed")


if __name__ == "__main__":
    main(sys.argv[1:])
