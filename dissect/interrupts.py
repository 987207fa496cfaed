"""Ctrl-C at moments when Python's own way with it would end the process, or be taken for another error."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a command.

    A type of its own: after a KeyboardInterrupt inside ``exec`` of a string (dataclasses are made that way) Python ends
    itself with SIGINT even when the exception was caught.
    """


class Interrupts:
    """Within the block Ctrl-C raises `Interrupted`, and `happened` tells whether it did.

    PyTorch's C++ code turns exceptions of the Python code that it calls into errors of its own; `happened` tells these
    from a user's errors. On a thread other than the main one, where Python allows no handlers, nothing changes.

    Example:
        >>> with Interrupts() as interrupts:
        ...     interrupts.happened
        False
    """

    def __init__(self) -> None:
        self.happened = False

    def __enter__(self) -> Interrupts:
        self._on_main_thread = threading.current_thread() is threading.main_thread()
        if self._on_main_thread:
            self._before = signal.signal(signal.SIGINT, self._raise)
        return self

    def __exit__(self, *_: object) -> None:
        if self._on_main_thread:
            signal.signal(signal.SIGINT, self._before)

    def _raise(self, *_: object) -> None:
        self.happened = True
        raise Interrupted


@contextmanager
def deferred_interrupts() -> Iterator[None]:
    """Within the block Ctrl-C is deferred to the block's end.

    For imports of modules whose C++ code calls Python while it starts: an exception out of such a call ends the process
    (``std::terminate``), as with Triton's.
    """
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    arrived: list[tuple[int, FrameType | None]] = []
    signal.signal(signal.SIGINT, lambda *signal_and_frame: arrived.append(signal_and_frame))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if arrived:
            handler(*arrived[0])
