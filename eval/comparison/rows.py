"""The rows of a comparison: each metric, language and group of answers, for each pair of models."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xltjax.eval.comparison.joined import Joined
from xltjax.eval.judge.judgments import PREFIX
from xltjax.eval.raters import shipped_scales
from xltjax.eval.scores import ZERO_ONE
from xltjax.eval.stats.comparisons import Comparison, compare, holm
from xltjax.eval.stats.intervals import Resamples
from xltjax.eval.stats.power import within_scale

TOGETHER = "all"  # the language of rows over all languages
CHUNK = 300  # comparisons at a time, so that memory does not grow with their number

Cell = Mapping[str, float | None]

COLUMNS = (
    "metric", "language", "by", "group", "a", "b", "n", "instructions", "answers", "coverage_a", "coverage_b",
    "mean_a", "mean_b", "difference", "low", "high", "unscored_as_0", "bound_low", "bound_high", "own_difference",
    "a_higher", "b_higher", "test", "exact", "p", "p_holm", "family", "family_size", "detectable", "note",
)  # fmt: skip


@dataclass(frozen=True)
class Place:
    """Which answers of which two models a row compares; ``by`` is empty for answers of all groups."""

    metric: str
    language: str
    by: str
    group: str
    a: str
    b: str

    @property
    def family(self) -> str:
        """The tests that Holm's correction takes together: one metric, all pairs of models, languages and groups.

        Rows over all languages are a family of their own, and so are those by each key.
        """
        return f"{self.metric}, {self.scope}"

    @property
    def scope(self) -> str:
        """Whether the languages of the family's rows are together or not, and what divides the answers."""
        scope = "languages together" if self.language == TOGETHER else "each language"
        return scope + (f" by {self.by}" if self.by else "")


def model_pairs(models: Sequence[str], baseline: str) -> list[tuple[str, str]]:
    """All pairs of ``models`` in their order, or each of the others with the baseline."""
    if baseline:
        return [(model, baseline) for model in models if model != baseline]
    return list(itertools.combinations(models, 2))


def comparison_rows(
    joined: Joined,
    metrics: Sequence[str],
    pairs: Sequence[tuple[str, str]],
    by: Sequence[str],
    resamples: Resamples,
    level: float,
) -> list[dict[str, Any]]:
    """One row for each metric, pair of models and language, and one for all languages together.

    For each key of ``by`` there are rows for each of its groups too. A pair is compared on the prompts for which
    both have a line in the scores, whether it has a value or not.

    Args:
        joined: the scores.
        metrics: the metrics to compare.
        pairs: the models to compare, the first minus the second.
        by: keys of the answers that divide them into groups.
        resamples: draws of the instructions, the same for all rows.
        level: the level of confidence.

    Raises:
        UserError: for a key of ``by`` that no answer has, or that differs between answers to one prompt.
    """
    groups = {key: joined.groups(key) for key in by}
    rows = []
    for metric in metrics:
        places = list(_places(joined, metric, pairs, groups))
        lowest, highest = _scale(metric, (cell for _, *cells in places for cell in cells))
        # Repeats of a judge may have been averaged.
        zero_one = metric in ZERO_ONE and {
            value for _, *cells in places for cell in cells for value in cell.values()
        } <= {0, 1, None}
        for start in range(0, len(places), CHUNK):
            chunk = {place: (a, b) for place, a, b in places[start : start + CHUNK]}
            found = compare(chunk, resamples, cluster=joined.instructions, level=level, zero_one=zero_one)
            rows += [_row(place, *cells, found[place], lowest, highest) for place, cells in chunk.items()]
    families: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        families.setdefault(row["family"], []).append(row)
    for family in families.values():
        tested = sum(row["p"] is not None for row in family)
        for row, p in zip(family, holm([row["p"] for row in family]), strict=True):
            row["p_holm"], row["family_size"] = p, tested
    return rows


