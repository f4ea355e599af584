"""Data sources as tokenized examples: which of their rows are learned, and which are kept for validation."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Literal

import numpy as np

from xltjax.common.errors import UserError
from xltjax.data.formats import read_conversations
from xltjax.data.tokenizer import ChatTokenizer, Tokens

log = logging.getLogger("xltjax")

Overlong = Literal["skip", "truncate", "error"]


@dataclass(frozen=True)
class Corpus:
    """The examples of one data source.

    Attributes:
        examples: the tokenized examples.
        weight: how often examples are drawn from this corpus, relative to the weights of the others.
        names: where each example comes from, as ``file:row`` with rows counted from 1; empty when the
            examples do not come from rows.
    """

    examples: Sequence[Tokens]
    weight: float
    names: Sequence[str] = ()


def load_corpora(
    sources: Sequence[str],
    weights: Sequence[float],
    tokenizer: ChatTokenizer,
    max_length: int,
    overlong: Overlong = "skip",
) -> tuple[list[Corpus], int]:
    """Read and tokenize ``sources``.

    Args:
        sources: files, directories, glob patterns or dataset ids, as ``formats.read_conversations`` takes them.
        weights: the relative weight of each source; the number of its examples when there are no weights.
        tokenizer: the tokenizer with its chat template.
        max_length: the largest number of tokens of an example.
        overlong: whether longer examples are skipped, truncated to ``max_length`` tokens, or an error.

    Returns:
        The corpora, and how many examples were longer than ``max_length``.

    Raises:
        UserError: when the weights do not fit the sources, a source has no usable example, or an example is
            too long and ``overlong`` is ``error``.
    """
    if weights and len(weights) != len(sources):
        raise UserError(f"data_weights has {len(weights)} numbers for {len(sources)} data sources")
    if not all(weight > 0 and math.isfinite(weight) for weight in weights):
        raise UserError("data_weights must be positive")
    corpora, total_long = [], 0
    for index, source in enumerate(sources):
        examples = tokenizer.examples(read_conversations(source))
        long = [number for number, e in enumerate(examples, start=1) if len(e.ids) > max_length]
        if long and overlong == "error":
            raise UserError(
                f"{source}: row {long[0]} has {len(examples[long[0] - 1].ids)} tokens, more than {max_length}; "
                "give --overlong skip or --overlong truncate to accept such rows"
            )
        total_long += len(long)
        kept = _usable(examples, source, max_length, truncate=overlong == "truncate")
        names = [f"{source}:{number}" for number in kept]
        corpora.append(Corpus(list(kept.values()), weights[index] if weights else len(kept), names))
    return corpora, total_long


def _usable(examples: Sequence[Tokens], source: str, max_length: int, *, truncate: bool) -> dict[int, Tokens]:
    """The examples that are short enough and have something to learn, by their row, counted from 1."""
    fitting = {
        number: Tokens(e.ids[:max_length], e.loss_mask[:max_length])
        for number, e in enumerate(examples, start=1)
        if truncate or len(e.ids) <= max_length
    }
    # The first token is never a target.
    kept = {number: example for number, example in fitting.items() if example.loss_mask[1:].any()}
    if not kept:
        raise UserError(
            f"{source}: none of its {len(examples)} rows is usable: each has more than {max_length} "
            "tokens or no answer"
        )
    if len(kept) < len(fitting):
        log.warning("warning: %s: skipped %d rows without an answer", source, len(fitting) - len(kept))
    return kept


def split_validation(corpora: Sequence[Corpus], count: int, seed: int) -> tuple[list[Corpus], list[Tokens]]:
    """Set ``count`` examples aside for validation, drawn uniformly from the examples of all corpora.

    Returns:
        The corpora without these examples, and the examples.

    Raises:
        UserError: when a corpus would have no example left.
    """
    total = sum(len(corpus.examples) for corpus in corpora)
    drawn = np.zeros(total, bool)
    drawn[np.random.default_rng((seed, total)).permutation(total)[:count]] = True
    training: list[Corpus] = []
    validation: list[Tokens] = []
    start = 0
    for corpus in corpora:
        mine = drawn[start : start + len(corpus.examples)]
        start += len(mine)
        if mine.all():
            raise UserError(f"--validation-rows {count} leaves nothing to learn of {total} rows")
        validation += compress(corpus.examples, mine)
        training.append(
            Corpus(list(compress(corpus.examples, ~mine)), corpus.weight, list(compress(corpus.names, ~mine)))
        )
    return training, validation
