"""The cells that a study's claims compare, and the file in which they stand for the command that tests them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xltjax.common.errors import UserError
from xltjax.common.files import atomic_write

if TYPE_CHECKING:  # which import JAX
    from xltjax.study.grid import Cell
    from xltjax.study.results.claims import Axes
    from xltjax.study.settings import Study

FILE = "claims.json"  # of the study's folder


@dataclass(frozen=True)
class Comparison:
    """A claim about one metric, with the cells that it compares.

    Attributes:
        claim: the text of the claim.
        metric: the metric.
        languages: codes of the languages that count; empty for all but English.
        margin: see ``Claim``.
        higher: the paths of the cells that are said to score higher, one for each seed that both sides have.
        lower: the paths of the others, in the same order.
    """

    claim: str
    metric: str
    languages: tuple[str, ...]
    margin: float
    higher: tuple[str, ...]
    lower: tuple[str, ...]


def comparisons(study: Study, cells: Sequence[Cell]) -> list[Comparison]:
    """Every comparison of the study's claims.

    Raises:
        UserError: naming the claim, when the grid has no such cells, or several that differ in more than the seed.
    """
    found = []
    for number, claim in enumerate(study.effects, start=1):
        try:
            higher, lower = _cells(claim.higher, cells), _cells(claim.lower, cells)
            seeds = [seed for seed in higher if seed in lower]
            if not seeds:
                raise UserError("the cells to compare have no seed in common")
        except UserError as problem:
            raise UserError(f"effects, claim {number}: {problem}") from None
        paths = [tuple(side[seed].path for seed in seeds) for side in (higher, lower)]
        found += [
            Comparison(claim.claim, metric, claim.languages, claim.margin, *paths) for metric in claim.metric
        ]
    return found


def _cells(axes: Axes, cells: Sequence[Cell]) -> dict[int, Cell]:
    """The cells with these values by their seeds."""
    matching = [cell for cell in cells if cell.answers and axes.matches(cell)]
    told = ", ".join(f"{key} {value}" for key, value in vars(axes).items() if value is not None)
    if not matching:
        raise UserError(f"the grid has no cell with {told}")
    for key in vars(axes):
        values = list(dict.fromkeys(getattr(cell, key) for cell in matching))
        if len(values) > 1:
            names = ", ".join(map(str, values[:4]))
            raise UserError(f"several cells have {told or 'these values'}; name one {key} of {names}")
    return {cell.seed: cell for cell in matching}


def write_comparisons(file: Path, found: Sequence[Comparison]) -> None:
    """Write comparisons for ``read_comparisons``."""
    with atomic_write(file) as out:
        json.dump([dataclasses.asdict(each) for each in found], out, indent=1, ensure_ascii=False)
        out.write("\n")


def read_comparisons(file: Path) -> Iterator[Comparison]:
    """The comparisons that ``write_comparisons`` wrote.

    Raises:
        UserError: when the file cannot be read.
    """
    try:
        rows: list[Mapping[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
        for row in rows:
            values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in row.items()}
            yield Comparison(**values)
    except OSError as problem:
        raise UserError(f"{file} cannot be read: {problem.strerror}") from None
    except (ValueError, TypeError, AttributeError):
        raise UserError(f"{file} does not hold the claims of a study") from None
