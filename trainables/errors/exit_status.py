"""Describe the exit status of a program in words."""

import signal

OWN_SIGNALS = {
    *(signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL),
    *(signal.SIGSEGV, signal.SIGSYS, signal.SIGTRAP),
}
"""Signals by which a program fails of itself; any other one was sent to it."""
_SIGNALS = {int(signum) for signum in signal.Signals}
_FAULTS = {
    signal.SIGABRT: "an abort",
    signal.SIGBUS: "a bus error",
    signal.SIGFPE: "an arithmetic error",
    signal.SIGILL: "an illegal instruction",
    signal.SIGSEGV: "a segmentation fault",
}
"""Signals of a program's own faults, in plain words."""


def describe_exit(name: str, status: int | None) -> str:
    """Say how the program of that name ended.

    `status` is as `subprocess` gives it: negative for a signal; None where nobody knows it.
    """
    if status is None:
        return f"{name} was lost with the process that watched it"
    if status < 0:
        return f"{name} was ended by {_describe_signal(-status)}"
    # A shell reports the signal that ended its last program as 128 and the signal.
    cause = f", which is {_describe_signal(status - 128)}" if status - 128 in _SIGNALS else ""
    return f"{name} ended with status {status}{cause}"


def _describe_signal(signum: int) -> str:
    if signum not in _SIGNALS:
        return f"signal {signum}"
    known = signal.Signals(signum)
    memory = ", perhaps for want of memory" if known == signal.SIGKILL else ""
    return f"{_FAULTS.get(known, known.name)} (signal {signum}){memory}"
