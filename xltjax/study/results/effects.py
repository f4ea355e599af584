"""Whether what a study claims appears in its scores: ``python -m xltjax.study.results.effects``.

Differences are paired: the same question, asked of two models of one seed. The interval is over questions, whose
translations and seeds stay together.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from xltjax.common.cli import command, entry_point
from xltjax.common.errors import UserError
from xltjax.common.files import atomic_write, make_output_directory
from xltjax.common.settings import setting
from xltjax.eval.comparison.joined import Joined, join_scores
from xltjax.eval.stats.comparisons import compare
from xltjax.eval.stats.intervals import Cell, resample
from xltjax.eval.table_files import table_console, write_table
from xltjax.study.identity import Record
from xltjax.study.results.comparisons import Comparison, read_comparisons

EFFECTS = "effects.json"
APPEARS, NOT_SHOWN, OPPOSITE, UNKNOWN = "appears", "not reproduced", "the opposite", "not known"
COLUMNS = (
    "claim", "verdict", "metric", "higher", "lower", "seeds", "languages", "n", "instructions", "mean_higher",
    "mean_lower", "difference", "low", "high", "margin", "note",
)  # fmt: skip
NOTES = (
    "difference: of the cells that are said to score higher, minus the others, over the answers to one question by "
    "both models of a seed; low and high: its 95% interval, a percentile bootstrap over questions, stratified by "
    "task, whose translations and seeds stay together. appears: the whole interval lies above minus the margin; the "
    "opposite: below it; not reproduced: neither. A claim appears when all of its comparisons do."
)


@dataclass(frozen=True)
class EffectsConfig:
    """Settings of the command."""

    folders: tuple[str, ...] = setting(
        (), "Directories of stages that scored answers. Unfinished ones are left out.",
        positional=True, paths=True,
    )  # fmt: skip
    claims: str = setting("", "The study's claims.json.")
    out: str = setting("", "Directory for effects.json, .csv and .md.")
    level: float = setting(0.95, "Level of the intervals, between 0 and 1.")
    draws: int = setting(10_000, "Number of bootstrap resamples of the questions.")
    seed: int = setting(0, "Random seed of the resamples.")


def effects(config: EffectsConfig) -> None:
    """Test every claim, print the table and write the files.

    Raises:
        UserError: when there are no scores.
    """
    if not config.folders or not config.claims or not config.out:
        raise UserError(
            "call: python -m xltjax.study.results.effects FOLDERS... --claims claims.json --out FOLDER"
        )
    if not 0 < config.level < 1 or config.draws < 1 or config.seed < 0:
        raise UserError("--level must be between 0 and 1, --draws at least 1 and --seed at least 0")
    asked = list(read_comparisons(Path(config.claims)))
    folders = [folder for folder in map(Path, config.folders) if Record.of_done(folder)]
    if not folders:
        raise UserError("none of the folders holds scores of a stage that is done")
    joined = join_scores(("", folder / "scores.jsonl") for folder in folders)
    rows = claim_rows(joined, asked, level=config.level, draws=config.draws, seed=config.seed)
    verdicts = together(rows)
    out = make_output_directory(Path(config.out))
    document = {
        "level": config.level,
        "draws": config.draws,
        "verdicts": verdicts,
        "rows": rows,
        "notes": NOTES,
    }
    with atomic_write(out / EFFECTS) as file:
        json.dump(document, file, indent=1, ensure_ascii=False, allow_nan=False)
        file.write("\n")
    write_table(out / "effects", rows, COLUMNS, ".4f", NOTES)
    _print(rows)
    print(f"effects.json, .csv and .md: {out}")


def claim_rows(
    joined: Joined, asked: Sequence[Comparison], *, level: float = 0.95, draws: int = 10_000, seed: int = 0
) -> list[dict[str, Any]]:
    """A row for each comparison, in the order in which they were asked.

    Args:
        joined: the scores of the cells, whose models have the names of the cells.
        asked: the comparisons.
        level: the level of the intervals.
        draws: the number of resamples.
        seed: their seed.
    """
    pairs = {number: _pair(joined, each) for number, each in enumerate(asked)}
    known = {number: pair for number, pair in pairs.items() if not isinstance(pair, str)}
    # An answer of one seed is an item of its own; its question is the unit.
    items = {item for pair in known.values() for item in pair[0]}
    cluster = {item: joined.instructions[item[0]] for item in items}
    tasks = joined.tasks()
    units = set(cluster.values())
    found = {}
    if units:
        resamples = resample(units, {unit: tasks[unit] for unit in units}, draws=draws, seed=seed)
        found = compare(known, resamples, cluster=cluster, level=level)
    rows = []
    for number, each in enumerate(asked):
        row = {
            "claim": each.claim,
            "metric": each.metric,
            "higher": _family(each.higher[0]),
            "lower": _family(each.lower[0]),
            "seeds": len(each.higher),
            "languages": ",".join(_languages(joined, each)),
            "margin": each.margin,
        }
        if number not in found:
            rows.append(row | {"verdict": UNKNOWN, "note": pairs[number], "difference": None, "low": None,
                               "high": None})  # fmt: skip
            continue
        a, b = known[number]
        both = [item for item in a if a[item] is not None and b[item] is not None]
        result = found[number]
        row |= {
            "n": result.difference.n,
            "instructions": result.instructions,
            "mean_higher": _mean(a, both),
            "mean_lower": _mean(b, both),
            "difference": result.difference.estimate,
            "low": result.difference.low,
            "high": result.difference.high,
            "note": result.difference.note or "",
        }
        rows.append(row | {"verdict": _verdict(row, each.margin)})
    return rows


def together(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The verdict on each claim: of its comparisons the one that speaks most against it."""
    order = (OPPOSITE, NOT_SHOWN, UNKNOWN, APPEARS)
    found: dict[str, str] = {}
    for row in rows:
        found[row["claim"]] = min(found.get(row["claim"], APPEARS), row["verdict"], key=order.index)
    return found


