"""Sheets for other tools: Label Studio (tasks and labelling config), Pearmut (campaign) and a CSV to fill in."""

from __future__ import annotations

import csv
import html
import io
import itertools
from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import quoteattr

from xltjax.eval.people.plan import Item
from xltjax.eval.people.schema import CANNOT_JUDGE, HEAD, SCHEMA, SCORE, SEVERITIES, SHOWN, TAIL
from xltjax.eval.people.tools import ANSWER, COMMENT, SKIPPED, SPANS

MARKED = ("fluency", "language")  # criteria for which a passage can be marked


def csv_table(
    items: Sequence[Item], *, sheet: str, language: str, annotator: int, criteria: Sequence[str]
) -> str:
    """One row per item with empty cells for the ratings.

    A text that a spreadsheet would take for a formula gets an apostrophe in front; ``collect`` does not read texts.
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


def _no_formula(text: str) -> str:
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


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
) -> str:
    """The labelling config: choices per criterion, spans and a comment.

    Args:
        scales: the ratings that each criterion may get.
        levels: what a rating of a criterion means, for the annotator.
        cannot_judge: the words for a criterion that cannot be judged.
    """
    lines = [
        "<View>",
        '  <Header value="$instruction"/>',
        '  <Text name="answer" value="$answer" granularity="symbol"/>',
    ]
    marked = [name for name in MARKED if name in scales]
    if marked:
        lines.append(f'  <Labels name="{SPANS}" toName="answer">')
        lines += [f'    <Label value="{s} {name}"/>' for name, s in itertools.product(marked, SEVERITIES)]
        lines.append("  </Labels>")
    for name, scale in scales.items():
        lines.append(f"  <Header value={quoteattr(name)}/>")
        lines.append(f'  <Choices name="{name}" toName="answer" choice="single-radio">')
        for level in scale:
            text = (levels or {}).get(name, {}).get(level)
            hint = f" hint={quoteattr(text)}" if text else ""
            lines.append(f'    <Choice value="{level}"{hint}/>')
        lines.append(f'    <Choice value="{CANNOT_JUDGE}" hint={quoteattr(cannot_judge)}/>')
        lines.append("  </Choices>")
    lines += [f'  <TextArea name="{COMMENT}" toName="answer" rows="2" maxSubmissions="1"/>', "</View>"]
    return "\n".join(lines) + "\n"


def pearmut_campaign(
    sheets: Sequence[tuple[str, Sequence[Item]]],
    *,
    language: str,
    scales: Mapping[str, Sequence[int]],
    instructions: str = "",
) -> dict[str, Any]:
    """A campaign of one language: each sheet, given by its hash, is the task of one user.

    Pearmut shows tags as HTML, so that ``<`` stands as the fullwidth sign of the same length, and has no way to
    skip a slider, so that the place -1 means "cannot judge". Its order is ours: nothing is shuffled.
    """
    note = "-1: cannot judge."
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
            "sliders": [
                {"name": name, "min": SKIPPED, "max": max(scale), "step": 1} for name, scale in scales.items()
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
                        "src": item.response.instruction.replace("<", "＜"),
                        "tgt": {ANSWER: item.response.response.replace("<", "＜")},
                    }
                ]
                for order, item in enumerate(items, start=1)
            ]
            for sheet, items in sheets
        ],
    }
