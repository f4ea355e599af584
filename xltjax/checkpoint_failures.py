"""What goes wrong with a checkpoint, in one short line, where Orbax and TensorStore would print pages."""

from __future__ import annotations

import contextlib
import gc
import io
import logging
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from xltjax.common.errors import first_line

LONGEST_REASON = 160  # characters


def short_reason(problem: BaseException) -> str:
    """The reason of a failure in one short line."""
    for known in ("No space left on device", "Disk quota exceeded", "File too large"):
        if known in str(problem):
            return known.lower()
    line = first_line(problem)
    return line if len(line) <= LONGEST_REASON else f"{line[:LONGEST_REASON]} ..."


def causes_of(problem: BaseException) -> list[BaseException]:
    """``problem`` and what it was raised from, the first cause last."""
    found = [problem]
    while (before := found[-1].__cause__ or found[-1].__context__) is not None and before not in found:
        found.append(before)
    return found


@contextlib.contextmanager
def quiet_failures() -> Iterator[None]:
    """Keep the pages that Orbax's tasks and TensorStore's threads print about a failure from the terminal."""
    printed, hook = io.StringIO(), sys.unraisablehook
    # For good: tasks report whenever they are removed.
    logging.getLogger("asyncio").addFilter(_is_no_lost_task)
    sys.unraisablehook = lambda _: None
    try:
        with contextlib.redirect_stderr(printed):
            try:
                yield
            except Exception:
                gc.collect()
                time.sleep(0.5)  # until the threads have called back into an event loop that is closed
                raise
        sys.stderr.write(printed.getvalue())  # nothing has failed
    finally:
        sys.unraisablehook = hook


def _is_no_lost_task(record: logging.LogRecord) -> bool:
    return "exception was never retrieved" not in record.getMessage()


def remove_all(directory: Path, pattern: str) -> None:
    """Remove directories, although threads of a failed save may write into them for another moment."""
    for _ in range(50):
        found = list(directory.glob(pattern))
        if not found:
            return
        for path in found:
            shutil.rmtree(path, ignore_errors=True)
        time.sleep(0.1)
