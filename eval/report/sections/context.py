"""What sections are made with, and what they have in common."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from xltjax.eval.report.content import Column
from xltjax.eval.report.figures.drawing import FigureFiles
from xltjax.eval.report.figures.palette import Look
from xltjax.eval.report.numbers.analysis import REFERENCE, Analysis
from xltjax.eval.report.numbers.facts import Facts
from xltjax.eval.report.numbers.rates import Choice
from xltjax.eval.report.numbers.systems import System

INTERVALS = (
    "95% intervals: Wilson's for metrics of 0 and 1, percentile bootstrap over instructions (10,000 "
    "draws) for shares; n is the number of instructions."
)
BOOTSTRAP = (
    "95% intervals: percentile bootstrap over instructions, stratified by task, whose translations "
    "and seeds stay together."
)


@dataclass(frozen=True)
class Context:
    """What a section is made with: the numbers, the chosen rates, and how figures are drawn.

    Attributes:
        analysis: the numbers.
        choices: by configuration, the rates that were tried.
        figures: draws and writes.
        languages: the look of each language.
        configurations: the look of each configuration.
    """

    analysis: Analysis
    choices: Mapping[str, Choice]
    figures: FigureFiles
    languages: Mapping[str, Look]
    configurations: Mapping[str, Look]

    @property
    def facts(self) -> Facts:
        """Writes the numbers of sentences."""
        return self.analysis.facts

    def best(self) -> list[System]:
        """One system for each configuration: that with the best rate, or the only one."""
        return [
            self.choices[name].best if name in self.choices else self.analysis.of(name)[0]
            for name in self.analysis.configurations
        ]

    @property
    def transfer(self) -> list[str]:
        """The languages besides English, when English is there too; otherwise none."""
        return self.analysis.others if REFERENCE in self.analysis.languages else []


def estimate(key: str, heading: str, format: str = ".1%", *, prefix: str | None = None) -> Column:
    """A column of numbers with their intervals, of the keys ``<prefix>low`` and ``<prefix>high``.

    The prefix is ``<key>_`` when it is not given, and empty where a row has one interval alone.
    """
    prefix = f"{key}_" if prefix is None else prefix
    return Column(key, heading, format, numeric=True, low=f"{prefix}low", high=f"{prefix}high")


def share(key: str, heading: str) -> Column:
    """A column of shares in percent, without intervals."""
    return Column(key, heading, ".1%", numeric=True)


def count(key: str = "n", heading: str = "n") -> Column:
    """A column of whole numbers."""
    return Column(key, heading, numeric=True)


def listed(names: Iterable[str]) -> str:
    """Names as a sentence lists them.

    >>> listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])
    ('a', 'a and b', 'a, b and c')
    """
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def seeds_note(systems: Iterable[System]) -> str:
    """How many seeds the numbers are over, where there are several."""
    counts = sorted({len(each.models) for each in systems})
    if counts == [1]:
        return ""
    number = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else str(counts[0])
    return (
        f" Answers of {number} seeds are taken together; the intervals are over instructions and do not say "
        "how much another seed would change."
    )
