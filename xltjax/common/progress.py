"""Progress of long work: a bar on a terminal, and plain lines where there is none."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterator

log = logging.getLogger("xltjax")

PLAIN_INTERVAL = 10.0  # seconds between plain lines


@contextlib.contextmanager
def progress(title: str, total: int, start: int = 0, *, quiet: bool = False) -> Iterator[Callable[..., None]]:
    """Show progress on stderr during the block.

    On a terminal this is a live bar with the time that is left; otherwise it is a plain line every
    ``PLAIN_INTERVAL`` seconds and at the end.

    Args:
        title: what is being done.
        total: how many units of work there are.
        start: how many of them were done before.
        quiet: show nothing, as where only warnings are logged.

    Yields:
        ``advance(count=1, note="")``, which says that ``count`` further units are done.
    """
    if quiet or log.level > logging.INFO:
        yield lambda count=1, note="": None
    elif sys.stderr.isatty():
        yield from _bar(title, total, start)
    else:
        yield from _lines(title, total, start)


def _bar(title: str, total: int, start: int) -> Iterator[Callable[..., None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=total, completed=start, note="")

        def advance(count: int = 1, note: str = "") -> None:
            bar.update(task, advance=count, note=note)

        yield advance


def _lines(title: str, total: int, start: int) -> Iterator[Callable[..., None]]:
    began = last = time.monotonic()
    done = start

    def advance(count: int = 1, note: str = "") -> None:
        nonlocal done, last
        done += count
        now = time.monotonic()
        if now - last >= PLAIN_INTERVAL or done == total:
            last = now
            rate = (done - start) / max(now - began, 1e-9)
            left = (total - done) / rate if rate > 0 else 0.0
            print(f"{title}: {done}/{total}, {left:.0f} s left {note}".rstrip(), file=sys.stderr, flush=True)

    yield advance
