"""The browser in which the benchmarks of pages open them: the system's Chromium."""

from __future__ import annotations

import shutil

NAMES = ("chromium", "chromium-browser", "google-chrome")


def chromium() -> str | None:
    """The program; None where none is installed."""
    return next(filter(None, map(shutil.which, NAMES)), None)
