"""Figures as SVG for the page, and as SVG, PDF and PNG files, the same bytes whenever they are drawn again."""

from __future__ import annotations

import importlib.util
import io
import json
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

from xltjax.common.errors import UserError
from xltjax.common.files import write_bytes
from xltjax.eval.report.content import Figure, Table
from xltjax.eval.table_files import printable, write_csv

DPI = 200  # of PNG files
WIDTH = 7.2  # inches: the text of a paper in one column
_STYLE = {
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.labelsize": 8.5,
    "legend.fontsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "lines.linewidth": 1.4,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "text.parse_math": False,
    "axes.unicode_minus": True,
    "path.simplify": True,
}

Plot = Callable[[Any], None]  # draws into a figure of matplotlib


def require_matplotlib() -> None:
    """Refuse to start without matplotlib.

    Raises:
        UserError: which says how to install it.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise UserError("figures need matplotlib; install it: pip install 'xltjax[report]'")


class FigureFiles:
    """Draws figures, and writes each as SVG, PDF, PNG and the CSV of its data under one folder.

    Args:
        folder: an existing directory; None writes nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self.written: list[Path] = []

    def draw(
        self, data: Table, plot: Plot, *, size: tuple[float, float], caption: str, description: str = ""
    ) -> Figure:
        """A figure under the name and title of ``data``.

        Args:
            data: the numbers behind it, unrounded.
            plot: draws it.
            size: width and height in inches.
            caption: what is shown, n, and what the intervals are.
            description: what there is to see, for readers who do not see it.
        """
        import matplotlib as mpl
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure as Canvas

        # The salt makes the ids of the SVG the same in every run.
        with mpl.rc_context({**_STYLE, "svg.hashsalt": data.name}):
            canvas = Canvas(figsize=size, layout="constrained")
            FigureCanvasAgg(canvas)
            plot(canvas)
            canvas.draw_without_rendering()
            canvas.set_layout_engine("none")  # once for all formats
            svg = _saved(canvas, "svg", {"Date": None, "Creator": None})
            if self._folder is not None:
                self._write(data.name, "svg", svg)
                self._write(data.name, "pdf", _saved(canvas, "pdf", {"CreationDate": None, "Producer": None}))
                self._write(data.name, "png", _saved(canvas, "png", {"Software": None}))
                self._write_data(data)
        return Figure(data.name, data.title, caption, svg.decode(), data, description)

    def _write(self, name: str, suffix: str, content: bytes) -> None:
        assert self._folder is not None
        path = self._folder / f"{name}.{suffix}"
        write_bytes(path, content)
        self.written.append(path)

    def _write_data(self, data: Table) -> None:
        assert self._folder is not None
        path = self._folder / f"{data.name}.csv"
        write_csv(path, data.rows, list(columns_of(data)), ".10g")
        self.written.append(path)


def columns_of(table: Table) -> dict[str, None]:
    """The keys of a table's columns, each followed by those of its interval."""
    keys: dict[str, None] = {}
    for column in table.columns:
        keys |= dict.fromkeys(key for key in (column.key, column.low, column.high) if key)
    return keys


def _saved(canvas: Any, format: str, metadata: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    canvas.savefig(buffer, format=format, metadata=metadata, dpi=DPI, facecolor="white")
    return buffer.getvalue()


def label(text: str, longest: int = 34) -> str:
    """A name as a figure shows it: on one line, without what fonts do not have, cut in the middle when long."""
    text = " ".join(printable(text).split())
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    longest = longest * len(text) // (len(text) + wide) if wide else longest
    half = longest // 2
    return text if len(text) <= longest else f"{text[: half - 1]}…{text[-half:]}"


def as_json(value: Any) -> str:
    """A value of a row that is neither number nor text."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
