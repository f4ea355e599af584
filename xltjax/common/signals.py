"""Signals that stop a run between two updates."""

from __future__ import annotations

import signal
from typing import Any


class StopSignal:
    """Catches SIGTERM and SIGINT during a block, so that training can finish its update and save.

    A second signal stops at once, with ``KeyboardInterrupt``.

    Attributes:
        asked: whether a signal has arrived.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignal:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: object) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