def _places(
    joined: Joined, metric: str, pairs: Sequence[tuple[str, str]], groups: Mapping[str, Mapping[str, str]]
) -> Iterator[tuple[Place, Cell, Cell]]:
    """What is compared for a metric, with the scores of both models on the prompts that both have."""
    languages = joined.languages(metric)
    by_language = {language: joined.cells[metric, language] for language in languages}
    if len(languages) > 1:
        models = {model for cells in by_language.values() for model in cells}
        by_language[TOGETHER] = {
            model: dict(itertools.chain(*(by_language[one].get(model, {}).items() for one in languages)))
            for model in models
        }
    for language, cells in by_language.items():
        for by, of in {"": {}, **groups}.items():
            divided = {model: _divided(cell, of) for model, cell in cells.items()} if by else {}
            names = sorted({name for parts in divided.values() for name in parts}) if by else [""]
            for name, (a, b) in itertools.product(names, pairs):
                parts = [divided.get(m, {}).get(name) if by else cells.get(m) for m in (a, b)]
                if not parts[0] or not parts[1]:
                    continue
                first, second = _asked_of_both(parts[0], parts[1])
                if first:
                    yield Place(metric, language, by, name, a, b), first, second


def _divided(cell: Cell, group_of: Mapping[str, str]) -> dict[str, dict[str, float | None]]:
    parts: dict[str, dict[str, float | None]] = {}
    for item, value in cell.items():
        parts.setdefault(group_of[item], {})[item] = value
    return parts


def _asked_of_both(a: Cell, b: Cell) -> tuple[Cell, Cell]:
    if a.keys() == b.keys():
        return a, b
    both = a.keys() & b.keys()
    return {k: v for k, v in a.items() if k in both}, {k: v for k, v in b.items() if k in both}


def _scale(metric: str, cells: Iterator[Cell]) -> tuple[float, float]:
    """The least and the greatest score that an answer without one might have.

    They are those of the shipped rubric, or else 0 and 1, or what was seen beyond.
    """
    seen = [value for cell in cells for value in cell.values() if value is not None]
    known = shipped_scales().get(metric.removeprefix(PREFIX), ()) if metric.startswith(PREFIX) else ()
    return min([0.0, *known, *seen]), max([1.0, *known, *seen])


def _row(place: Place, a: Cell, b: Cell, found: Comparison, lowest: float, highest: float) -> dict[str, Any]:
    answers, difference = len(a), found.difference
    detectable, beyond = within_scale(found.minimal_detectable, highest - lowest)
    scored = [[value for value in cell.values() if value is not None] for cell in (a, b)]
    totals = [math.fsum(values) for values in scored]
    missing = [answers - len(values) for values in scored]
    common = [item for item in a if a[item] is not None and b[item] is not None]
    means = [
        math.fsum(cell[item] or 0.0 for item in common) / len(common) if common else None for cell in (a, b)
    ]
    gap = totals[0] - totals[1]
    return {
        "metric": place.metric,
        "language": place.language,
        "by": place.by,
        "group": place.group,
        "a": place.a,
        "b": place.b,
        "n": difference.n,
        "instructions": found.instructions,
        "answers": answers,
        "coverage_a": len(scored[0]) / answers,
        "coverage_b": len(scored[1]) / answers,
        "mean_a": means[0],
        "mean_b": means[1],
        "difference": difference.estimate,
        "low": difference.low,
        "high": difference.high,
        "unscored_as_0": gap / answers,
        "bound_low": (gap + lowest * missing[0] - highest * missing[1]) / answers,
        "bound_high": (gap + highest * missing[0] - lowest * missing[1]) / answers,
        "own_difference": found.own_difference,
        "a_higher": found.a_higher,
        "b_higher": found.b_higher,
        "test": found.test if found.p_value is not None else None,
        "exact": found.exact if found.p_value is not None else None,
        "p": found.p_value,
        "p_holm": None,
        "family": place.family,
        "scope": place.scope,
        "family_size": None,
        "detectable": detectable,
        "not_detectable": beyond,
        "note": difference.note,
    }
