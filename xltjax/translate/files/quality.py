"""Every doubt written down: lines for segments, marks for rows, and a table for each file and language."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from xltjax.eval.table_files import printable, table_console
from xltjax.translate.translator import Outcome

UNTRANSLATED = "untranslated"  # the mark of a row with a text that has no translation
NO_TEXT = "no_text"  # the mark of a row without a text to translate
# What the terminal shows of a ``Summary``: these counts, and the commonest kinds of doubts.
SHOWN_COUNTS = ("rows", "marked", "dropped", "segments", "corrected", "doubtful", "failed")
SHOWN_KINDS = 6


@dataclass
class Summary:
    """The quality of one file in one language.

    Attributes:
        rows: of the source.
        dropped: of them, left out because they are doubtful (``--drop-doubtful``).
        marked: rows with any doubt left, those without a text included.
        untranslated: rows with a segment that has no translation.
        without_text: rows without any text.
        segments: different texts that were translated.
        corrected: of them, those whose first translation was doubtful, and the second one is not.
        doubtful: those that are still doubtful.
        failed: those without a translation.
        doubts: how many of the different segments have each doubt that is left.
        resolved: how many had each doubt that the second attempt has resolved.
    """

    rows: int = 0
    dropped: int = 0
    marked: int = 0
    untranslated: int = 0
    without_text: int = 0
    segments: int = 0
    corrected: int = 0
    doubtful: int = 0
    failed: int = 0
    doubts: Counter[str] = field(default_factory=Counter)
    resolved: Counter[str] = field(default_factory=Counter)

    def count_segments(self, outcomes: Iterable[Outcome]) -> None:
        """Count what came of the different segments of the file."""
        for outcome in outcomes:
            self.segments += 1
            self.corrected += outcome.state == "corrected"
            self.doubtful += outcome.state == "doubtful"
            self.failed += outcome.state == "failed"
            self.doubts.update(outcome.doubts)
            self.resolved.update(set(outcome.first_doubts) - set(outcome.doubts))

    def count_row(self, marks: Sequence[str], dropped: bool) -> None:
        """Count a row with its marks."""
        self.rows += 1
        self.dropped += dropped
        self.marked += bool(marks)
        self.untranslated += any(mark.endswith(UNTRANSLATED) for mark in marks)
        self.without_text += NO_TEXT in marks

    def row(self) -> dict[str, Any]:
        """As JSON, the commonest doubts first."""
        kinds = {name: dict(getattr(self, name).most_common()) for name in ("doubts", "resolved")}
        return asdict(self) | kinds


def marks_of(field_name: str, outcomes: Iterable[Outcome]) -> list[str]:
    """The marks of a row for one of its fields, such as ``response: numbers``."""
    found: dict[str, None] = {}
    for outcome in outcomes:
        names = (UNTRANSLATED,) if outcome.state == "failed" else outcome.doubts
        found |= dict.fromkeys(f"{field_name}: {name}" for name in names)
    return list(found)


def quality_line(place: Mapping[str, Any], text: str, outcome: Outcome) -> dict[str, Any]:
    """The line of ``quality.jsonl`` for a segment that is or was doubtful.

    Args:
        place: the file, the language, the id of the row, and the field.
        text: the segment.
        outcome: what came of it.
    """
    line: dict[str, Any] = {**place, "state": outcome.state, "doubts": list(outcome.doubts), "source": text}
    if outcome.state == "failed":
        return line | {"problem": outcome.problem}
    line["output"] = outcome.output
    if outcome.first is not None:
        line |= {"first": outcome.first, "first_doubts": list(outcome.first_doubts)}
    return line


def print_summary(summaries: Mapping[tuple[str, str], Summary]) -> None:
    """Print what ``summary.json`` says about each file and language."""
    table = Table(title="rows and different segments", title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("file", "lang"):
        table.add_column(name, overflow="fold")
    for name in SHOWN_COUNTS:
        table.add_column(name, justify="right")
    for (file, language), each in summaries.items():
        counts = (str(getattr(each, name)) for name in SHOWN_COUNTS)
        table.add_row(Text(printable(file)), language, *counts)
    table_console(120).print(table)
    for (file, language), each in summaries.items():
        kinds = ", ".join(f"{name} {count}" for name, count in each.doubts.most_common(SHOWN_KINDS))
        print(f"{printable(file)} {language}: doubts left: {kinds or 'none'}")
