"""The paper's own numbers beside the user's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xltjax.eval.report.content import Column, Section, Table
from xltjax.eval.report.numbers.paper import paper_rates, paper_reports, same_configuration
from xltjax.eval.report.numbers.sources import PEOPLE
from xltjax.eval.report.numbers.systems import rate_text
from xltjax.eval.report.sections.context import Context, count, estimate
from xltjax.eval.report.sections.criteria import OTHERS

HEADING = "Beside the paper"


def reported_section(context: Context, criteria: Sequence[dict[str, Any]]) -> Section:
    """Every number of the paper's text, with that of the same configuration where it is here.

    Args:
        context: the configurations and their best rates.
        criteria: the rows of the criteria's section.
    """
    best = {each.configuration: each.name for each in context.best()}
    rows = []
    for report in paper_reports():
        mine = next((name for name in best if same_configuration(report["configuration"], name)), None)
        group = OTHERS if report["languages"] == "others" else report["languages"]
        found: dict[str, Any] = next(
            (
                row
                for row in criteria
                if mine is not None
                and row["system"] == best[mine]
                and row["criterion"] == report["metric"]
                and row["group"] == group
                and (row["judge"] == PEOPLE) == (report["by"] == "people")
            ),
            {},
        )
        rows.append(
            {
                **report,
                "group": group,
                "n": found.get("n"),
                "own": found.get("mean"),
                "own_low": found.get("low"),
                "own_high": found.get("high"),
                "rater": found.get("judge"),
            }
        )
    table = Table(
        "paper",
        "Scores that the paper's text reports",
        (
            Column("configuration", "configuration"),
            Column("by", "by"),
            Column("metric", "criterion"),
            Column("group", "languages"),
            Column("value", "paper", ".2f", numeric=True),
            Column("where", "where"),
            Column("rater", "own rater"),
            count("n", "own n"),
            estimate("own", "own", ".2f"),
        ),
        rows,
        "Scores from 0 (worst) to 2 (best), averaged over the answers in the right language. The paper "
        "gives no values for its figures and no intervals; its judge was gpt-3.5-turbo-0125, its people one "
        "rater for each language.",
    )
    told = [*_rates(context)]
    if not any(row["own"] is not None for row in rows):
        told.append(
            "None of these can be compared with a number of this report: that needs a configuration of the "
            "paper, scored by a judge or by people."
        )
    return Section("paper", HEADING, tuple(told), (), (table,))


def _rates(context: Context) -> list[str]:
    told = []
    for choice in context.choices.values():
        adaptation = "lora" if "lora" in choice.configuration.lower() else "ft"
        rate = paper_rates()[adaptation]
        if len(choice.tried) > 1 and choice.best.rate is not None:
            same = "as in the paper" if choice.best.rate == rate else f"and {rate_text(rate)} in the paper"
            told.append(
                f"{choice.configuration}: the best rate is {rate_text(choice.best.rate)} here, {same}."
            )
    return told
