"""Signals: raised once, at once or at a check, and handled while the main thread is blocked."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from app.cluster.signals import ENDING, Interrupted, SignalHandler


@pytest.mark.parametrize("signum", ENDING)
def test_a_signal_is_raised_and_its_handler_is_the_one_from_before(signum: signal.Signals) -> None:
    before = signal.getsignal(signum)
    with pytest.raises(Interrupted, match=signum.name) as caught, SignalHandler().handled():
        os.kill(os.getpid(), signum)
    assert caught.value.status == 128 + signum
    assert signal.getsignal(signum) == before


def test_a_deferred_signal_waits_for_the_check() -> None:
    signals = SignalHandler()
    reached = []

    def work() -> None:
        with signals.handled(), signals.deferred():
            os.kill(os.getpid(), signal.SIGINT)
            reached.append("after the signal")
            signals.check()
            reached.append("after the check")

    with pytest.raises(Interrupted):
        work()
    assert reached == ["after the signal"]


def test_a_second_signal_does_not_cut_short_what_the_first_set_off() -> None:
    signals = SignalHandler()
    saved = []

    def work() -> None:
        with signals.handled():
            try:
                os.kill(os.getpid(), signal.SIGINT)
            except Interrupted:
                os.kill(os.getpid(), signal.SIGTERM)
                saved.append("all of it")
                raise

    with pytest.raises(Interrupted, match="SIGINT"):
        work()
    assert saved == ["all of it"]


def test_a_deferred_signal_is_raised_at_the_latest_at_the_end() -> None:
    signals = SignalHandler()
    with pytest.raises(Interrupted), signals.handled(), signals.deferred():
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_nested_block_leaves_the_handlers_alone() -> None:
    signals = SignalHandler()
    with signals.handled():
        first = signal.getsignal(signal.SIGINT)
        with signals.handled():
            assert signal.getsignal(signal.SIGINT) == first
        assert signal.getsignal(signal.SIGINT) == first


BEGIN = """
import signal, sys, time
from app.cluster.signals import Interrupted, SignalHandler, exit_on_signals

def say(text):
    print(text, flush=True)

signals = SignalHandler(say)
signals.last_words = lambda: "go on by: this"
"""
HELD = """
# As in a library's own code: no signal interrupts what the main thread does.
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGTERM])
say("ready")
time.sleep(1000)
"""


@contextmanager
def program(*parts: str) -> Iterator["subprocess.Popen[str]"]:
    """A child process that said `ready`."""
    command = [sys.executable, "-c", "".join(parts)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process


def indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines()) + "\n"


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_blocked_main_thread_is_ended(signum: signal.Signals) -> None:
    begun = "with signals.handled(), signals.deferred():\n"
    with program(BEGIN, begun, indented(HELD)) as process:
        process.send_signal(signum)
        assert process.communicate()[0] == "go on by: this\n"
    assert process.returncode == 128 + signum


def test_the_third_signal_ends_a_block_that_saves() -> None:
    begun = "with signals.handled(), signals.deferred(saves=True):\n"
    with program(BEGIN, begun, indented(HELD)) as process:
        assert process.stdout is not None
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        warned = "saving what is to be saved; once more ends it at once\n"
        assert process.stdout.readline() == warned
        process.send_signal(signal.SIGINT)
        assert process.communicate()[0] == "go on by: this\n"
    assert process.returncode in (130, 143)  # as the kernel ordered the first two


def test_a_main_thread_that_reacts_is_not_ended() -> None:
    saving = """
with signals.handled():
    try:
        say("ready")
        signal.pause()
    except Interrupted:
        time.sleep(1.5)  # longer than one that does not hear may take
        say("saved")
"""
    with program(BEGIN, saving) as process:
        process.send_signal(signal.SIGTERM)
        assert process.communicate()[0] == "saved\n"
    assert process.returncode == 0


def test_a_signal_during_imports_ends_the_command_with_a_sentence() -> None:
    importing = "exit_on_signals()\nsay('ready')\nsignal.pause()\n"
    with program(BEGIN, "import os\nos.dup2(1, 2)\n", importing) as process:
        process.send_signal(signal.SIGTERM)
        assert process.communicate()[0] == "interrupted before anything began\n"
    assert process.returncode == 143


@pytest.mark.parametrize("begun", ["exit_on_signals()\n", "signals.handled().__enter__()\n"])
def test_an_ignored_signal_stays_ignored(begun: str) -> None:
    deaf = "signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup has it\n"
    ended = "signal.raise_signal(signal.SIGHUP)\nsay('ready')\nos._exit(0)\n"
    with program("import os", BEGIN, deaf, begun, ended) as process:
        assert process.wait() == 0
