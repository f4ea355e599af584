"""Tokenized data sources: read, filtered, and split into what is learned and what validates."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from xltjax.common.errors import UserError
from xltjax.data.formats import read_conversations
from xltjax.data.tokenizer import ChatTokenizer, Tokens

log = logging.getLogger("xltjax")


Overlong = Literal["skip", "truncate", "error"]


@dataclass(frozen=True)
class Corpus:
    """The examples of one data source and how often it is drawn relative to the others.

    ``names`` says where each example comes from (``file:row``, rows from 1); empty for examples without rows.
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
        sources: as ``rows.read_conversations`` takes them.
        weights: relative, one per source; by the number of examples when empty.
        tokenizer: with its template.
        max_length: most tokens of an example.
        overlong: leave longer examples out, keep their first ``max_length`` tokens, or refuse them.

    Returns:
        The corpora, and how many examples were longer than ``max_length``.

    Raises:
        UserError: when weights do not fit the sources, a source has no usable example, or one is refused.
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
                "--overlong skip or truncate lets such rows pass"
            )
        fitting = [
            (number, Tokens(e.ids[:max_length], e.loss_mask[:max_length]))
            for number, e in enumerate(examples, start=1)
            if len(e.ids) <= max_length or overlong == "truncate"
        ]
        kept = [(number, e) for number, e in fitting if e.loss_mask[1:].any()]
        if not kept:
            raise UserError(
                f"{source}: none of its {len(examples)} rows is usable: each has more than {max_length} "
                "tokens or no answer"
            )
        if len(kept) < len(fitting):
            log.warning("warning: %s: %d rows without an answer left out", source, len(fitting) - len(kept))
        total_long += len(long)
        corpora.append(
            Corpus(
                [example for _, example in kept],
                weights[index] if weights else len(kept),
                [f"{source}:{number}" for number, _ in kept],
            )
        )
    return corpora, total_long


def split_validation(corpora: Sequence[Corpus], count: int, seed: int) -> tuple[list[Corpus], list[Tokens]]:
    """Set ``count`` examples aside, drawn from all corpora alike.

    Returns:
        The corpora without them, and the examples.

    Raises:
        UserError: when a corpus would be left without examples.
    """
    total = sum(len(corpus.examples) for corpus in corpora)
    drawn = np.zeros(total, bool)
    drawn[np.random.default_rng((seed, total)).permutation(total)[:count]] = True
    left, held, start = [], [], 0
    for corpus in corpora:
        mine = drawn[start : start + len(corpus.examples)]
        start += len(mine)
        if mine.all():
            raise UserError(f"--validation-rows {count} leaves nothing to learn of {total} rows")
        held += [example for example, out in zip(corpus.examples, mine, strict=True) if out]
        left.append(
            Corpus(
                [example for example, out in zip(corpus.examples, mine, strict=True) if not out],
                corpus.weight,
                [name for name, out in zip(corpus.names, mine, strict=True) if not out],
            )
        )
    return left, held
