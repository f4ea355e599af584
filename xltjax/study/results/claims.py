"""What a study is to show: claims, each of which says of some cells that they score higher than others."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from xltjax.common.errors import UserError, did_you_mean
from xltjax.common.languages import language_code
from xltjax.common.settings import build, setting
from xltjax.eval.relevance import SCORER_METRICS
from xltjax.eval.surface import METRICS

PREFIX = "judge/"  # of the metrics of a rubric
KNOWN = (*METRICS, *SCORER_METRICS)


@dataclass(frozen=True)
class Axes:
    """Cells that differ in their seeds alone; an axis with one value in the grid need not be named."""

    model: str | None = setting(None, "Name of a model.")
    data: str | None = setting(None, "Name of a data set.")
    adaptation: str | None = setting(None, "Name of an adaptation.")
    learning_rate: float | None = setting(None, "Peak learning rate.")

    def over(self, common: Axes) -> Axes:
        """These axes, and those of ``common`` that they do not name."""
        own = {key: value for key, value in vars(self).items() if value is not None}
        return dataclasses.replace(common, **own)

    def matches(self, cell: object) -> bool:
        """Whether a cell of the grid has all values that are named."""
        return all(value is None or getattr(cell, key) == value for key, value in vars(self).items())


@dataclass(frozen=True)
class Claim:
    """One claim; several with one text hold together or not at all.

    Attributes:
        claim: the text.
        metric: the metrics that are higher.
        languages: the languages that count; empty for all but English.
        margin: how much lower they may be, so that a claim can say that nothing is lost.
        higher: the cells that score higher.
        lower: the cells that score lower.
    """

    claim: str
    metric: tuple[str, ...]
    languages: tuple[str, ...]
    margin: float
    higher: Axes
    lower: Axes


@dataclass(frozen=True)
class _Settings:
    claim: str = setting("", "The claim in words.")
    metric: tuple[str, ...] = setting((), "Metrics.")
    languages: tuple[str, ...] = setting((), "Languages; all but English when not given.")
    margin: float = setting(0.0, "How much lower the cells may be that are said to be higher.")


def read_claims(entries: Any) -> tuple[Claim, ...]:
    """The claims of the section ``effects``.

    Raises:
        UserError: naming the entry, and for an unknown key the nearest one.
    """
    if entries is None:
        return ()
    if not isinstance(entries, list):
        raise UserError("effects must be a list of claims, each with claim, metric, higher and lower")
    found = []
    for number, entry in enumerate(entries, start=1):
        try:
            found.append(_claim(entry))
        except UserError as problem:
            raise UserError(f"effects, claim {number}: {problem}") from None
    return tuple(found)


def _claim(entry: Any) -> Claim:
    if not isinstance(entry, dict):
        raise UserError(f"{entry!r:.40} is not a mapping with claim, metric, higher and lower")
    given = dict(entry)
    sides = {key: given.pop(key, None) or {} for key in ("cells", "higher", "lower")}
    for key in given:
        if key not in vars(_Settings()):
            raise UserError(f"unknown key {key!r}; {did_you_mean(str(key), [*vars(_Settings()), *sides])}")
    settings = build(_Settings, given)
    axes = {}
    for key, side in sides.items():
        if not isinstance(side, dict):
            raise UserError(f"{key} must be a mapping, such as {{learning_rate: 1e-5}}")
        try:
            axes[key] = build(Axes, side)
        except UserError as problem:
            raise UserError(f"{key}: {problem}") from None
    if not settings.claim or not settings.metric:
        raise UserError(f"{'metric' if settings.claim else 'claim'} is missing")
    if axes["higher"].over(axes["cells"]) == axes["lower"].over(axes["cells"]):
        raise UserError("higher and lower are the same cells; name what differs")
    if not 0 <= settings.margin < 1:
        raise UserError("margin must be at least 0 and less than 1")
    for metric in settings.metric:
        if metric not in KNOWN and not metric.startswith(PREFIX):
            raise UserError(
                f"unknown metric {metric!r}; {did_you_mean(metric, [*KNOWN, f'{PREFIX}CRITERION'])}"
            )
    return Claim(
        settings.claim,
        settings.metric,
        tuple(language_code(name) for name in settings.languages),
        settings.margin,
        axes["higher"].over(axes["cells"]),
        axes["lower"].over(axes["cells"]),
    )
