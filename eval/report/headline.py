"""The question, and its answer in three sentences that are made from the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xltjax.eval.report.numbers.judged import HELPFULNESS, Judged
from xltjax.eval.report.numbers.metrics import title
from xltjax.eval.report.numbers.sources import PEOPLE
from xltjax.eval.report.numbers.systems import rate_text
from xltjax.eval.report.sections.choice import NO_RELEVANCE
from xltjax.eval.report.sections.comparisons import ALPHA, matched
from xltjax.eval.report.sections.context import Context, listed
from xltjax.eval.report.sections.criteria import OTHERS
from xltjax.eval.report.sections.surface import transfer_rows

MOST_NAMED = 3  # configurations in a sentence


def headline(context: Context, judged: Judged, criteria: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    """The question, the best rates with their certainty, what transfer costs, and what is not certain.

    Args:
        context: the numbers.
        judged: the judgments.
        criteria: the rows of ``criterion_rows``.
    """
    best = _best(context) or _best_judged(context, judged, criteria)
    return (_question(context), best, _cost(context), _uncertain(context, judged))


def _question(context: Context) -> str:
    others = context.transfer
    where = f" in {listed(others)}" if others else ""
    if any(len(choice.tried) > 1 for choice in context.choices.values()):
        return (
            f"Which learning rate, data and adaptation make these models follow instructions{where}, and "
            "how sure is that?"
        )
    return f"How well do these models follow instructions{where}, and how sure is that?"


def _best(context: Context) -> str:
    """The best rates or model by what programs have scored; empty when they have scored nothing."""
    choices = sorted(context.choices.values(), key=lambda each: -(each.tried[0].mean.estimate or 0.0))
    choices = [each for each in choices if each.tried[0].mean.estimate is not None]
    if not choices:
        return ""
    if all(len(each.tried) == 1 for each in choices):
        return _best_model(context)
    told = []
    several = [each for each in choices if len(each.tried) > 1]
    for choice in several[:MOST_NAMED]:
        best = choice.tried[0]
        mean = context.facts.percent(
            f"headline: {title(choice.metric)}, {best.system.name}",
            best.mean.estimate or 0.0,
            best.mean.low,
            best.mean.high,
            best.mean.n,
        )
        sure = "certain" if choice.is_sure else "not certain"
        if best.wins is not None:
            wins = context.facts.percent(f"headline: draws won by {best.system.name}", best.wins)
            sure += f", best in {wins} of the draws"
        told.append(f"{choice.configuration} at {rate_text(best.system.rate or 0.0)} with {mean} ({sure})")
    more = len(several) - MOST_NAMED
    ending = f"; section rates has the other {more}" if more > 0 else ""
    warning = f" {NO_RELEVANCE}" if several[0].metric == "language_correct" else ""
    return f"The best rate by {title(several[0].metric).lower()} is {'; '.join(told)}{ending}.{warning}"


def _best_model(context: Context) -> str:
    """The first of several models that were tried with one rate each, or the only one."""
    choices = sorted(context.choices.values(), key=lambda each: -(each.tried[0].mean.estimate or 0.0))
    best = choices[0].tried[0]
    mean = context.facts.percent(
        f"headline: {title(choices[0].metric)}, {best.system.name}",
        best.mean.estimate or 0.0,
        best.mean.low,
        best.mean.high,
        best.mean.n,
    )
    where = "over the languages besides English" if context.analysis.others else "in English"
    text = f"{best.system.name} has {mean} in {title(choices[0].metric).lower()} {where}"
    if len(choices) == 1:
        return f"{text}; there is no other model to compare it with."
    second = choices[1].tried[0]
    lead = context.analysis.difference((best.mean, best.draws), (second.mean, second.draws))
    if lead.estimate is None:
        return f"{text}, the highest of {context.facts.count('models', len(choices))}."
    points = context.facts.points(
        "headline: lead of the best model", lead.estimate, lead.low, lead.high, lead.n
    )
    sure = "is certain" if lead.low is not None and lead.low > 0 else "is not certain"
    return (
        f"{text}, the highest of {context.facts.count('models', len(choices))}; its lead of {points} on "
        f"{second.system.name} {sure}."
    )


def _best_judged(context: Context, judged: Judged, rows: Sequence[dict[str, Any]]) -> str:
    """The best model by people or a judge, where no program has scored the answers."""
    for judge in judged.judges:
        own = [row for row in rows if row["judge"] == judge and row["mean"] is not None]
        # In the order in which they are wanted, of those that are there.
        for key, wanted in (("criterion", HELPFULNESS), ("group", OTHERS)):
            found = list(dict.fromkeys(row[key] for row in own))
            chosen = wanted if wanted in found else next(iter(found), "")
            own = [row for row in own if row[key] == chosen]
        if own:
            best = max(own, key=lambda row: row["mean"])
            criterion, group = title(best["criterion"]), best["group"]
            mean = context.facts.score(
                f"headline: {criterion}, {best['system']}", best["mean"], best["low"], best["high"], best["n"]
            )
            where = " over the languages besides English" if group == OTHERS else f" in {group}" * bool(group)
            rank = f", the highest of {context.facts.count('systems', len(own))}" if len(own) > 1 else ""
            return (
                f"By {judge}, {best['system']} has {mean} in {criterion.lower()}{where}{rank}; no program has scored "
                "the answers."
            )
    return "The answers have no scores yet, so there is nothing to say about them."


def _cost(context: Context) -> str:
    rows = [
        row for row in transfer_rows(context) if row["metric"] in ("correct_and_relevant", "language_correct")
    ]
    wanted = (
        "correct_and_relevant"
        if any(row["metric"] == "correct_and_relevant" for row in rows)
        else "language_correct"
    )
    rows = [row for row in rows if row["metric"] == wanted and row["difference"] is not None]
    if not rows:
        return (
            "What transfer costs against English cannot be said without scores of the language of answers in "
            "English and in another language."
        )
    told = [
        f"{row['configuration']} "
        + context.facts.points(
            f"headline: others minus English, {title(wanted)}, {row['configuration']}",
            row["difference"],
            row["difference_low"],
            row["difference_high"],
            row["n_others"],
        )
        for row in rows[:MOST_NAMED]
    ]
    more = f"; table transfer has the other {len(rows) - MOST_NAMED}" if len(rows) > MOST_NAMED else ""
    return (
        f"Against English, the other languages differ in {title(wanted).lower()} by: {'; '.join(told)}{more}."
    )


def _uncertain(context: Context, judged: Judged) -> str:
    told: list[str] = []
    unsure = [
        each.configuration for each in context.choices.values() if len(each.tried) > 1 and not each.is_sure
    ]
    if unsure:
        told.append(
            "the choice of the rate of "
            f"{listed(unsure[:MOST_NAMED])}{' and others' if len(unsure) > MOST_NAMED else ''}"
        )
    detectable = _detectable(context)
    if detectable:
        told.append(detectable)
    judges = judged.judges
    if not [judge for judge in judges if judge != PEOPLE]:
        told.append("how helpful the answers are, since no judge has scored them")
    if PEOPLE not in judges:
        told.append("what people would say, since none have rated them")
    failed = [stage for stage in context.analysis.material.stages if stage.state == "failed"]
    if failed:
        number = context.facts.count("headline: failed stages", len(failed))
        told.append(f"what the stages that failed would have shown ({number})")
    return f"Not certain: {'; '.join(told)}." if told else "Every choice is certain at the level of 95%."


def _detectable(context: Context) -> str:
    """How large a difference between two systems would have to be to be found."""
    rows: list[dict[str, Any]] = [
        row
        for row in context.analysis.summary
        if row["metric"] == "language_correct" and row["detectable"] is not None and row["language"] != "en"
    ]
    if not rows:
        return ""
    middle = sorted(rows, key=lambda row: row["detectable"])[len(rows) // 2]
    points = context.facts.points(
        "headline: detectable difference", middle["detectable"], n=middle["n_scored"]
    )
    return f"differences in correct language under about {points.lstrip('+')} in one language"


def changes(context: Context, rows: list[dict[str, Any]]) -> str:
    """Of a report of two sources, what changed, as the first sentence."""
    pairs, _ = matched(context.analysis.systems, context.analysis.sides)
    found = [row for row in rows if row["p_holm"] is not None and row["p_holm"] < ALPHA]
    if not pairs:
        return ""
    if not found:
        return "Nothing changed that is significant after Holm's correction."
    largest = max(found, key=lambda row: abs(row["difference"]))
    points = context.facts.points(
        "headline: largest change", largest["difference"], largest["low"], largest["high"], largest["n"]
    )
    return (
        f"{context.facts.count('headline: significant changes', len(found))} differences are significant; "
        f"the largest is {points} in {title(largest['metric']).lower()} ({largest['language']}, "
        f"{largest['a']} against {largest['b']})."
    )
