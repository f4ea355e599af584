"""Surface metrics by configuration, learning rate and language: Figure 2, left, of the paper."""

from __future__ import annotations

from typing import Any

from xltjax.eval.report.content import Column, Figure, Section, Table
from xltjax.eval.report.figures.plots import count_note, dot_panels, rate_panels
from xltjax.eval.report.numbers.analysis import REFERENCE
from xltjax.eval.report.numbers.metrics import SURFACE, axis, title
from xltjax.eval.report.sections.context import (
    BOOTSTRAP,
    INTERVALS,
    Context,
    count,
    estimate,
    listed,
    seeds_note,
    share,
)
from xltjax.eval.summary import BOUNDS_NOTE, DETECTABLE_NOTE, LOW_COVERAGE

MOST_COLUMNS = 8  # configurations in a figure with a panel for each


def surface_section(context: Context) -> Section:
    """The section; without scores it says so."""
    analysis = context.analysis
    if not analysis.summary:
        return Section(
            "surface",
            "Language, spelling and relevance",
            (
                "There are no scores of language, spelling or relevance: run python -m xltjax.eval surface "
                "RESPONSES.",
            ),
        )
    missing = [title(metric) for metric in SURFACE if metric not in analysis.cells]
    paragraphs = [_scope(context)]
    if missing:
        paragraphs.append(f"Not scored: {listed(missing).lower()}.")
    figure = surface_figure(context)
    tables = [_wide_table(context), _long_table(context)]
    transfer = _transfer_table(context)
    if transfer is None:
        paragraphs.append(
            "What transfer costs against English cannot be said: answers in English and in another language "
            "are needed."
        )
    else:
        tables.insert(0, transfer)
    paragraphs += _low_coverage(context)
    return Section(
        "surface",
        "Language, spelling and relevance",
        tuple(paragraphs),
        (figure,) if figure else (),
        tuple(tables),
    )


def _scope(context: Context) -> str:
    analysis, facts = context.analysis, context.facts
    plain = [key for key in analysis.material.responses if analysis.is_plain(key)]
    instructions = {analysis.unit(analysis.material.responses[key]) for key in plain}
    return (
        f"{facts.count('answers to instructions without a modifier', len(plain))} answers to "
        f"{facts.count('instructions', len(instructions))} instructions in "
        f"{listed(language or 'an unknown language' for language in analysis.languages)}, of "
        f"{facts.count('systems', len(analysis.systems))} systems (configuration and learning "
        f"rate).{seeds_note(analysis.systems)}{_selection_note(context)}"
    )


def _selection_note(context: Context) -> str:
    selection = context.analysis.selection
    if not selection:
        return ""
    number = context.facts.count("instructions on which rates were chosen", len(selection))
    return f" The {number} instructions on which the rates were chosen are left out of these and all later numbers."


def surface_rows(context: Context, metrics: tuple[str, ...] = SURFACE) -> list[dict[str, Any]]:
    """The rows of the figure: one for each system, language and metric."""
    by_name = {each.name: each for each in context.analysis.systems}
    return [
        {
            "configuration": by_name[row["model"]].configuration,
            "rate": by_name[row["model"]].rate,
            **{
                key: row[key]
                for key in ("language", "metric", "n", "answers", "coverage", "mean", "low", "high")
            },
            "system": row["model"],
        }
        for row in context.analysis.summary
        if row["metric"] in metrics
    ]


def surface_figure(context: Context) -> Figure | None:
    """Lines over the rates, or dots where no configuration has several; None without any of the metrics."""
    rows = surface_rows(context)
    metrics = {metric: axis(metric) for metric in SURFACE if any(row["metric"] == metric for row in rows)}
    if not metrics:
        return None
    configurations = context.analysis.configurations
    rates = {name: {row["rate"] for row in rows if row["configuration"] == name} for name in configurations}
    over_rates = (
        len(configurations) <= MOST_COLUMNS
        and all(None not in found for found in rates.values())
        and any(len(found) > 1 for found in rates.values())
    )
    n = count_note(rows)
    note = f"{n} at each point; bars: 95% intervals"
    systems = [each.name for each in context.analysis.systems]

    def by_rate(figure: Any) -> None:
        rate_panels(
            figure, rows, metrics=metrics, configurations=configurations, looks=context.languages, note=note
        )

    def by_model(figure: Any) -> None:
        dot_panels(
            figure,
            rows,
            panels=metrics,
            panel_key="metric",
            places=systems,
            place_key="system",
            series=context.languages,
            series_key="language",
            note=note,
        )

    if over_rates:
        size = max(4.2, 1.1 + 1.75 * len(configurations)), 1.0 + 1.6 * len(metrics)
        across = "over the learning rate, a panel for each configuration"
    else:
        size = 7.2, 1.4 + 0.3 * len(systems)
        across = "for each model"
    caption = (
        f"{listed(title(metric) for metric in metrics)} {across} and a color for each language (Figure 2, left, of "
        f"the paper). {n}. {INTERVALS}"
    )
    return context.figures.draw(
        _figure_table(rows, over_rates), by_rate if over_rates else by_model, size=size, caption=caption,
        description=caption,
    )  # fmt: skip


