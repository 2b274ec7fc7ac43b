"""Run a program, and end it with all that it started once nobody wants it any more.

`python -I guard.py GRACE STATUS SHARED PROGRAM [ARGUMENT …]` leaves its caller at once and goes on
by itself, so that no end of the caller, not even a SIGKILL, ends it before its work is done. What
the program prints goes to stderr, in whole lines where SHARED is 1 since others write there too,
and to stdout while anybody reads that. When stdin ends, the program is told to end by SIGTERM, and
GRACE seconds later by SIGKILL. Its status, as `subprocess` gives it, and the time of its end are
written to the file descriptor STATUS. Linux only.
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
"""File descriptors: open while the program is wanted; what it prints, to the caller; to a file."""
CHUNK = 2**16
LONGEST = 2**20
"""Bytes of a line that are waited for; what never ends its line goes on all the same."""
POLL_MS = 50
"""How often processes that lost their parent are looked for while the program is ending."""


def main(arguments: Sequence[str]) -> None:
    """Run the program to its end and write its status."""
    grace_s, status, is_shared, *command = arguments
    if os.fork():
        os._exit(0)
    os.setsid()
    _keep_files()
    # Whatever the program leaves behind becomes a child of this process, which ends it.
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    pid, file = _start(command)
    code, ended_at = _watch(pid, _Output(file, is_shared=is_shared == "1"), float(grace_s))
    with suppress(BrokenPipeError):  # nobody may want to know any more
        os.write(int(status), f"{code} {ended_at}".encode())


def _keep_files() -> None:
    """Keep what the caller handed over, such as a lock to be held, from the program."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
        # One of them was the listing's own and is closed again.
        with suppress(OSError):
            os.set_inheritable(int(name), int(name) <= LOG)


class _Output:
    """What the program prints, on its way to its caller and to its log."""

    def __init__(self, file: int, *, is_shared: bool) -> None:
        self.file = file
        self._is_shared = is_shared
        self._rest = b""
        """Of a line that has not ended."""

    def pass_on(self) -> bool:
        """Pass on what is there; whether more may come at once."""
        try:
            chunk = os.read(self.file, CHUNK)
        except BlockingIOError:
            return False
        _write(LOG, self._whole(chunk) if self._is_shared else chunk)
        # Nobody reads what a program prints that is being ended; its log is kept to the last.
        _write(OUT, chunk)
        return bool(chunk)

    def end(self) -> None:
        """Pass on the last of it, also of a line that never ended."""
        while self.pass_on():
            pass
        if self._rest:
            _write(LOG, self._rest + b"\n")

    def _whole(self, chunk: bytes) -> bytes:
        """The lines that have ended with this chunk, or what was drawn over itself by now."""
        text = self._rest + chunk
        end = max(text.rfind(b"\n"), text.rfind(b"\r")) + 1
        if len(text) - end >= LONGEST:
            text, end = text + b"\n", len(text) + 1
        self._rest = text[end:]
        return text[:end]


def _start(command: list[str]) -> tuple[int, int]:
    """The program in a session of its own: its process, and what it prints."""
    output, its_output = os.pipe()
    pid = os.fork()
    if pid:
        os.close(its_output)
        os.set_blocking(output, False)
        return pid, output
    try:
        os.setsid()
        for signum in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, signal.SIG_DFL)
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(its_output, 1)
        os.dup2(its_output, 2)
        os.execvp(command[0], command)
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(127)


def _watch(pid: int, output: _Output, grace_s: float) -> tuple[int, float]:
    """Pass on what it prints until it ended, all that it started too; its status and its time."""
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
        _end_the_rest(output, deadline)
    _end_all(output)
    return status, ended_at


def _end_the_rest(output: _Output, deadline: float) -> None:
    """Tell what the program left behind to end, as it was told, and wait for that."""
    told: set[int] = set()
    while time.monotonic() < deadline and (pids := _children()):
        for pid in pids - told:
            _signal(pid, signal.SIGTERM)
        told |= pids
        _reap()
        output.pass_on()
        time.sleep(POLL_MS / 1000)


def _end_all(output: _Output) -> None:
    """Kill what is left, and what that leaves behind in turn; then read the last of the output."""
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
