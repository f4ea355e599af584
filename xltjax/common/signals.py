"""Signals: those that stop a run between two updates, and an interrupt while a command starts."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any


class Stopped(KeyboardInterrupt):
    """A signal has stopped what was being done, at once.

    Args:
        number: the number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


class StopSignal:
    """Catches SIGTERM and SIGINT during a block, so that training can finish its update and save.

    A second signal stops at once, with ``Stopped``. The blocks may follow one another. Only the main thread gets
    signals, so that a block in another thread catches none.

    Attributes:
        number: the first signal that has arrived; 0 when none has.
    """

    def __init__(self) -> None:
        self.number = 0
        self._before: dict[int, Any] = {}

    @property
    def asked(self) -> bool:
        """Whether a signal has arrived."""
        return self.number != 0

    def __enter__(self) -> StopSignal:
        for number in (signal.SIGTERM, signal.SIGINT) if _is_main_thread() else ():
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: object) -> None:
        if self.asked:
            raise Stopped(number)
        self.number = number


def exit_when_interrupted() -> None:
    """Until ``interrupt_normally``, end at Ctrl-C with one line and 130 instead of a traceback of the imports."""
    if _is_main_thread() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _exit)


def interrupt_normally() -> None:
    """Let Ctrl-C raise ``KeyboardInterrupt`` again."""
    if _is_main_thread() and signal.getsignal(signal.SIGINT) is _exit:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """A block of imports that take seconds, at which Ctrl-C ends with one line; some would catch an exception."""
    exit_when_interrupted()
    try:
        yield
    finally:
        interrupt_normally()


def _exit(number: int, frame: object) -> None:
    # Not an exception, which modules that are being imported might catch.
    print("interrupted", file=sys.stderr, flush=True)
    os._exit(128 + number)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