def _verdict(row: Mapping[str, Any], margin: float) -> str:
    if row["low"] is None or row["high"] is None:
        return UNKNOWN
    if row["low"] > -margin:
        return APPEARS
    return OPPOSITE if row["high"] < -margin else NOT_SHOWN


Pair = tuple[dict[tuple[str, int], float | None], dict[tuple[str, int], float | None]]


def _pair(joined: Joined, asked: Comparison) -> Pair | str:
    """The scores of both sides by item and seed, or why there are none. An answer with a modifier does not count."""
    sides: list[dict[tuple[str, int], float | None]] = [{}, {}]
    for number, paths in enumerate(zip(asked.higher, asked.lower, strict=True)):
        for language in _languages(joined, asked):
            cells = joined.cells[asked.metric, language]
            if lost := next((path for path in paths if path not in cells), None):
                return f"{lost} has no scores of {asked.metric}"
            plain = [
                item
                for item in cells[paths[0]]
                if item in cells[paths[1]] and not joined.about[item][paths[0]].get("modifier")
            ]
            for side, path in zip(sides, paths, strict=True):
                side |= {(item, number): cells[path][item] for item in plain}
    if not sides[0]:
        return f"there are no scores of {asked.metric} in these languages"
    return sides[0], sides[1]


def _languages(joined: Joined, asked: Comparison) -> list[str]:
    """The languages that count and have scores."""
    there = joined.languages(asked.metric)
    return [name for name in there if (name in asked.languages if asked.languages else name != "en")]


def _mean(cell: Cell, items: Sequence[Any]) -> float | None:
    return sum(float(cell[item] or 0.0) for item in items) / len(items) if items else None


def _family(path: str) -> str:
    """The path of a cell without its seed."""
    return path.rpartition("/")[0]


def _print(rows: Sequence[Mapping[str, Any]]) -> None:
    table = Table("claim", "", "metric", "higher", "lower", "difference [95%]", "n")
    before = ""
    for row in rows:
        table.add_row(
            "" if row["claim"] == before else escape(row["claim"]), row["verdict"], row["metric"],
            escape(row["higher"]), escape(row["lower"]), difference_text(row), str(row.get("n", "")),
        )  # fmt: skip
        before = row["claim"]
    table_console(160).print(table)


def difference_text(row: Mapping[str, Any]) -> str:
    """The difference of a row with its interval, in points of 100."""
    if row["difference"] is None:
        return str(row.get("note") or "-")
    text = f"{100 * row['difference']:+.1f}"
    return text if row["low"] is None else f"{text} [{100 * row['low']:+.1f}, {100 * row['high']:+.1f}]"


COMMAND = command(EffectsConfig, effects, name="effects", help="Test the claims of a study.")


main = entry_point(COMMAND, "python -m xltjax.study.results.effects")


if __name__ == "__main__":
    main()
