"""The shapes of figures: lines over learning rates, dots with intervals, bars, matrices and curves.

Each takes the rows of the figure's table, so that nothing is drawn that the table does not hold. Shares are drawn in
percent.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xltjax.eval.report.figures.drawing import label
from xltjax.eval.report.figures.palette import KINDS, MUTED, Look
from xltjax.eval.report.numbers.systems import rate_text

Row = Mapping[str, Any]


def count_note(rows: Sequence[Row], key: str = "n", what: str = "instructions") -> str:
    """How many there are behind each point: ``n = 113 instructions``, or the range."""
    counts = [row[key] for row in rows if row.get(key)]
    if not counts:
        return "n = 0"
    least, most = min(counts), max(counts)
    return f"n = {least} {what}" if least == most else f"n = {least} to {most} {what}"


def footnote(figure: Any, text: str) -> None:
    """A line under the drawing, in small letters, which says n."""
    width = int(figure.get_figwidth() * 17)
    figure.supxlabel("\n".join(textwrap.wrap(text, width)), fontsize=7.5, color="#555555")


def rate_panels(
    figure: Any,
    rows: Sequence[Row],
    *,
    metrics: Mapping[str, str],
    configurations: Sequence[str],
    looks: Mapping[str, Look],
    note: str,
) -> None:
    """A panel for each metric (rows of panels) and configuration (columns): a line over the rates per language.

    Args:
        figure: of matplotlib.
        rows: with ``configuration``, ``rate``, ``language``, ``metric``, ``mean``, ``low`` and ``high``.
        metrics: axis labels by metric.
        configurations: in order.
        looks: of the languages.
        note: under the drawing.
    """
    axes = figure.subplots(len(metrics), len(configurations), sharex="col", sharey="row", squeeze=False)
    for line, (metric, axis_label) in zip(axes, metrics.items(), strict=True):
        for panel, configuration in zip(line, configurations, strict=True):
            own = [row for row in rows if row["metric"] == metric and row["configuration"] == configuration]
            for language, look in looks.items():
                points = [row for row in own if row["language"] == language and row["mean"] is not None]
                _line(panel, [row["rate"] for row in points], points, look, language)
            _rate_axis(panel, sorted({row["rate"] for row in own}))
            panel.set_ylim(-4, 104)
        line[0].set_ylabel("\n".join(textwrap.wrap(axis_label, 22)))
    for panel, configuration in zip(axes[0], configurations, strict=True):
        if len(configurations) > 1:
            panel.set_title("\n".join(textwrap.wrap(label(configuration, 44), 20)))
    axes[-1][len(configurations) // 2].set_xlabel("peak learning rate")
    _legend(figure, axes[0][0], looks)
    footnote(figure, note)


def _line(panel: Any, x: Sequence[float], points: Sequence[Row], look: Look, name: str) -> None:
    y = np.array([100 * row["mean"] for row in points])
    panel.errorbar(
        x,
        y,
        yerr=_error_bars(points, y),
        color=look.color,
        marker=look.marker,
        linestyle=look.dashes,
        capsize=1.5,
        elinewidth=0.9,
        label=name or "?",
    )


def _error_bars(points: Sequence[Row], y: np.ndarray, scale: float = 100) -> np.ndarray:
    low = [
        scale * row["low"] if row.get("low") is not None else value
        for row, value in zip(points, y, strict=True)
    ]
    high = [
        scale * row["high"] if row.get("high") is not None else value
        for row, value in zip(points, y, strict=True)
    ]
    return np.maximum(np.array([y - np.array(low), np.array(high) - y]), 0).reshape(2, len(y))


def _rate_axis(panel: Any, rates: Sequence[float]) -> None:
    if not rates:
        panel.text(0.5, 0.5, "no scores", ha="center", transform=panel.transAxes, color=MUTED)
        return
    panel.set_xscale("log")
    panel.minorticks_off()
    panel.set_xticks(rates, [rate_text(rate) for rate in rates], rotation=0 if len(rates) < 4 else 35)
    panel.set_xlim(rates[0] / 2, rates[-1] * 2)


def _legend(figure: Any, panel: Any, looks: Mapping[str, Look]) -> None:
    handles, names = panel.get_legend_handles_labels()
    if handles:
        figure.legend(handles, names, loc="outside upper center", ncols=min(8, len(looks)))


def dot_panels(
    figure: Any,
    rows: Sequence[Row],
    *,
    panels: Mapping[str, str],
    panel_key: str,
    places: Sequence[str],
    place_key: str,
    series: Mapping[str, Look],
    series_key: str,
    note: str,
    scale: float = 100,
    limits: tuple[float, float] | Mapping[str, tuple[float, float]] | None = (0, 100),
    zero: bool = False,
) -> None:
    """Panels side by side: dots with intervals, a line for each place, a color for each series.

    Args:
        figure: of matplotlib.
        rows: with the three keys, ``mean``, ``low`` and ``high``.
        panels: axis labels by the value of ``panel_key``.
        panel_key: which key tells the panels apart.
        places: from top to bottom.
        place_key: which key tells them apart.
        series: their looks.
        series_key: which key tells them apart.
        note: under the drawing.
        scale: what values are multiplied by.
        limits: of the values' axis, of all panels or by the value of ``panel_key``; None lets the data decide.
        zero: whether there is a line at 0.
    """
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    step = 0.7 / max(len(series), 1)
    for panel, (key, axis_label) in zip(axes, panels.items(), strict=True):
        own = {(row[place_key], row[series_key]): row for row in rows if row[panel_key] == key}
        for number, (name, look) in enumerate(series.items()):
            points = [(place, own[each, name]) for place, each in enumerate(places) if (each, name) in own]
            points = [(place, row) for place, row in points if row["mean"] is not None]
            x = np.array([scale * row["mean"] for _, row in points])
            y = [place + step * (number - (len(series) - 1) / 2) for place, _ in points]
            panel.errorbar(
                x,
                y,
                xerr=_error_bars([row for _, row in points], x, scale),
                color=look.color,
                marker=look.marker,
                linestyle="none",
                capsize=1.5,
                elinewidth=0.9,
                label=name or "?",
            )
        if limits is not None:
            low, high = limits[key] if isinstance(limits, Mapping) else limits
            margin = 0.03 * (high - low)
            panel.set_xlim(low - margin, high + margin)
            if high - low < 10:  # scores of few levels
                panel.set_xticks(range(int(low), int(high) + 1))
        if zero:
            panel.axvline(0, color=MUTED, linewidth=0.9)
        panel.set_xlabel("\n".join(textwrap.wrap(axis_label, max(14, 62 // len(panels)))))
    axes[0].set_yticks(range(len(places)), ["\n".join(map(label, place.split("\n"))) for place in places])
    axes[0].set_ylim(len(places) - 0.5, -0.5)
    if len(series) > 1:
        _legend(figure, axes[0], series)
    footnote(figure, note)


def stacked_bars(
    figure: Any,
    rows: Sequence[Row],
    *,
    places: Sequence[str],
    parts: Mapping[str, str],
    axis_label: str,
    note: str,
) -> None:
    """A bar for each place, made of the shares of its parts: ``rows`` have ``place`` and a key for each part."""
    panel = figure.subplots()
    by_place = {row["place"]: row for row in rows}
    left = np.zeros(len(places))
    for key, name in parts.items():
        values = np.array([100 * (by_place[place][key] or 0.0) for place in places])
        panel.barh(range(len(places)), values, left=left, color=KINDS[key], label=name, height=0.75)
        left += values
    panel.set_yticks(range(len(places)), [label(place, 46) for place in places])
    panel.set_ylim(len(places) - 0.5, -0.5)
    panel.set_xlabel(axis_label)
    panel.grid(axis="y", visible=False)
    figure.legend(loc="outside upper center", ncols=len(parts))
    footnote(figure, note)


def matrices(
    figure: Any,
    panels: Mapping[str, np.ndarray],
    *,
    down: Sequence[str],
    across: Sequence[str],
    down_label: str,
    across_label: str,
    note: str,
) -> None:
    """A matrix of shares for each panel, with the percentage in each field that is not 0.

    Args:
        figure: of matplotlib.
        panels: [down, across] shares by title; NaN where there is no answer.
        down: names of the lines.
        across: names of the columns.
        down_label: what the lines are.
        across_label: what the columns are.
        note: under the drawing.
    """
    columns = min(4, len(panels))
    lines = -(-len(panels) // columns)
    axes = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    for panel, (title, shares) in zip(axes.flat, panels.items(), strict=False):
        lines_at, columns_at = (np.arange(size + 1) - 0.5 for size in shares.shape)
        # Shapes, as a page shows no images.
        panel.pcolormesh(columns_at, lines_at, shares, cmap="Blues", vmin=0, vmax=1, edgecolors="face")
        for i, j in np.ndindex(shares.shape):
            if shares[i, j] > 0:
                color = "white" if shares[i, j] > 0.5 else "black"
                panel.text(
                    j, i, f"{100 * shares[i, j]:.0f}", ha="center", va="center", color=color, fontsize=7.5
                )
        panel.set_title("\n".join(textwrap.wrap(label(title, 60), 30)))
        panel.set_ylim(len(down) - 0.5, -0.5)
        panel.set_xticks(range(len(across)), [label(each, 12) for each in across])
        panel.set_yticks(range(len(down)), [label(each, 12) for each in down])
        panel.grid(visible=False)
    for panel in list(axes.flat)[len(panels) :]:
        panel.set_axis_off()
    for line in axes:
        line[0].set_ylabel(down_label)
    axes[-1][0].set_xlabel(across_label)
    footnote(figure, note)


def curves(
    figure: Any,
    lines: Mapping[str, tuple[Sequence[float], Sequence[float], Look]],
    *,
    axis_label: str,
    note: str,
) -> None:
    """Lines over updates, each with its name; ``lines`` hold updates, values and looks."""
    panel = figure.subplots()
    for name, (x, y, look) in lines.items():
        panel.plot(x, y, color=look.color, linestyle=look.dashes, label=label(name, 48), linewidth=1.1)
    panel.set_xlabel("update")
    panel.set_ylabel(axis_label)
    if len(lines) <= 24:
        figure.legend(loc="outside lower center", ncols=2 if len(lines) > 4 else 1, fontsize=7)
    panel.set_title(note, fontsize=8, color="#555555", loc="left")
