"""Ctrl-C waits where it must, and is seen where another error hides it."""

import signal
import sys
import threading

import pytest

from dissect.interrupts import Interrupted, Interrupts, deferred_interrupts

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals as on POSIX")


def test_interrupts_are_deferred_until_the_end_of_the_block():
    steps = []

    def work():
        with deferred_interrupts():
            signal.raise_signal(signal.SIGINT)
            steps.append("after the signal")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert steps == ["after the signal"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_interrupts_are_deferred_without_a_signal_or_with_an_error():
    with deferred_interrupts():
        pass
    with pytest.raises(ZeroDivisionError), deferred_interrupts():
        _ = 1 / 0
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with deferred_interrupts():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_interrupt_is_remembered_when_an_error_replaces_it():
    def work():
        try:
            signal.raise_signal(signal.SIGINT)
        except Interrupted:
            raise ValueError("another") from None

    with Interrupts() as interrupts, pytest.raises(ValueError, match="another"):
        work()
    assert interrupts.happened
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_on_other_threads_nothing_changes():
    seen = []

    def work():
        with Interrupts() as interrupts, deferred_interrupts():
            seen.append(interrupts.happened)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]
