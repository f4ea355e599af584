"""The rules by which a learning rate can be chosen, each as a value of every answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from xltjax.eval.comparison.joined import Joined
from xltjax.eval.stats.intervals import Cell
from xltjax.eval.stats.selection import Setting

LANGUAGE, RELEVANCE, SPELLING = "language_correct", "relevance", "spelling"


@dataclass(frozen=True)
class Rule:
    """One rule.

    Attributes:
        name: what ``--rule`` takes.
        text: what it maximizes, in words.
        needs: the metrics that it reads.
        over: what it makes of the languages.
        english: whether English counts as well.
    """

    name: str
    text: str
    needs: tuple[str, ...]
    over: Callable[..., np.ndarray] = np.mean
    english: bool = False


USEFUL = Rule("useful", "share of answers in the correct language and relevant", (LANGUAGE, RELEVANCE))
IN_LANGUAGE = Rule("language", "share of answers in the correct language", (LANGUAGE,))
RULES = {
    rule.name: rule
    for rule in (
        USEFUL,
        IN_LANGUAGE,
        Rule("relevance", "share of relevant answers, in whatever language", (RELEVANCE,)),
        Rule("spelling", "share of words that are spelled correctly", (SPELLING,)),
        Rule("useful-spelling", "useful, times the spelling of the answer", (LANGUAGE, RELEVANCE, SPELLING)),
        Rule("language-spelling", "correct language, times the spelling of the answer", (LANGUAGE, SPELLING)),
        Rule("worst-language", "useful, in the language where it is lowest", (LANGUAGE, RELEVANCE), over=np.min),
        Rule("with-english", "useful, with English among the languages", (LANGUAGE, RELEVANCE), english=True),
    )
}  # fmt: skip


def value_cell(
    needs: Sequence[str], scores: Mapping[str, Cell], items: Sequence[str], unscored: float
) -> Cell:
    """What answers are worth under metrics that are multiplied with each other.

    A score of 0 in one of them decides, whatever the others say. Otherwise an answer that lacks a score has
    ``unscored``: 0, so that a rate that breaks the model gains nothing by answers that nobody can score, or 1 for a
    bound.
    """
    cell = {}
    for item in items:
        found = [scores[metric].get(item) for metric in needs]
        present = [1.0 * value for value in found if value is not None]
        lacks = len(present) < len(found)
        cell[item] = float(np.prod(present)) * (unscored if lacks else 1.0)
    return cell


def decided(needs: Sequence[str], scores: Mapping[str, Cell], items: Sequence[str]) -> int:
    """How many of the answers have a value without that of ``unscored``."""
    low, high = (value_cell(needs, scores, items, unscored) for unscored in (0.0, 1.0))
    return sum(low[item] == high[item] for item in items)


@dataclass(frozen=True)
class Pool:
    """The scores of one family on the same answers: ``items`` by language, ``models`` by rate and seed."""

    joined: Joined
    models: Mapping[float, Mapping[int, str]]
    items: Mapping[str, tuple[str, ...]]

    def scores(self, model: str, language: str) -> dict[str, Cell]:
        """The cells of a model in a language, by metric."""
        return {
            metric: self.joined.cells.get((metric, language), {}).get(model, {})
            for metric in (LANGUAGE, RELEVANCE, SPELLING)
        }

    def has(self, metric: str) -> bool:
        """Whether the metric was scored: every run has a line in every language, and some run a value.

        A run of which no answer in a language can be scored is a bad run, but not one without scores.
        """
        models = [model for seeds in self.models.values() for model in seeds.values()]
        for language in self.items:
            cells = [self.scores(model, language)[metric] for model in models]
            if not all(cells) or not any(value is not None for cell in cells for value in cell.values()):
                return False
        return True

    def within(self, instructions: frozenset[str]) -> Pool:
        """The answers to some of the instructions."""
        items = {
            language: tuple(item for item in items if self.joined.instructions[item] in instructions)
            for language, items in self.items.items()
        }
        return Pool(self.joined, self.models, {language: found for language, found in items.items() if found})

    def settings(
        self, rule: Rule, languages: Sequence[str], tie: str | None, unscored: float = 0.0
    ) -> dict[float, Setting]:
        """The cells that ``rule`` compares, by rate; ``tie`` is the metric that decides between equal values."""
        needs_tie = (tie,) if tie else ()

        def cells(needs: Sequence[str], model: str) -> list[Cell]:
            return [
                value_cell(needs, self.scores(model, language), self.items[language], unscored)
                for language in languages
            ]

        return {
            rate: Setting(
                [cells(rule.needs, model) for _, model in sorted(seeds.items())],
                [cells(needs_tie, model) for _, model in sorted(seeds.items())],
            )
            for rate, seeds in self.models.items()
        }
