"""How far people and judges agree: Figure 5 of the paper."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from xltjax.eval.judge.judgments import Judgments
from xltjax.eval.judge.report.trust import DO_NOT_TRUST, RULE
from xltjax.eval.report.content import Column, Figure, Section, Table
from xltjax.eval.report.figures.palette import EMPHASIS, Look
from xltjax.eval.report.figures.plots import count_note, dot_panels, matrices
from xltjax.eval.report.numbers.judged import Judged
from xltjax.eval.report.numbers.metrics import title
from xltjax.eval.report.numbers.sources import PEOPLE
from xltjax.eval.report.sections.context import BOOTSTRAP, Context, count, estimate, listed, share
from xltjax.eval.stats.coefficients import Agreement, agreement
from xltjax.eval.stats.intervals import Interval, resample
from xltjax.eval.stats.mean_ratings import mean_ratings

HEADING = "Agreement of people and judges"
ALL = "all"
LARGEST_FIGURE = 16  # systems

# By the names of raters and criterion: the ratings of the scale, and how often each pair of them was given.
Confusions = dict[str, tuple[tuple[float, ...], tuple[tuple[int, ...], ...]]]


def agreement_section(context: Context, judged: Judged) -> Section:
    """The coefficients of each pair of raters, and the confusion of people with a judge."""
    judges = judged.judges
    trusted, trust = _trust(context, judges)
    if len(judges) < 2:
        told = "There are no judgments of anyone."
        if judges:
            told = (
                "There are people without a judge; how they agree with each other: python -m xltjax.eval agreement."
                if PEOPLE in judges
                else "There is only one rater: people are missing."
            )
        return Section("agreement", HEADING, (told, *trusted), (), trust)
    rows, confusions = _rows(context, judged.plain, judges)
    if not rows:
        told = "No answer was rated by two raters on the same criterion."
        return Section("agreement", HEADING, (told, *trusted), (), trust)
    figures: tuple[Figure, ...] = ()
    if confusions:
        figures = (_figure(context, _confusion_table(confusions), confusions),)
    means = _means(context, judged.plain, judges)
    tables = (
        _coefficient_table(rows),
        Table("agreement-means", "Mean ratings of each pair of raters", _MEAN_COLUMNS, means, _MEAN_NOTE),
        *trust,
    )
    return Section("agreement", HEADING, trusted, (*figures, *_mean_figures(context, means)), tables)


def _coefficient_table(rows: list[dict[str, Any]]) -> Table:
    return Table(
        "agreement",
        "Agreement of each pair of raters",
        (
            Column("first", "first rater"),
            Column("second", "second rater"),
            Column("criterion", "criterion"),
            Column("language", "language"),
            count("n", "n answers"),
            estimate("exact", "equal ratings"),
            estimate("kappa", "kappa", ".2f"),
            estimate("alpha", "alpha", ".2f"),
            estimate("ac2", "AC2", ".2f"),
            estimate("difference", "second minus first", "+.2f"),
        ),
        rows,
        "kappa: Cohen's with quadratic weights; alpha: Krippendorff's, ordinal; AC2: Gwet's with ordinal "
        "weights. Repeated ratings count as their rounded mean. 95% intervals: percentile bootstrap "
        "over instructions.",
    )


def _confusion_table(confusions: Confusions) -> Table:
    rows = []
    for name, (scale, counts) in confusions.items():
        total = sum(map(sum, counts))
        for i, j in itertools.product(range(len(scale)), repeat=2):
            pair = {"first": scale[i], "second": scale[j]}
            rows.append({"panel": name, **pair, "count": counts[i][j], "share": counts[i][j] / total})
    return Table(
        "agreement-confusion",
        "Ratings of people against those of the judge",
        (
            Column("panel", "raters and criterion"),
            Column("first", "first rating", "g", numeric=True),
            Column("second", "second rating", "g", numeric=True),
            count("count", "answers"),
            share("share", "share"),
        ),
        rows,
        "Shares of all answers with both ratings.",
    )


def _trust(context: Context, judges: list[str]) -> tuple[tuple[str, ...], tuple[Table, ...]]:
    """On which criteria and languages judges should not be trusted, in sentences and as a table."""
    cells = context.analysis.material.trust
    if not cells:
        if not [judge for judge in judges if judge != PEOPLE]:
            return (), ()
        return (
            "How far the judge can be trusted was not examined: run python -m xltjax.eval judge-report FOLDER.",
        ), ()
    refused = [cell for cell in cells if cell["status"] == DO_NOT_TRUST]
    told = [
        f"By the rule of judge-report, {context.facts.count('cells of judges not to be trusted', len(refused))} of "
        f"{context.facts.count('cells of judges', len(cells))} pairs of criterion and language should not be trusted."
    ]
    places: dict[tuple[str, str], dict[str, None]] = {}
    for cell in refused:
        places.setdefault((cell["judge"], cell["criterion"]), {})[cell["language"] or ALL] = None
    told += [
        f"Do not trust {judge} on {title(criterion).lower()} in {listed(languages)}."
        for (judge, criterion), languages in places.items()
    ]
    rows = [
        {
            **{key: cell.get(key) for key in ("judge", "rubric", "criterion", "status", "place")},
            "language": cell.get("language") or ALL,
            "why": "; ".join(cell.get("objections") or ()),
            "checks": ", ".join(str(check).replace("_", " ") for check in cell.get("checks") or ()),
        }
        for cell in cells
    ]
    columns = (
        Column("judge", "judge"), Column("rubric", "rubric"), Column("place", "judged in"),
        Column("criterion", "criterion"), Column("language", "language"), Column("status", "status"),
        Column("why", "why"), Column("checks", "checks that could clear it"),
    )  # fmt: skip
    heading = "Where judges should not be trusted"
    return tuple(told), (Table("judge-trust", heading, columns, rows, RULE),)


_MEAN_COLUMNS = (
    Column("first", "first rater"),
    Column("second", "second rater"),
    Column("criterion", "criterion"),
    Column("system", "system"),
    count("n", "n answers"),
    estimate("mean_first", "mean of the first", ".2f"),
    estimate("mean_second", "mean of the second", ".2f"),
    estimate("difference", "second minus first", "+.2f"),
)
_MEAN_NOTE = f"Over the answers that both have rated, whatever their language. {BOOTSTRAP}"


def _means(context: Context, judgments: Judgments, judges: list[str]) -> list[dict[str, Any]]:
    """For each pair of raters, criterion and system: both means on the answers that both have rated."""
    items = range(len(judgments.responses))
    cluster = {item: judgments.unit(item) for item in items}
    systems: dict[str, list[int]] = {}
    for item in items:
        systems.setdefault(judgments.responses[item].model, []).append(item)
    resamples, _ = judgments.resamples(items, context.analysis.draws, 0)
    rows = []
    for (first, second), criterion, (system, own) in itertools.product(
        itertools.combinations(judges, 2), judgments.criteria.values(), systems.items()
    ):
        a, b = (judgments.cell(judge, criterion.name, own) for judge in (first, second))
        found = mean_ratings(a, b, resamples, cluster=cluster)
        if found["n"]:
            names = {"first": "mean_first", "second": "mean_second"}
            values = {
                names.get(key, key) + ending: found[key + ending]
                for key in ("first", "second", "difference")
                for ending in ("", "_low", "_high")
            }
            place = {"first": first, "second": second, "criterion": criterion.name, "system": system}
            rows.append({**place, "n": found["n"], **values})
    return rows


def _mean_figures(context: Context, means: list[dict[str, Any]]) -> Iterator[Figure]:
    """A figure for people and each judge: both means of each system side by side."""
    for number, judge in enumerate(dict.fromkeys(row["second"] for row in means if row["first"] == PEOPLE)):
        rows = [
            {
                "system": row["system"],
                "criterion": row["criterion"],
                "rater": row[side],
                "n": row["n"],
                "mean": row[f"mean_{side}"],
                "low": row[f"mean_{side}_low"],
                "high": row[f"mean_{side}_high"],
            }
            for row in means
            if (row["first"], row["second"]) == (PEOPLE, judge)
            for side in ("first", "second")
        ]
        name = "agreement-means-people" + (f"-{number + 1}" if number else "")
        yield _mean_figure(context, name, judge, rows)


def _mean_figure(context: Context, name: str, judge: str, rows: list[dict[str, Any]]) -> Figure:
    criteria = list(dict.fromkeys(row["criterion"] for row in rows))
    systems = list(dict.fromkeys(row["system"] for row in rows))[:LARGEST_FIGURE]
    columns = (
        Column("system", "system"),
        Column("criterion", "criterion"),
        Column("rater", "rater"),
        count("n", "n answers"),
        estimate("mean", "mean rating", ".2f", prefix=""),
    )
    heading = f"Mean ratings of people and of {judge}"
    note = count_note(rows, what="answers")
    data = Table(name, heading, columns, rows, f"Over the answers that both have rated. {BOOTSTRAP}")
    highest = max(2.0, *(row["mean"] for row in rows))

    def plot(figure: Any) -> None:
        dot_panels(
            figure,
            [row for row in rows if row["system"] in systems],
            panels={each: f"{title(each)}, score 0 to {highest:g}" for each in criteria},
            panel_key="criterion",
            places=systems,
            place_key="system",
            series={PEOPLE: Look(EMPHASIS, "o", "-"), judge: Look("#CC6677", "s", "-")},
            series_key="rater",
            note=f"{note} that both have rated at each pair of points; bars: 95% intervals",
            scale=1,
            limits=(0, highest),
        )

    caption = (
        f"{heading} by criterion and system, over the answers that both have rated ({note}). {BOOTSTRAP}"
    )
    size = (max(5.0, 2.6 + 1.15 * len(criteria)), 1.5 + 0.36 * len(systems))
    return context.figures.draw(data, plot, size=size, caption=caption, description=caption)


def _rows(
    context: Context, judgments: Judgments, judges: list[str]
) -> tuple[list[dict[str, Any]], Confusions]:
    """The coefficients of each pair of raters by criterion and language, and the confusion over all languages."""
    rows: list[dict[str, Any]] = []
    confusions: Confusions = {}
    items = range(len(judgments.responses))
    cluster = {item: judgments.unit(item) for item in items}
    languages = {item: judgments.responses[item].language for item in items}
    for (first, second), criterion in itertools.product(
        itertools.combinations(judges, 2), judgments.criteria.values()
    ):
        cells = [_rounded(judgments, judge, criterion.name) for judge in (first, second)]
        scale = [float(value) for value in range(criterion.lowest, criterion.highest + 1)]
        for language in (ALL, *sorted(set(languages.values()))):
            own = [
                {item: v for item, v in cell.items() if language in (ALL, languages[item])} for cell in cells
            ]
            if not any(v is not None and own[1].get(item) is not None for item, v in own[0].items()):
                continue
            units = {cluster[item] for cell in own for item in cell}
            resamples = resample(units, draws=context.analysis.draws)
            found = agreement(own, resamples, scale=scale, cluster=cluster)
            rows.append(_row(first, second, criterion.name, language, found))
            if language == ALL and found.confusion is not None:
                name = f"{first} / {second}: {title(criterion.name).lower()} (n = {found.n})"
                confusions[name] = found.scale, found.confusion
    people = {name: each for name, each in confusions.items() if name.startswith(f"{PEOPLE} / ")}
    return rows, people or confusions


def _rounded(judgments: Judgments, judge: str, criterion: str) -> dict[int, float | None]:
    """The rating of each answer that a judge was asked about; repeated ones count as their rounded mean."""
    cell = judgments.cell(judge, criterion, judgments.asked(judge))
    return {item: None if value is None else float(round(value)) for item, value in cell.items()}


def _row(first: str, second: str, criterion: str, language: str, found: Agreement) -> dict[str, Any]:
    row: dict[str, Any] = {
        "first": first,
        "second": second,
        "criterion": criterion,
        "language": language,
        "n": found.n,
    }
    named: dict[str, Interval | None] = {
        "exact": found.exact,
        "kappa": found.kappa,
        "alpha": found.alpha,
        "ac2": found.ac2,
        "difference": found.mean_difference,
    }
    for name, interval in named.items():
        if interval is not None:
            row |= {name: interval.estimate, f"{name}_low": interval.low, f"{name}_high": interval.high}
    return row


def _figure(context: Context, data: Table, confusions: Confusions) -> Figure:
    shown = dict(list(confusions.items())[:12])
    scale = max((scale for scale, _ in shown.values()), key=len)
    panels = {}
    for name, (own, counts) in shown.items():
        shares = np.zeros((len(scale), len(scale)))
        total = sum(map(sum, counts))
        for i, j in itertools.product(range(len(own)), repeat=2):
            shares[scale.index(own[i]), scale.index(own[j])] = counts[i][j] / total
        panels[name] = shares
    names = [f"{value:g}" for value in scale]
    caption = (
        "Percentages of the answers by the first rater's rating (lines) and the second's (columns), for "
        "each criterion; n stands above each panel (Figure 5 of the paper)."
    )

    def plot(figure: Any) -> None:
        matrices(
            figure,
            panels,
            down=names,
            across=names,
            down_label="first rating",
            across_label="second rating",
            note="percentages of the answers that both have rated; n above each panel",
        )

    lines = -(-len(panels) // 4)
    size = (1.0 + 1.9 * min(4, len(panels)), 0.8 + 1.9 * lines)
    return context.figures.draw(data, plot, size=size, caption=caption, description=caption)
