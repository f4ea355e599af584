"""Rows that are not learned as they are: the first bad row stops, or all are counted and listed."""

from __future__ import annotations

import logging
import re
from collections import Counter
from pathlib import Path
from typing import Literal

from xltjax.common.errors import UserError
from xltjax.common.files import write_jsonl

log = logging.getLogger("xltjax")

BadRows = Literal["stop", "skip"]
SHOWN = 5  # reasons that are logged for each file; the others are in the list of skipped rows


class BadRowError(Exception):
    """A row that cannot be used; the message is the reason, without the place."""


class NothingToLearnError(Exception):
    """A row in good order without anything to learn; the message is the reason."""


class RowReport:
    """What happened to the rows that are not learned as they are.

    Attributes:
        skipped: (file, place, reason) of each row that is not learned, in the order of the data.
    """

    def __init__(self, bad_rows: BadRows = "stop"):
        """``bad_rows`` says whether the first row that cannot be used is an error, or all of them are skipped."""
        self._stop = bad_rows == "stop"
        self.skipped: list[tuple[Path, str, str]] = []
        self._others: dict[str, list[Path]] = {}
        self._notes: Counter[tuple[Path, str]] = Counter()

    def bad(self, path: Path, place: str, reason: str) -> None:
        """A row that cannot be used.

        Args:
            path: the file.
            place: the file and row, such as ``d.jsonl, line 3``.
            reason: why.

        Raises:
            UserError: naming the row, unless bad rows are skipped.
        """
        if self._stop:
            raise UserError(f"{place}: {reason}; correct or remove it, or give --bad-rows skip")
        self.skipped.append((path, place, reason))

    def left_out(self, path: Path, place: str, reason: str) -> None:
        """A row in good order that is not learned."""
        self.skipped.append((path, place, reason))

    def note(self, path: Path, what: str) -> None:
        """A row that is learned otherwise than it says, in a way that is described by ``what``."""
        self._notes[path, what] += 1

    def unread(self, source: str, files: list[Path]) -> None:
        """Files of a source that belong to other splits than the one that is read."""
        if files:
            self._others[source] = files

    def log(self) -> None:
        """Log which files were not read, and what happened to how many rows, by file and reason."""
        for source, files in self._others.items():
            names = ", ".join(path.name for path in files[:4]) + (", ..." if len(files) > 4 else "")
            log.info("notice: %s: files of other splits are not read: %s", source, names)
        for (path, what), count in self._notes.items():
            log.warning("warning: %s: %s: %s", path, rows(count), what)
        reasons: dict[Path, Counter[str]] = {}
        for path, _, reason in self.skipped:
            reasons.setdefault(path, Counter())[_kind(reason)] += 1
        for path, counts in reasons.items():
            for reason, count in counts.most_common(SHOWN):
                log.warning("warning: %s: skipped %s: %s", path, rows(count), reason)
            rest = sum(count for _, count in counts.most_common()[SHOWN:])
            if rest:
                log.warning("warning: %s: skipped %s for other reasons", path, rows(rest))

    def write(self, path: Path) -> None:
        """List the rows that were skipped in the file ``path``, as JSON Lines; remove it when there are none."""
        if self.skipped:
            write_jsonl(path, ({"row": place, "reason": reason} for _, place, reason in self.skipped))
        else:
            path.unlink(missing_ok=True)


def rows(count: int) -> str:
    """``1 row``, ``2 rows``."""
    return f"{count} row" if count == 1 else f"{count} rows"


def _kind(reason: str) -> str:
    """A reason without what differs from row to row."""
    return re.sub(r"'[^']*'|\"[^\"]*\"|\d+", "...", reason)
