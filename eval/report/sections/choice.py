"""The choice of the learning rate, and how sure it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from xltjax.eval.report.content import Column, Figure, Section, Table
from xltjax.eval.report.figures.plots import count_note, dot_panels
from xltjax.eval.report.numbers.metrics import axis, title
from xltjax.eval.report.numbers.rates import Choice
from xltjax.eval.report.numbers.systems import rate_text
from xltjax.eval.report.sections.context import BOOTSTRAP, Context, count, estimate, share

NO_RELEVANCE = (
    "Relevance was not scored, and language alone cannot tell an answer from a fluent text about something else: it "
    "favors rates that are too low."
)
_OWN_RULE = (
    "Rule: the highest mean over the languages besides English of the share of answers that are in the "
    "right language and, where relevance was scored, relevant; spelling decides between equal rates. The "
    "rates are chosen on the same instructions that the other tables report, as in the paper, which "
    "flatters the chosen ones a little."
)


def choice_section(context: Context) -> Section:
    """The rates of each configuration, with the share of draws in which each is the best."""
    chosen = [each for each in context.choices.values() if len(each.tried) > 1]
    heading = "Choice of the learning rate"
    if not chosen:
        told = "No configuration was tried with several learning rates, so there is none to choose."
        return Section("rates", heading, (told,))
    table = _table(chosen)
    figure = _figure(context, table, chosen[0].metric)
    return Section("rates", heading, _sentences(context), (figure,), (table, *_other_rules(context)))


def _table(chosen: Sequence[Choice]) -> Table:
    metric = chosen[0].metric
    rows = [
        {
            "configuration": choice.configuration,
            "system": tried.system.name,
            "rate": tried.system.rate,
            "n": tried.mean.n,
            "mean": tried.mean.estimate,
            "low": tried.mean.low,
            "high": tried.mean.high,
            "spelling": tried.spelling.estimate,
            "spelling_low": tried.spelling.low,
            "spelling_high": tried.spelling.high,
            "wins": tried.wins,
            "lead": choice.lead.estimate if choice.lead and not place else None,
            "lead_low": choice.lead.low if choice.lead and not place else None,
            "lead_high": choice.lead.high if choice.lead and not place else None,
            "panel": metric,
            "series": choice.configuration,
        }
        for choice in chosen
        for place, tried in enumerate(choice.tried)
    ]
    return Table(
        "rates",
        "Learning rates, the best first",
        (
            Column("configuration", "configuration"),
            Column("rate", "learning rate", ".1e", numeric=True),
            count("n", "n answers"),
            estimate("mean", title(metric).lower(), prefix=""),
            share("spelling", "spelling"),
            share("wins", "best in the draws"),
            estimate("lead", "lead on the next", "+.1%"),
        ),
        rows,
        "Means over the languages besides English, equally weighted. Best in the draws: the share of "
        "bootstrap draws of the instructions in which the rate has the highest mean. " + BOOTSTRAP,
    )


def _figure(context: Context, table: Table, metric: str) -> Figure:
    rows = table.rows
    n = count_note(rows, what="answers")

    def plot(figure: Any) -> None:
        dot_panels(
            figure,
            rows,
            panels={metric: axis(metric)},
            panel_key="panel",
            places=[str(row["system"]) for row in rows],
            place_key="system",
            series=context.configurations,
            series_key="series",
            note=f"{n} at each point; bars: 95% intervals",
        )

    caption = (
        f"{title(metric)}, mean over the languages besides English, for each configuration and rate. "
        f"{n}. {BOOTSTRAP}"
    )
    data = replace(table, name="rates-by-configuration", title="Learning rates of each configuration")
    size = (7.2, 1.6 + 0.28 * len(rows))
    return context.figures.draw(data, plot, size=size, caption=caption, description=caption)


def _sentences(context: Context) -> tuple[str, ...]:
    told = []
    if any(not choice.instructions for choice in context.choices.values()):
        told.append(_OWN_RULE)
        if any(choice.metric == "language_correct" for choice in context.choices.values()):
            told.append(NO_RELEVANCE)
    for choice in context.choices.values():
        if choice.instructions:
            number = context.facts.count(
                f"instructions of the choice, {choice.configuration}", choice.instructions
            )
            told.append(
                f"{choice.configuration}: chosen by eval choose on {number} instructions, by the highest "
                f"{choice.metric}."
            )
        told += choice.warnings
    for choice in context.choices.values():
        if len(choice.tried) < 2 or choice.lead is None or choice.lead.estimate is None:
            continue
        best, wins = choice.tried[0], choice.tried[0].wins
        lead = context.facts.points(
            f"lead of the best rate, {choice.configuration}",
            choice.lead.estimate,
            choice.lead.low,
            choice.lead.high,
            choice.lead.n,
        )
        text = f"{choice.configuration}: {rate_text(best.system.rate or 0.0)} leads by {lead}"
        if wins is not None:
            won = context.facts.percent(f"draws won by {best.system.name}", wins)
            text += f" and is the best in {won} of the draws"
        told.append(text + ("." if choice.is_sure else ", so the choice is not certain."))
    return tuple(told)


def _other_rules(context: Context) -> list[Table]:
    rows = [
        {
            "configuration": choice.configuration,
            "rule": other.name,
            "maximizes": other.maximizes,
            "rate": other.rate,
            "wins": other.wins,
            "chosen": choice.best.rate,
        }
        for choice in context.choices.values()
        for other in choice.others
    ]
    if not rows:
        return []
    columns = (
        Column("configuration", "configuration"),
        Column("rule", "rule"),
        Column("maximizes", "maximizes"),
        Column("rate", "learning rate", ".1e", numeric=True),
        share("wins", "best in the draws"),
        Column("chosen", "chosen rate", ".1e", numeric=True),
    )
    return [
        Table("other-rules", "What other rules would have chosen", columns, rows, "As eval choose found it.")
    ]
