"""Of a report of two sources: which settings, tools and data differ between them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from xltjax.eval.report.content import Column, Table
from xltjax.eval.report.numbers.sources import Material, short_json

# What differs between any two runs.
LEFT_OUT = ("path", "time", "command", "out", "usage", "fingerprints", "model")


def settings_changes(first: Material, second: Material) -> Table | None:
    """One row for each setting or part of the provenance that differs; None when nothing does."""
    a, b = (dict(_flat(each)) for each in (first, second))
    rows = [
        {"what": key, "first": a.get(key, ""), "second": b.get(key, "")}
        for key in dict.fromkeys((*a, *b))
        if a.get(key) != b.get(key)
    ]
    if not rows:
        return None
    return Table(
        "changed-settings",
        "Settings, tools and data that differ",
        (Column("what", "what"), Column("first", first.label), Column("second", second.label)),
        rows,
        "From config.yaml and provenance.json of runs, summary.json of evaluators and judge.json.",
    )


def _flat(material: Material) -> Iterator[tuple[str, str]]:
    for run in material.runs:
        yield from _leaves(f"run {run.path}", run.settings)
        yield from _leaves(
            f"run {run.path}", {key: run.provenance.get(key) for key in ("git", "versions", "data")}
        )
    for number, generation in enumerate(material.generations):
        of = "" if len(material.generations) == 1 else f" {number + 1}"
        yield from _leaves(f"generation{of}", generation.get("settings", {}))
    for kind in (material.summaries, material.judges):
        for name, about in kind.items():
            yield from _leaves(name, about)


def _leaves(place: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, part in value.items():
            if key not in LEFT_OUT:
                yield from _leaves(f"{place}: {key}", part)
    else:
        yield place, short_json(value)[:200]
