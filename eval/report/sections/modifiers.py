"""Task modifiers: fulfillment, placebo rate and helpfulness, with the paper's Table 1 beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from xltjax.data.responses import Response
from xltjax.eval.judge.report.program import FULFILLED, TABLE_COLUMNS, find_disagreements
from xltjax.eval.modifiers.catalog import MODIFIERS
from xltjax.eval.modifiers.table import table_rows
from xltjax.eval.report.content import Column, Figure, Section, Table
from xltjax.eval.report.figures.palette import MUTED, Look
from xltjax.eval.report.figures.plots import count_note, dot_panels
from xltjax.eval.report.numbers.judged import HELPFULNESS, Judged, correct_only
from xltjax.eval.report.numbers.paper import paper_modifiers
from xltjax.eval.report.sections.context import Context, count, estimate, share
from xltjax.eval.scores import Score

HEADING = "Task modifiers"
METRICS = ("modifier_strict", "modifier_loose", "placebo_strict", "placebo_loose")
HELPFUL = ("modified_helpfulness", HELPFULNESS)


def modifiers_section(context: Context, judged: Judged) -> Section:
    """The section; without answers to modified instructions, or without scores of them, it says so."""
    analysis = context.analysis
    if not any(response.modifier for response in analysis.material.responses.values()):
        return Section(
            "modifiers",
            HEADING,
            ("No answer is to an instruction with a task modifier.",),
            (),
            (_paper_table(),),
        )
    rows = table_rows(_scored(context), MODIFIERS)
    if not rows:
        unscored = (
            "The answers to instructions with a modifier have no scores: run python -m xltjax.eval modifiers."
        )
        return Section("modifiers", HEADING, (unscored,), (), (_paper_table(),))
    helpful = _judged(context, judged, HELPFUL)
    fulfilled = _judged(context, judged, (FULFILLED,))
    paper = paper_modifiers()
    for row in rows:
        key = (row["model"], row["language"], row["modifier"])
        row |= _named("helpfulness", helpful.get(key)) | _named("judge", fulfilled.get(key))
        known = paper.get((row["modifier"], row["language"]), {})
        row["paper"], row["paper_helpfulness"] = known.get("fulfilled"), known.get("helpfulness")
    told = [
        "A rate that does not exceed its placebo rate, that of the same check on the answer to the same "
        "instruction without the modifier, shows nothing. Scientific and simple style and two-hop "
        "instructions are for a judge alone."
    ]
    if not helpful:
        told.append("No judge has scored the helpfulness of these answers (judge --criteria modifier).")
    figure = _figure(context, rows)
    tables = [_table(rows), _average_table(rows)]
    disagreements = _disagreements(context)
    if disagreements is not None:
        tables.append(disagreements)
    return Section("modifiers", HEADING, tuple(told), (figure,) if figure else (), tuple(tables))


def _scored(context: Context) -> Iterator[tuple[Response, list[Score]]]:
    """Each answer with a modifier and its scores, under the language of the instruction."""
    analysis = context.analysis
    found: dict[tuple[str, str], list[Score]] = {}
    for score in analysis.material.scores:
        if score.metric in METRICS:
            found.setdefault((score.model, score.id), []).append(score)
    for key, scores in found.items():
        response = analysis.material.responses[key]
        if response.modifier is not None:
            language = scores[0].language or response.language
            pooled = replace(analysis.pooled(response), language=language)
            yield pooled, [analysis.pooled_score(score) for score in scores]


Place = tuple[str, str, str]  # system, language and modifier
Mean = tuple[float, float | None, float | None, int]


def _judged(context: Context, judged: Judged, names: tuple[str, ...]) -> dict[Place, Mean]:
    """The mean of the first of some criteria that a judge has scored, by system, language and modifier."""
    judgments, analysis = judged.modified, context.analysis
    languages = {
        (score.model, score.id): score.language
        for score in analysis.material.scores
        if score.metric == METRICS[0] and score.language
    }
    by_pooled = {
        f"{model} {id}": languages.get((model, id), response.language)
        for (model, id), response in analysis.material.responses.items()
    }
    for judge in judgments.judges:
        for name in names:
            criterion = judgments.criteria.get(name)
            cells: dict[Place, dict[int, float | None]] = {}
            if criterion is None:
                continue
            asked = judgments.asked(judge)
            for item, value in correct_only(judgments, judge, criterion, asked).items():
                response = judgments.responses[item]
                if response.modifier is not None:
                    place = (response.model, by_pooled[response.id], response.modifier["name"])
                    cells.setdefault(place, {})[item] = value
            if any(value is not None for cell in cells.values() for value in cell.values()):
                clusters = {item: judgments.unit(item) for item in asked}
                means = analysis.language_mean([[cell] for cell in cells.values()], clusters)
                return {
                    place: (mean.estimate, mean.low, mean.high, mean.n)
                    for place, (mean, _) in zip(cells, means, strict=True)
                    if mean.estimate is not None
                }
    return {}


def _named(name: str, mean: Mean | None) -> dict[str, Any]:
    if mean is None:
        return {}
    return {name: mean[0], f"{name}_low": mean[1], f"{name}_high": mean[2], f"{name}_n": mean[3]}


def _table(rows: list[dict[str, Any]]) -> Table:
    return Table(
        "modifiers",
        "Modifiers: fulfillment, placebo rate and helpfulness",
        (
            Column("model", "system"),
            Column("language", "language"),
            Column("modifier", "modifier"),
            Column("grade", "grade"),
            count("n", "n"),
            count("decided", "decided"),
            count("abstain", "abstained"),
            count("failed", "failed"),
            estimate("rate", "fulfilled", ".0%", prefix=""),
            estimate("placebo", "placebo", ".0%"),
            Column("lift", "lift", "+.0%", numeric=True),
            Column("p_holm", "p (Holm)", ".3f", numeric=True),
            share("detectable", "detectable lift"),
            estimate("judge", "fulfilled, judge", ".0%"),
            estimate("helpfulness", "helpfulness", ".2f"),
            Column("paper", "fulfilled, paper", ".0%", numeric=True),
            Column("paper_helpfulness", "helpfulness, paper", ".2f", numeric=True),
        ),
        rows,
        "Rates by program over the decided answers, with 95% Wilson intervals; lift: fulfilled minus "
        "placebo on the pairs in which both are decided, with its exact McNemar test, corrected by Holm "
        "over the modifiers of a system, language and grade. Judges: 95% bootstrap intervals over "
        "instructions; helpfulness takes the modifier into account. Paper: Table 1, LLaMA-2-13B / Dolly-En "
        "/ FT, judged by people, other instructions.",
    )


def _average_table(rows: list[dict[str, Any]]) -> Table:
    """The last line of Table 1: means over the modifiers, each of which counts alike."""
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["model"], row["language"], row["grade"]), []).append(row)
    averages = []
    for (model, language, grade), own in groups.items():
        decided = [row["rate"] for row in own if row["rate"] is not None]
        placebo = [row["placebo"] for row in own if row["placebo"] is not None]
        helpful = [row["helpfulness"] for row in own if row.get("helpfulness") is not None]
        averages.append(
            {
                "model": model,
                "language": language,
                "grade": grade,
                "modifiers": len(decided),
                "n": sum(row["decided"] for row in own),
                "rate": _mean(decided),
                "placebo": _mean(placebo),
                "helpfulness": _mean(helpful),
            }
        )
    return Table(
        "modifiers-average",
        "Modifiers on average",
        (
            Column("model", "system"),
            Column("language", "language"),
            Column("grade", "grade"),
            count("modifiers", "modifiers"),
            count("n", "n decided"),
            share("rate", "fulfilled"),
            share("placebo", "placebo"),
            Column("helpfulness", "helpfulness", ".2f", numeric=True),
        ),
        averages,
        "Unweighted means over the modifiers that a program decides, as in the last line of the paper's "
        "Table 1 (62% in English, 65% in Russian over all eleven, by people).",
    )


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _figure(context: Context, rows: list[dict[str, Any]]) -> Figure | None:
    """The strict rates and placebo rates of the best systems, by modifier."""
    best = [each.name for each in context.best()]
    strict = [row for row in rows if row["grade"] == "strict" and row["rate"] is not None]
    systems = [name for name in best if any(row["model"] == name for row in strict)][:4]
    systems = systems or list(dict.fromkeys(row["model"] for row in strict))[:4]
    shown = []
    for row in strict:
        if row["model"] in systems:
            place = {"system": row["model"], "modifier": row["modifier"]}
            asked = {"mean": row["rate"], "low": row["low"], "high": row["high"], "n": row["decided"]}
            shown.append({**place, "series": row["language"] or "?", **asked})
            if row["placebo"] is not None:
                unasked = {"mean": row["placebo"], "low": row["placebo_low"], "high": row["placebo_high"]}
                shown.append(
                    {**place, "series": f"{row['language']} placebo", **unasked, "n": row["placebo_n"]}
                )
    if not shown:
        return None
    looks: dict[str, Look] = {}
    for name in dict.fromkeys(row["series"] for row in shown):
        look = context.languages.get(name.removesuffix(" placebo"), Look(MUTED, "o", "-"))
        looks[name] = Look(look.color, "|", look.dashes) if name.endswith("placebo") else look
    modifiers = [name for name in MODIFIERS if any(row["modifier"] == name for row in shown)]
    modifiers += sorted({row["modifier"] for row in shown} - set(modifiers))
    note = f"{count_note(shown, what='answers')} at each point; strict grade; bars: 95% Wilson intervals"
    caption = (
        f"Task modifiers fulfilled (strict grade), by language, and the placebo rates (vertical marks) of "
        f"{', '.join(systems)} (Table 1 of the paper). {count_note(shown, what='answers')}. Bars are 95% "
        "Wilson intervals."
    )
    data = Table(
        "modifiers-by-language",
        "Modifiers fulfilled, and placebo rates",
        (
            Column("system", "system"),
            Column("modifier", "modifier"),
            Column("series", "language"),
            count("n", "n decided"),
            estimate("mean", "fulfilled", prefix=""),
        ),
        shown,
        caption,
    )

    def plot(figure: Any) -> None:
        dot_panels(
            figure,
            shown,
            panels={name: f"{name}: fulfilled, %" for name in systems},
            panel_key="system",
            places=modifiers,
            place_key="modifier",
            series=looks,
            series_key="series",
            note=note,
        )

    size = (max(5.0, 1.6 + 2.4 * len(systems)), 1.4 + 0.42 * len(modifiers))
    return context.figures.draw(data, plot, size=size, caption=caption, description=caption)


def _disagreements(context: Context) -> Table | None:
    analysis = context.analysis
    responses = [r for r in analysis.material.responses.values() if r.modifier is not None]
    found = find_disagreements(responses, (*analysis.material.judged, *analysis.material.scores))
    if not found.table:
        return None
    columns = (
        *(Column(name, name) for name in TABLE_COLUMNS[:3]),
        count("n", "n"),
        count("agree", "agree"),
        share("share", "share"),
        count("judge_only", "judge alone"),
        count("program_only", "program alone"),
    )
    return Table(
        "modifiers-judge-program",
        "Judge and program about modifiers",
        columns,
        found.table,
        "Of the answers that both decide, on how many they agree that the modifier is fulfilled; the "
        "browser of answers marks the others.",
    )


def _paper_table() -> Table:
    rows: list[Mapping[str, Any]] = [
        {"modifier": name, "language": language, **values}
        for (name, language), values in paper_modifiers().items()
    ]
    return Table(
        "paper-modifiers",
        "Modifiers in the paper (Table 1)",
        (
            Column("modifier", "modifier"),
            Column("language", "language"),
            Column("fulfilled", "fulfilled", ".0%", numeric=True),
            Column("helpfulness", "helpfulness", ".2f", numeric=True),
        ),
        rows,
        "LLaMA-2-13B / Dolly-En / FT, judged by people; the paper gives no intervals, and 12 to 100 "
        "instructions for each.",
    )
