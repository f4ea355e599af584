"""The criteria of judges and people: Figures 3 and 4 of the paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xltjax.eval.judge.averages import outcome_rows, rows_of
from xltjax.eval.judge.judgments import Judgments
from xltjax.eval.judge.rubrics import Criterion
from xltjax.eval.judge.verdicts import OUTCOMES
from xltjax.eval.report.content import Column, Figure, Section, Table
from xltjax.eval.report.figures.palette import EMPHASIS, Look
from xltjax.eval.report.figures.plots import count_note, dot_panels
from xltjax.eval.report.numbers.analysis import REFERENCE
from xltjax.eval.report.numbers.judged import Judged, correct_only, present_criteria, scale_text
from xltjax.eval.report.numbers.metrics import title
from xltjax.eval.report.numbers.sources import PEOPLE
from xltjax.eval.report.sections.context import BOOTSTRAP, Context, count, estimate, listed, share

OTHERS = "mean of the others"


def criteria_section(context: Context, judged: Judged, rows: Sequence[dict[str, Any]]) -> Section:
    """The section of the rows of ``criterion_rows``; without a judge and people it says so."""
    heading = "Judges and people: the criteria"
    judges = judged.judges
    absent = []
    if not [judge for judge in judges if judge != PEOPLE]:
        absent.append(
            "No judge has scored these answers: run python -m xltjax.eval judge RESPONSES --judge MODEL."
        )
    if PEOPLE not in judges:
        absent.append("No people have rated these answers: there is no ratings.jsonl.")
    if not judges:
        return Section("criteria", heading, tuple(absent))
    figures = [each for judge in judges for each in _figures(context, judged, judge, rows)]
    absent += [
        f"No judgment of {judge} gave a score."
        for judge in judges
        if not present_criteria(judged.plain, judge)
    ]
    outcomes = outcome_rows(judged.plain)
    tables = (_group_table(judged, rows), _convention_table(context, judged.plain), _outcome_table(outcomes))
    failed = sum(row[name] for row in outcomes for name in OUTCOMES[1:])
    calls = sum(row["calls"] for row in outcomes)
    told = [
        f"{context.facts.count('judgments', calls)} judgments of {listed(judges)}, of which "
        f"{context.facts.count('failed judgments', failed)} gave no score; none of these is counted as one. "
        "Criteria other than the language are averaged over the answers in the right language, as in the "
        "paper; table criteria-conventions has the two other conventions and the bounds."
    ]
    if not context.transfer:
        told.append("There is no other language than one, so English and the others cannot be compared.")
    return Section("criteria", heading, (*told, *absent), tuple(figures), tables)


def criterion_rows(context: Context, judged: Judged) -> list[dict[str, Any]]:
    """One row for each judge, system, criterion and group of languages: each language, and the mean of the others."""
    analysis, judgments = context.analysis, judged.plain
    places: list[dict[str, Any]] = []
    groups: list[Sequence[Any]] = []
    for judge in judged.judges:
        criteria = present_criteria(judgments, judge)
        found = judged.groups(judge, judgments)
        for system in dict.fromkeys(system for system, _ in found):
            languages = [language for name, language in found if name == system]
            for criterion in criteria:
                cells = {
                    language: correct_only(judgments, judge, criterion, found[system, language])
                    for language in languages
                }
                others = [language for language in languages if language in context.transfer]
                for group, members in (*((each, [each]) for each in languages), (OTHERS, others)):
                    if members:
                        places.append(
                            {"judge": judge, "system": system, "criterion": criterion.name, "group": group}
                        )
                        groups.append([cells[language] for language in members])
    items = range(len(judgments.responses))
    clusters = {item: judgments.unit(item) for item in items}
    means = analysis.language_mean(groups, clusters) if groups else []
    return [
        {
            **place,
            "n": mean.n,
            "answers": mean.total,
            "coverage": mean.coverage,
            "mean": mean.estimate,
            "low": mean.low,
            "high": mean.high,
        }
        for place, (mean, _) in zip(places, means, strict=True)
    ]


def _figures(context: Context, judged: Judged, judge: str, rows: Sequence[dict[str, Any]]) -> list[Figure]:
    own = [row for row in rows if row["judge"] == judge and row["mean"] is not None]
    if not own:
        return []
    best = {each.name for each in context.best()}
    systems = list(dict.fromkeys(row["system"] for row in own))
    if len(systems) > 8:
        systems = [name for name in systems if name in best] or systems[:8]
    own = [row for row in own if row["system"] in systems]
    scales = judged.plain.criteria
    criteria = {name: scales[name] for name in dict.fromkeys(row["criterion"] for row in own)}
    stem = "people" if judge == PEOPLE else f"judge-{context.analysis.judge_number(judge)}"
    english = context.languages.get(REFERENCE, Look(EMPHASIS, "o", "-"))
    groups = {REFERENCE: english, OTHERS: Look(EMPHASIS, "s", "-")}
    figures = []
    if any(row["group"] == OTHERS for row in own):
        figures.append(
            _dots(
                context,
                f"criteria-{stem}",
                f"Criteria in English and in other languages ({judge})",
                [row for row in own if row["group"] in groups],
                systems=systems,
                criteria=criteria,
                series=groups,
                source="Figure 3 of the paper",
            )
        )
    figures.append(
        _dots(
            context,
            f"criteria-by-language-{stem}",
            f"Criteria in each language ({judge})",
            [row for row in own if row["group"] != OTHERS],
            systems=systems,
            criteria=criteria,
            series=context.languages,
            source="Figure 4 of the paper",
        )
    )
    return figures


def _dots(
    context: Context,
    name: str,
    heading: str,
    rows: Sequence[dict[str, Any]],
    *,
    systems: Sequence[str],
    criteria: Mapping[str, Criterion],
    series: Mapping[str, Look],
    source: str,
) -> Figure:
    table = Table(name, heading, _COLUMNS, rows, f"{scale_text(criteria, criteria)} {BOOTSTRAP}")
    note = f"{count_note(rows, what='answers')} at each point; bars: 95% intervals"
    used = {key: look for key, look in series.items() if any(row["group"] == key for row in rows)}

    def plot(figure: Any) -> None:
        dot_panels(
            figure,
            rows,
            panels={
                name: f"{title(name)}, score {each.lowest} to {each.highest}"
                for name, each in criteria.items()
            },
            panel_key="criterion",
            places=systems,
            place_key="system",
            series=used,
            series_key="group",
            note=note,
            scale=1,
            limits={name: (each.lowest, each.highest) for name, each in criteria.items()},
        )

    caption = f"{heading}: {listed(criteria)}; {source}. {count_note(rows, what='answers')}. {BOOTSTRAP}"
    size = (max(5.0, 2.6 + 1.15 * len(criteria)), 1.5 + 0.36 * len(systems))
    return context.figures.draw(table, plot, size=size, caption=caption, description=caption)


_COLUMNS = (
    Column("judge", "judge"),
    Column("system", "system"),
    Column("criterion", "criterion"),
    Column("group", "language"),
    count("n", "n answers"),
    share("coverage", "coverage"),
    estimate("mean", "mean score", ".2f", prefix=""),
)


def _group_table(judged: Judged, rows: Sequence[dict[str, Any]]) -> Table:
    names = dict.fromkeys(row["criterion"] for row in rows)
    return Table(
        "criteria",
        "Criteria by system and language",
        _COLUMNS,
        rows,
        f"{scale_text(judged.plain.criteria, names)} They are over the answers in the right language (n; "
        f"coverage is their share). The mean of the others counts every language besides English alike. {BOOTSTRAP}",
    )


def _convention_table(context: Context, judgments: Judgments) -> Table:
    return Table(
        "criteria-conventions",
        "Criteria under three conventions for answers in a wrong language",
        (
            Column("judge", "judge"),
            Column("model", "system"),
            Column("language", "language"),
            Column("criterion", "criterion"),
            Column("convention", "convention"),
            Column("language_by", "language by"),
            count("answers", "answers"),
            count("counted", "counted"),
            count("failed", "no score"),
            share("coverage", "coverage"),
            estimate("mean", "mean score", ".2f", prefix=""),
            Column("worst", "lower bound", ".2f", numeric=True),
            Column("best", "upper bound", ".2f", numeric=True),
        ),
        rows_of(judgments, draws=context.analysis.draws),
        "correct_only: answers in the right language (the paper's rule); wrong_is_lowest: the wrong "
        "language counts as the lowest score; everything: whatever was said. The bounds are the mean if "
        "every answer without a score had the "
        "lowest or the highest score. " + BOOTSTRAP,
    )


def _outcome_table(rows: Sequence[dict[str, Any]]) -> Table:
    return Table(
        "judgment-outcomes",
        "How the calls of judges ended",
        (
            Column("judge", "judge"),
            Column("model", "system"),
            Column("language", "language"),
            count("calls", "calls"),
            *(count(name, name.replace("_", " ")) for name in (*OUTCOMES, "not_asked")),
        ),
        rows,
        "Only ok gives scores; not asked: there is no answer or no instruction.",
    )
