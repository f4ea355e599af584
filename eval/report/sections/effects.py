"""Whether what a study claims appears in its scores, as its stage ``effects`` found it."""

from __future__ import annotations

from typing import Any

from xltjax.eval.report.content import Column, Section, Table
from xltjax.eval.report.sections.context import Context, count, estimate

HEADING = "What the study claims"
VERDICTS = ("appears", "not reproduced", "the opposite", "not known")


def effects_section(context: Context) -> Section | None:
    """The claims with their verdicts, and the paired differences; None where no study claims anything."""
    rows: list[dict[str, Any]] = []
    verdicts: dict[str, str] = {}
    notes = ""
    for document in context.analysis.material.effects:
        rows += document["rows"]
        verdicts |= document["verdicts"]
        notes = str(document["notes"])
    if not rows:
        return None
    told = []
    for verdict in VERDICTS:
        claims = [claim for claim, found in verdicts.items() if found == verdict]
        if claims:
            number = context.facts.count(f"claims: {verdict}", len(claims))
            told.append(f"{verdict.capitalize()} ({number}): {'; '.join(claims)}.")
    table = Table(
        "effects",
        "Claims and paired differences",
        (
            Column("claim", "claim"),
            Column("verdict", "verdict"),
            Column("metric", "metric"),
            Column("higher", "said to be higher"),
            Column("lower", "than"),
            Column("languages", "languages"),
            count("seeds", "seeds"),
            count("n", "n answers"),
            estimate("difference", "difference", "+.1%", prefix=""),
            Column("margin", "margin", ".0%", numeric=True),
        ),
        rows,
        notes,
    )
    return Section("effects", HEADING, tuple(told), (), (table,))
