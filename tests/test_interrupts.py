"""Signals: raised at once or when asked, and never twice."""

import os
import signal

import pytest

from app.interrupts import Interrupted, Interrupts


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_raised_and_its_handler_is_the_one_from_before(signum: signal.Signals) -> None:
    before = signal.getsignal(signum)
    with pytest.raises(Interrupted, match=signum.name) as caught, Interrupts().handled():
        os.kill(os.getpid(), signum)
    assert caught.value.status == 128 + signum
    assert signal.getsignal(signum) == before


def test_a_deferred_signal_waits_for_the_check() -> None:
    interrupts = Interrupts()
    reached = []

    def work() -> None:
        with interrupts.handled(), interrupts.deferred():
            os.kill(os.getpid(), signal.SIGINT)
            reached.append("after the signal")
            interrupts.check()
            reached.append("after the check")

    with pytest.raises(Interrupted):
        work()
    assert reached == ["after the signal"]


def test_a_second_signal_does_not_cut_short_what_the_first_set_off() -> None:
    interrupts = Interrupts()
    saved = []

    def work() -> None:
        with interrupts.handled():
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
    interrupts = Interrupts()
    with pytest.raises(Interrupted), interrupts.handled(), interrupts.deferred():
        os.kill(os.getpid(), signal.SIGTERM)