def _figure_table(rows: list[dict[str, Any]], over_rates: bool) -> Table:
    return Table(
        "surface-by-rate" if over_rates else "surface-by-model",
        "Language, spelling and relevance by "
        + ("model, learning rate and language" if over_rates else "model and language"),
        (
            Column("configuration", "configuration"),
            Column("rate", "learning rate", ".1e", numeric=True),
            Column("language", "language"),
            Column("metric", "metric"),
            count(),
            count("answers", "answers"),
            share("coverage", "coverage"),
            estimate("mean", "mean", prefix=""),
        ),
        rows,
        INTERVALS,
    )


def _wide_table(context: Context) -> Table:
    analysis = context.analysis
    metrics = [metric for metric in (*SURFACE, "line_language") if metric in analysis.cells]
    rows = []
    for system in analysis.systems:
        for language in analysis.languages:
            found = {metric: analysis.by_place.get((system.name, language, metric)) for metric in metrics}
            if any(found.values()):
                row: dict[str, Any] = {
                    "configuration": system.configuration,
                    "rate": system.rate,
                    "language": language or "?",
                    "n": max(each["n"] for each in found.values() if each),
                }
                for metric, each in found.items():
                    row |= (
                        {metric: each["mean"], f"{metric}_low": each["low"], f"{metric}_high": each["high"]}
                        if each
                        else {}
                    )
                rows.append(row)
    return Table(
        "surface",
        "Language, spelling and relevance",
        (
            Column("configuration", "configuration"),
            Column("rate", "learning rate", ".1e", numeric=True),
            Column("language", "language"),
            count(),
            *(estimate(metric, title(metric).lower()) for metric in metrics),
        ),
        rows,
        f"Means in percent. {INTERVALS} Coverage, bounds and what was not scored: table all-metrics.",
    )


def _long_table(context: Context) -> Table:
    by_name = {each.name: each for each in context.analysis.systems}
    rows = [
        {
            **row,
            "configuration": by_name[row["model"]].configuration,
            "rate": by_name[row["model"]].rate,
            "language": row["language"] or "?",
        }
        for row in context.analysis.summary
    ]
    return Table(
        "all-metrics",
        "Every metric, with coverage, bounds and the detectable difference",
        (
            Column("configuration", "configuration"),
            Column("rate", "learning rate", ".1e", numeric=True),
            Column("language", "language"),
            Column("metric", "metric"),
            count(),
            count("answers", "answers"),
            count("ok", "scored"),
            count("abstain", "abstained"),
            count("failed", "failed"),
            share("coverage", "coverage"),
            estimate("mean", "mean", prefix=""),
            share("unscored_as_0", "lower bound"),
            share("unscored_as_1", "upper bound"),
            share("detectable", "detectable"),
        ),
        rows,
        f"{INTERVALS} Bounds: {BOUNDS_NOTE}. Detectable: {DETECTABLE_NOTE}.",
    )


def transfer_rows(context: Context) -> list[dict[str, Any]]:
    """For the best system of each configuration, every metric in English against the mean of the other languages."""
    analysis = context.analysis
    metrics = [
        metric for metric in (*SURFACE, "line_language", "correct_and_relevant") if metric in analysis.cells
    ]
    places = []
    groups = []
    for system in context.best():
        for metric in metrics:
            cells = analysis.cells[metric].get(system.name, {})
            others = [language for language in context.transfer if language in cells]
            if REFERENCE in cells and others:
                places.append((system, metric, others))
                groups += [[cells[REFERENCE]], [cells[language] for language in others]]
    found = analysis.language_mean(groups) if groups else []
    rows = []
    for number, (system, metric, others) in enumerate(places):
        english, rest = found[2 * number], found[2 * number + 1]
        gap = analysis.difference(rest, english)
        rows.append(
            {
                "configuration": system.configuration,
                "rate": system.rate,
                "metric": metric,
                "languages": " ".join(others),
                "n_english": english[0].n,
                "n_others": rest[0].n,
                "english": english[0].estimate,
                "english_low": english[0].low,
                "english_high": english[0].high,
                "others": rest[0].estimate,
                "others_low": rest[0].low,
                "others_high": rest[0].high,
                "difference": gap.estimate,
                "difference_low": gap.low,
                "difference_high": gap.high,
            }
        )
    return rows


def _transfer_table(context: Context) -> Table | None:
    rows = transfer_rows(context)
    if not rows:
        return None
    return Table(
        "transfer",
        "What transfer costs against English",
        (
            Column("configuration", "configuration"),
            Column("rate", "learning rate", ".1e", numeric=True),
            Column("metric", "metric"),
            Column("languages", "other languages"),
            count("n_english", "n English"),
            count("n_others", "n others"),
            estimate("english", "English"),
            estimate("others", "mean of the others"),
            estimate("difference", "others minus English", "+.1%"),
        ),
        rows,
        "Each configuration with its best rate; every language has equal weight; n: scored answers. "
        + BOOTSTRAP
        + " Spelling compares dictionaries of two languages too, and so is no measure of transfer by itself.",
    )


def _low_coverage(context: Context) -> list[str]:
    low = [row for row in context.analysis.summary if row["coverage"] < LOW_COVERAGE]
    if not low:
        return []
    worst = min(low, key=lambda row: row["coverage"])
    share_of = context.facts.percent("lowest coverage", worst["coverage"], n=worst["answers"])
    return [
        f"{context.facts.count('cells with coverage under 98%', len(low))} of "
        f"{context.facts.count('cells', len(context.analysis.summary))} means leave out more than 2% of "
        f"the answers; the lowest coverage is {share_of} ({title(worst['metric']).lower()}, "
        f"{worst['model']}, {worst['language'] or '?'}). Table all-metrics has both bounds of each."
    ]
