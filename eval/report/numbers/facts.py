"""The numbers that sentences quote: each is written by one function, and stands in a table of its own."""

from __future__ import annotations

from typing import Any

from xltjax.eval.report.content import Column, Table

MINUS = "\N{MINUS SIGN}"


class Facts:
    """Writes numbers into sentences, and keeps each of them for the table ``numbers-in-the-text``."""

    def __init__(self) -> None:
        self._rows: list[dict[str, Any]] = []

    def count(self, what: str, value: int) -> str:
        """A number of things, for example answers."""
        self._keep(what, value, "count")
        return f"{value:,}"

    def percent(
        self,
        what: str,
        value: float,
        low: float | None = None,
        high: float | None = None,
        n: int | None = None,
    ) -> str:
        """A share in percent, with its interval where it has one."""
        self._keep(what, value, "share", low, high, n)
        text = f"{100 * value:.1f}%"
        return text if low is None or high is None else f"{text} [{100 * low:.1f}, {100 * high:.1f}]"

    def points(
        self,
        what: str,
        value: float,
        low: float | None = None,
        high: float | None = None,
        n: int | None = None,
    ) -> str:
        """A difference of shares in percentage points, with its sign."""
        self._keep(what, value, "share", low, high, n)
        text = f"{signed(100 * value, 1)} points"
        if low is None or high is None:
            return text
        return f"{text} [{signed(100 * low, 1)}, {signed(100 * high, 1)}]"

    def score(
        self,
        what: str,
        value: float,
        low: float | None = None,
        high: float | None = None,
        n: int | None = None,
        *,
        sign: bool = False,
    ) -> str:
        """A score of a judge or of people, for example from 0 to 2."""
        self._keep(what, value, "score", low, high, n)
        write = (lambda x: signed(x, 2)) if sign else "{:.2f}".format
        text = write(value)
        return text if low is None or high is None else f"{text} [{write(low)}, {write(high)}]"

    def plain(self, what: str, value: float, format: str) -> str:
        """Any other number, written as ``format`` says."""
        self._keep(what, value, "number")
        return f"{value:{format}}"

    def _keep(
        self,
        what: str,
        value: float,
        unit: str,
        low: float | None = None,
        high: float | None = None,
        n: int | None = None,
    ) -> None:
        row = {"what": what, "value": value, "unit": unit, "low": low, "high": high, "n": n}
        if row not in self._rows:
            self._rows.append(row)

    def table(self) -> Table:
        """Every number that was written."""
        return Table(
            "numbers-in-the-text",
            "Numbers in the text",
            (
                Column("what", "what"),
                Column("value", "value", ".6g", numeric=True, low="low", high="high"),
                Column("unit", "unit"),
                Column("n", "n", numeric=True),
            ),
            self._rows,
            "Every number that a sentence of this report quotes, unrounded in the CSV file; shares are from "
            "0 to 1.",
        )


def signed(value: float, digits: int) -> str:
    """A number with its sign, a true minus, and none before zero.

    >>> signed(-0.04, 1), signed(2.25, 1), signed(-3.0, 0)
    ('0.0', '+2.2', '−3')
    """
    text = f"{abs(value):.{digits}f}"
    if not any(digit in "123456789" for digit in text):
        return text
    return (MINUS if value < 0 else "+") + text
