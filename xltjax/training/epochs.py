"""How often a run sees its data, and how many updates a number of epochs takes."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

from xltjax.data.corpora import Corpus
from xltjax.data.packing import PackedData
from xltjax.training.config import TrainConfig

log = logging.getLogger("xltjax")

MANY_EPOCHS = 10  # above which a line says that the data are learned so often
SMALL_UPDATES = 8  # of an epoch, which are proposed where an update has more than one
COUNTED_UPDATES = 200  # which are packed to know how many examples an update has


@dataclass(frozen=True)
class Passes:
    """How often a run sees its data.

    Attributes:
        rows: the examples that are learned.
        tokens: their tokens.
        updates: those of the run.
        tokens_per_update: the mean.
        epochs: how many times as many examples the run sees as there are.
        longest: the tokens of the longest example.
    """

    rows: int
    tokens: int
    updates: int
    tokens_per_update: float
    epochs: float
    longest: int

    @property
    def updates_per_epoch(self) -> float:
        """The updates in which as many examples are seen as there are."""
        return self.updates / self.epochs

    def __str__(self) -> str:
        return (
            f"{self.rows:,} rows with {self.tokens:,} tokens; {self.tokens_per_update:,.0f} tokens per update, "
            f"{_number(self.updates_per_epoch)} updates per epoch, {self.updates:,} "
            f"update{'s' * (self.updates > 1)}: {_number(self.epochs)} epochs"
        )


def _number(value: float) -> str:
    """Three digits, or all those of a whole number that has more."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def with_steps(config: TrainConfig, data: PackedData) -> TrainConfig:
    """``config`` with the number of updates that its ``epochs`` make, if they are given."""
    return dataclasses.replace(config, steps=data.steps_for(config.epochs)) if config.epochs else config


def passes(config: TrainConfig, data: PackedData) -> Passes:
    """How often the run sees the data; from its first updates where there are many.

    Args:
        config: with its number of updates, see ``with_steps``.
        data: the packed data.
    """
    counted = min(config.steps, COUNTED_UPDATES)
    examples = [
        index for step in range(counted) for batch in data.examples_at(step) for row in batch for index in row
    ]
    tokens = data.tokens_of(examples) / counted
    epochs = len(examples) / counted * config.steps / data.rows
    return Passes(data.rows, data.tokens, config.steps, tokens, epochs, data.longest)


def warn_of_many(seen: Passes) -> None:
    """Say so when the data are learned so often that the model may repeat them, or more than once in an update."""
    if seen.epochs > MANY_EPOCHS:
        log.warning(
            "warning: each row is learned about %s times; --epochs 3 or --steps %d would be 3 times",
            f"{seen.epochs:,.0f}", max(math.ceil(3 * seen.updates_per_epoch), 1),
        )  # fmt: skip
    if seen.updates_per_epoch < 1:
        size = math.ceil(max(seen.longest, seen.tokens / SMALL_UPDATES) / 64) * 64
        made = round(max(seen.tokens / size, 1))
        log.warning(
            "warning: each update sees the data about %s times; --sequence-length %d --tokens-per-batch %d "
            "--accumulation 1 would make about %d update%s of an epoch",
            _number(1 / seen.updates_per_epoch), size, size, made, "s" * (made > 1),
        )  # fmt: skip


def epochs_of_sources(corpora: Sequence[Corpus], seen: Passes) -> list[float]:
    """How often a run sees the rows of each source: a source is drawn for each example, by its weight."""
    whole = sum(corpus.weight for corpus in corpora)
    drawn = seen.epochs * seen.rows
    return [drawn * corpus.weight / whole / len(corpus.examples) for corpus in corpora]
