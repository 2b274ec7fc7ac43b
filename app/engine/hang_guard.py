"""Time limit for a trainable's methods: a process that hangs is ended, and its stack says where."""

import faulthandler
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

HUNG = "Timeout ("
"""Beginning of the first line that `faulthandler` writes about a process that hung."""
METHODS = {
    "_create": "setup",
    "reset_config": "reset_config",
    "step": "an epoch",
    "save_checkpoint": "save_checkpoint",
    "load_checkpoint": "load_checkpoint",
    "_check_labels": "model() or example_input()",
}
"""Names of a trainable's methods for the user, by the method of TrialActor that calls each."""
FRAME = re.compile(r'^  File ".*\bapp/engine/trial_actor\.py", line \d+ in (?:.*\.)?(\w+)$')


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """End this process, and write its stacks to stderr, if the block takes longer."""
    if seconds is None:
        yield
        return
    # This ends even what holds the interpreter's lock.
    faulthandler.dump_traceback_later(seconds, exit=True, file=2)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def hung_method(stack: Sequence[str]) -> str:
    """Name the trainable's method that took too long, by the lines that `time_limit` wrote."""
    calls = [found[1] for line in stack if (found := FRAME.match(line))]
    # The outermost call comes last.
    return next((METHODS[name] for name in reversed(calls) if name in METHODS), "an epoch")
