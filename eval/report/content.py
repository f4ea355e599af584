"""What a report says, apart from how it looks: sections of text, figures and tables, and every answer.

The numbers make a ``Report``; the page and the files for a paper are made of it. All text is plain: whoever writes it
to HTML, Markdown or LaTeX escapes it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

NO_VALUE = "–"  # what stands in a table where there is no number

# The kinds of words that a dictionary does not accept (``spelling``), as an ``UnknownWord`` names them.
NAME, FOREIGN, NONWORD = "name", "foreign", "nonword"


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        key: of the rows.
        heading: what stands above the column, with the unit.
        format: how a number is written, for example ``.2f`` or ``.1%``; empty for text and whole numbers.
        numeric: whether the column holds numbers, which are aligned to the right.
        low: the key of the lower end of the value's 95% interval, which is beside the value; empty for none.
        high: the key of its upper end.
    """

    key: str
    heading: str
    format: str = ""
    numeric: bool = False
    low: str = ""
    high: str = ""

    def text(self, row: Mapping[str, Any]) -> str:
        """The value of ``row`` as a reader sees it, without the interval."""
        return self._text(row.get(self.key))

    def interval(self, row: Mapping[str, Any]) -> str:
        """The interval as ``[low, high]``; empty when the column or the row has none."""
        ends = [row.get(key) for key in (self.low, self.high) if key]
        if len(ends) < 2 or any(_missing(end) for end in ends):
            return ""
        return f"[{', '.join(map(self._text, ends))}]"

    def _text(self, value: Any) -> str:
        if _missing(value):
            return NO_VALUE
        if self.format and isinstance(value, int | float) and not isinstance(value, bool):
            return format(value, self.format)
        return str(value)


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and not math.isfinite(value))


@dataclass(frozen=True)
class Table:
    """Numbers, as they stand in the page and in ``tables/<name>.{csv,md,tex}``.

    Attributes:
        name: the stem of its files, unique in the report: lower case letters, digits and hyphens.
        title: in a few words.
        columns: in order.
        rows: one mapping for each row, with unrounded numbers; None where there is no value.
        caption: which answers are meant, n, and what the intervals are.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: Sequence[Mapping[str, Any]]
    caption: str = ""


@dataclass(frozen=True)
class Figure:
    """A drawing and the numbers that it shows.

    Attributes:
        name: the stem of its files, unique in the report: lower case letters, digits and hyphens.
        title: in a few words.
        caption: what is shown, n, and what the intervals are.
        description: what a reader sees who sees it, for those who do not; the caption when it is empty.
        svg: the drawing, a whole ``<svg>`` element with or without an XML declaration.
        data: the numbers behind the drawing, unrounded.
    """

    name: str
    title: str
    caption: str
    svg: str
    data: Table
    description: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the report; what is missing in it is a paragraph that says so.

    Attributes:
        id: unique in the report: lower case letters, digits and hyphens. The page links to ``#section-<id>``.
        title: its heading.
        paragraphs: of plain text, above the figures.
        figures: in order.
        tables: in order, below the figures.
    """

    id: str
    title: str
    paragraphs: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()


@dataclass(frozen=True, slots=True)
class UnknownWord:
    """A word of an answer that the dictionary of its language does not accept.

    Attributes:
        word: as ``spelling`` lists it.
        kind: ``NAME``, ``FOREIGN`` or ``NONWORD``.
        language: of a foreign word, the language or script that has it.
    """

    word: str
    kind: str
    language: str = ""


@dataclass(frozen=True, slots=True)
class Passage:
    """A passage of an answer and its language, as ``line_language`` lists it.

    Attributes:
        text: its beginning, as the metric read it: without markup.
        language: a code of ISO 639, or ``unknown``.
    """

    text: str
    language: str


@dataclass(frozen=True, slots=True)
class Judgment:
    """What one call of a judge, or a person, said about an answer.

    Attributes:
        judge: the name of the judge, or of the rater.
        scores: by criterion; None where there is no score.
        outcome: ``ok``, or why there are no scores.
        words: what the judge wrote, in its own words.
    """

    judge: str
    scores: Mapping[str, float | None]
    outcome: str = "ok"
    words: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer with everything that is known about it, for the browser of answers.

    Attributes:
        id: of the response; unique for each model.
        model: who answered.
        language: the answer should be in.
        task: the category of the instruction.
        modifier: the name of the task modifier; empty when there is none.
        instruction_id: shared by the translations of one instruction and by its forms with a modifier.
        instruction: what was asked.
        response: what the model said.
        finish_reason: ``stop``, ``length`` or ``failed: <why>``.
        found_language: the guess of ``language_correct``; empty when there is none.
        scores: by metric, without the judges'; None where ``states`` says why.
        states: by metric whose state is not ``ok``: why.
        words: the unknown words.
        passages: of ``line_language``, in the order of the answer.
        judgments: of all judges and people.
        disagreement: how judge and program disagree about this answer; empty when they do not.
    """

    id: str
    model: str
    language: str = ""
    task: str = ""
    modifier: str = ""
    instruction_id: str = ""
    instruction: str = ""
    response: str = ""
    finish_reason: str = ""
    found_language: str = ""
    scores: Mapping[str, float | None] = field(default_factory=dict)
    states: Mapping[str, str] = field(default_factory=dict)
    words: tuple[UnknownWord, ...] = ()
    passages: tuple[Passage, ...] = ()
    judgments: tuple[Judgment, ...] = ()
    disagreement: str = ""


@dataclass(frozen=True)
class Report:
    """All that a report says.

    Attributes:
        title: what was studied.
        headline: the question, and then the sentences that answer it.
        lead: the figure of the first screen.
        sections: in order.
        provenance: names and values: revision, protocol, hashes of data, versions, hardware, cost.
        answers: of all models, for the browser.
        model_colors: by model, the color in all figures (``#rrggbb``).
        language_colors: by language, the same.
    """

    title: str
    headline: tuple[str, ...]
    lead: Figure | None = None
    sections: tuple[Section, ...] = ()
    provenance: tuple[tuple[str, str], ...] = ()
    answers: Sequence[Answer] = ()
    model_colors: Mapping[str, str] = field(default_factory=dict)
    language_colors: Mapping[str, str] = field(default_factory=dict)
