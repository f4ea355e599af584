"""Sheets for other tools: Label Studio (tasks and labeling config), Pearmut (campaign) and a CSV to fill in."""

from __future__ import annotations

import csv
import html
import io
import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import quoteattr

from xltjax.eval.people.label_studio import COMMENT, SPANS
from xltjax.eval.people.pearmut import ANSWER, skipped
from xltjax.eval.people.plan import Item
from xltjax.eval.people.schema import CANNOT_JUDGE, HEAD, SCHEMA, SCORE, SEVERITIES, SHOWN, TAIL

MARKED = ("fluency", "language")  # criteria for which a passage can be marked
NO_TAG = "\u2039"  # stands for "<" in Pearmut: a sign that every font has


def csv_table(
    items: Sequence[Item], *, sheet: str, language: str, annotator: int, criteria: Sequence[str]
) -> str:
    """One row per item with empty cells for the ratings.

    In the texts, which ``collect`` does not read, an apostrophe stands before what a spreadsheet would take for the
    beginning of a formula: ``=``, ``+``, ``-`` or ``@`` at the start, and after a line break or a separator, where a
    cell starts when the table is read with another separator. Only the dash of a list stays as it is.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*HEAD, *SHOWN, *(SCORE + name for name in criteria), *TAIL])
    for order, item in enumerate(items, start=1):
        shown = [_no_formula(text) for text in (item.response.instruction, item.response.response)]
        writer.writerow(
            [SCHEMA, sheet, language, annotator, item.id, order, *shown, *[""] * (len(criteria) + 3)]
        )
    return file.getvalue()


_FORMULA = re.compile(r'^(?=[=+\-@\t\r])|(?<=[\r\n\t;,])(?=[ "]*(?:[=+@]|-(?![\s-])))')


def _no_formula(text: str) -> str:
    return _FORMULA.sub("'", text)


def label_studio_tasks(items: Sequence[Item], *, sheet: str, language: str) -> list[dict[str, Any]]:
    """The tasks of a sheet, to be imported as JSON."""
    return [
        {
            "data": {
                "sheet": sheet,
                "language": language,
                "item": item.id,
                "order": order,
                "instruction": item.response.instruction,
                "answer": item.response.response,
            }
        }
        for order, item in enumerate(items, start=1)
    ]


def label_studio_config(
    scales: Mapping[str, Sequence[int]],
    levels: Mapping[str, Mapping[int, str]] | None = None,
    cannot_judge: str = "cannot judge",
    titles: Mapping[str, str] | None = None,
) -> str:
    """The labeling config: choices per criterion, spans and a comment.

    The names of its fields are not those of the tasks' data, since flat exports hold both in one row.

    Args:
        scales: the ratings that each criterion may get.
        levels: what a rating of a criterion means, for the annotator.
        cannot_judge: the words for a criterion that cannot be judged.
        titles: the criteria in the annotator's language.
    """
    lines = [
        "<View>",
        '  <Text name="instruction" value="$instruction"/>',
        '  <Text name="answer" value="$answer" granularity="symbol"/>',
    ]
    marked = [name for name in MARKED if name in scales]
    if marked:
        lines.append(f'  <Labels name="{SPANS}" toName="answer">')
        lines += [f'    <Label value="{s} {name}"/>' for name, s in itertools.product(marked, SEVERITIES)]
        lines.append("  </Labels>")
    for name, scale in scales.items():
        lines.append(f"  <Header value={quoteattr((titles or {}).get(name, name))}/>")
        lines.append(f'  <Choices name="{SCORE}{name}" toName="answer" choice="single-radio">')
        for level in scale:
            text = (levels or {}).get(name, {}).get(level)
            hint = f" hint={quoteattr(text)}" if text else ""
            lines.append(f'    <Choice value="{level}"{hint}/>')
        lines.append(f'    <Choice value={quoteattr(cannot_judge)} alias="{CANNOT_JUDGE}"/>')
        lines.append("  </Choices>")
    lines += [f'  <TextArea name="{COMMENT}" toName="answer" rows="2" maxSubmissions="1"/>', "</View>"]
    return "\n".join(lines) + "\n"


def pearmut_campaign(
    sheets: Sequence[tuple[str, Sequence[Item]]],
    *,
    language: str,
    scales: Mapping[str, Sequence[int]],
    instructions: str = "",
    cannot_judge: str = "cannot judge",
) -> dict[str, Any]:
    """A campaign of one language: each sheet, given by its hash, is the task of one user.

    Pearmut shows tags as HTML, so that ``<`` stands as another sign of the same length, and has no way to skip a
    slider, so that the place below the lowest rating means "cannot judge". Its order is ours: nothing is shuffled.
    The mark for what is missing is switched off, since a span of it would lie outside of the answer.
    """
    places = sorted({skipped(scale) for scale in scales.values()})
    note = f"{' / '.join(map(str, places))}: {cannot_judge}."
    return {
        "campaign_id": f"people-{language}",
        "info": {
            "assignment": "task-based",
            "protocol": "MQM",
            "shuffle": False,
            "show_model_names": False,
            "textfield": "visible",
            "mqm_categories": {name: [] for name in MARKED if name in scales},
            "mqm_severities": list(SEVERITIES),
            "special_tokens": [],
            "sliders": [
                {"name": name, "min": skipped(scale), "max": max(scale), "step": 1}
                for name, scale in scales.items()
            ],
            "instructions": html.escape(f"{instructions} {note}".strip()),
        },
        "data": [
            [
                [
                    {
                        "item_id": item.id,
                        "sheet": sheet,
                        "language": language,
                        "item": item.id,
                        "order": order,
                        "src": item.response.instruction.replace("<", NO_TAG),
                        "tgt": {ANSWER: item.response.response.replace("<", NO_TAG)},
                    }
                ]
                for order, item in enumerate(items, start=1)
            ]
            for sheet, items in sheets
        ],
    }
