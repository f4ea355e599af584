"""Learning curves, and what the runs took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from xltjax.eval.report.content import Column, Figure, Section, Table
from xltjax.eval.report.figures.drawing import label
from xltjax.eval.report.figures.palette import DASHES, Look, configuration_looks
from xltjax.eval.report.figures.plots import curves
from xltjax.eval.report.numbers.sources import TrainedRun
from xltjax.eval.report.sections.context import Context, count

HEADING = "Training"
MOST_POINTS = 400  # of a curve
MOST_CURVES = 24


def training_section(context: Context) -> Section:
    """The loss over the updates, and the validation loss where there is one."""
    runs = [run for run in context.analysis.material.runs if any("loss" in row for row in run.metrics)]
    if not runs:
        return Section(
            "training",
            HEADING,
            ("There is no run directory with metrics.jsonl, so there are no learning curves.",),
        )
    told = []
    if len(runs) > MOST_CURVES:
        told.append(
            f"The figures show {context.facts.count('curves in the figures', MOST_CURVES)} of "
            f"{context.facts.count('runs', len(runs))} runs; table runs has all."
        )
    figures = []
    for key, heading in (("loss", "training loss"), ("validation_loss", "validation loss")):
        figure = _curves(context, runs[:MOST_CURVES], key, heading)
        if figure is not None:
            figures.append(figure)
    if len(figures) < 2:
        told.append("No run measured the loss on validation rows (train --validation-rows N).")
    return Section("training", HEADING, tuple(told), tuple(figures), (_run_table(runs),))


def _curves(context: Context, runs: Sequence[TrainedRun], key: str, heading: str) -> Figure | None:
    own = {run.name: [row for row in run.metrics if isinstance(row.get(key), (int, float))] for run in runs}
    own = {name: rows for name, rows in own.items() if rows}
    if not own:
        return None
    looks = _looks(context, list(own))
    rows = [
        {"run": name, "update": row["step"], "value": row[key]}
        for name, found in own.items()
        for row in thinned(found)
    ]
    lines: dict[str, tuple[list[float], list[float], Look]] = {}
    for name in own:
        points = [row for row in rows if row["run"] == name]
        lines[name] = ([row["update"] for row in points], [row["value"] for row in points], looks[name])
    updates = {max(row["step"] for row in found) for found in own.values()}
    n = (
        f"n = {len(own)} runs of {min(updates)}"
        + (f" to {max(updates)}" if len(updates) > 1 else "")
        + " updates"
    )
    caption = f"{heading.capitalize()} per learned token (nats) over the updates. {n}."
    data = Table(
        f"learning-curves-{key.replace('_', '-')}",
        heading.capitalize(),
        (
            Column("run", "run"),
            Column("update", "update", numeric=True),
            Column("value", f"{heading}, nats per token", ".4f", numeric=True),
        ),
        rows,
        f"{caption} Of more than {MOST_POINTS} logged updates, every so manyth is shown; the run's "
        "metrics.jsonl has all.",
    )

    def plot(figure: Any) -> None:
        curves(figure, lines, axis_label=f"{heading}, nats per token", note=n)

    height = 3.2 + 0.16 * -(-len(lines) // 2)
    return context.figures.draw(data, plot, size=(7.2, height), caption=caption, description=caption)


def _looks(context: Context, names: Sequence[str]) -> dict[str, Look]:
    """The color of a run's configuration, and dashes of its own among the runs of the configuration."""
    own = configuration_looks(names)
    looks: dict[str, Look] = {}
    counts: Counter[str] = Counter()
    for name in names:
        system = context.analysis.system_of.get(name)
        if system is None:
            looks[name] = own[name]
        else:
            look = context.configurations[system.configuration]
            looks[name] = look._replace(dashes=DASHES[counts[system.configuration] % len(DASHES)])
            counts[system.configuration] += 1
    return looks


def thinned(rows: Sequence[Any]) -> Sequence[Any]:
    """At most about ``MOST_POINTS`` of the rows at equal distances, with the first and the last."""
    step = -(-len(rows) // MOST_POINTS)
    return [row for number, row in enumerate(rows) if number % step == 0 or number == len(rows) - 1]


def _run_table(runs: Sequence[TrainedRun]) -> Table:
    rows = []
    for run in runs:
        logged = [row for row in run.metrics if "loss" in row]
        validated = [row["validation_loss"] for row in run.metrics if row.get("validation_loss") is not None]
        rates = sorted(row["tokens_per_second"] for row in logged if row.get("tokens_per_second"))
        rows.append(
            {
                "run": label(run.name, 80),
                "rate": run.settings.get("learning_rate"),
                "updates": logged[-1]["step"],
                "of": run.settings.get("steps"),
                "first": logged[0]["loss"],
                "last": logged[-1]["loss"],
                "validation": min(validated, default=None),
                "seconds": sum(row.get("seconds") or 0.0 for row in logged),
                "speed": rates[len(rates) // 2] if rates else None,
                "memory": max(
                    (row["memory_gib"] for row in logged if row.get("memory_gib") is not None), default=None
                ),
            }
        )
    return Table(
        "runs",
        "Runs",
        (
            Column("run", "run"),
            Column("rate", "learning rate", ".1e", numeric=True),
            count("updates", "updates done"),
            count("of", "updates planned"),
            Column("first", "first loss", ".3f", numeric=True),
            Column("last", "last loss", ".3f", numeric=True),
            Column("validation", "lowest validation loss", ".3f", numeric=True),
            Column("seconds", "seconds in logged updates", ".0f", numeric=True),
            Column("speed", "median tokens per second", ",.0f", numeric=True),
            Column("memory", "peak memory, GiB", ".2f", numeric=True),
        ),
        rows,
        "Losses are in nats per learned token.",
    )
