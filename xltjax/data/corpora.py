"""Data sources as tokenized examples: which of their rows are learned, and which are kept for validation."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import Literal

import numpy as np

from xltjax.common.errors import UserError
from xltjax.data.formats import NO_COLUMNS, Row, read_rows
from xltjax.data.reading.report import RowReport
from xltjax.data.tokenizer import ChatTokenizer, Tokens

Overlong = Literal["skip", "truncate", "error"]


@dataclass(frozen=True)
class Corpus:
    """The examples of one data source.

    Attributes:
        examples: the tokenized examples.
        weight: how often examples are drawn from this corpus, relative to the weights of the others.
        names: where each example comes from, such as ``d.jsonl, line 3``; empty when the examples do not come
            from rows.
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
    *,
    split: str = "",
    default: str = "train",
    report: RowReport | None = None,
    columns: Mapping[str, str] = NO_COLUMNS,
) -> tuple[list[Corpus], int]:
    """Read and tokenize ``sources``.

    Args:
        sources: files, directories, glob patterns or dataset ids, as ``formats.read_rows`` takes them.
        weights: the relative weight of each source; the number of its examples when there are no weights.
        tokenizer: the tokenizer with its chat template.
        max_length: the largest number of tokens of an example.
        overlong: whether longer examples are skipped, truncated to ``max_length`` tokens, or an error.
        split: see ``reading.files.choose_files``.
        default: see ``reading.files.choose_files``.
        report: learns of the rows that are not learned; without it the first bad row is an error.
        columns: see ``formats.read_rows``.

    Returns:
        The corpora, and how many examples were longer than ``max_length``.

    Raises:
        UserError: when the weights do not fit the sources, a source has no usable example, a row cannot be used, or
            an example is too long and ``overlong`` is ``error``.
    """
    check_weights(weights, sources)
    report = report or RowReport()
    corpora, total_long = [], 0
    for index, source in enumerate(sources):
        kept, long = _learnable(
            writable(read_rows(source, report, split, default, columns), tokenizer, report),
            tokenizer, source, max_length, overlong, report,
        )  # fmt: skip
        total_long += long
        names = [row.place for row, _ in kept]
        weight = weights[index] if weights else len(kept)
        corpora.append(Corpus([example for _, example in kept], weight, names))
    return corpora, total_long


def writable(rows: Iterable[Row], tokenizer: ChatTokenizer, report: RowReport) -> Iterator[Row]:
    """A stream of the rows that the chat template can write, without tools when it does not write tools.

    Raises:
        UserError: for a row that it cannot write, when ``report`` stops at bad rows.
    """
    for row in rows:
        if row.conversation[0].role == "tools" and not tokenizer.writes_tools:
            report.note(row.path, f"tools are not read, as the chat template {tokenizer.template!r} has none")
            row = replace(row, conversation=row.conversation[1:])
        try:
            tokenizer.check(row.conversation)
        except UserError as problem:
            report.bad(row.path, row.place, str(problem))
        else:
            yield row


def _learnable(
    rows: Iterable[Row],
    tokenizer: ChatTokenizer,
    source: str,
    max_length: int,
    overlong: Overlong,
    report: RowReport,
) -> tuple[list[tuple[Row, Tokens]], int]:
    """The rows that are short enough, or truncated, and have something to learn; and how many were too long."""
    rows = list(rows)
    examples = tokenizer.examples([row.conversation for row in rows])
    kept, too_long = [], 0
    for row, example in zip(rows, examples, strict=True):
        length = len(example.ids)
        if length > max_length:
            too_long += 1
            if overlong == "error":
                raise UserError(
                    f"{row.place} has {length} tokens, more than {max_length}; "
                    "give --overlong skip or --overlong truncate to accept such rows"
                )
            if overlong == "skip":
                report.left_out(row.path, row.place, f"{length} tokens, more than {max_length}")
                continue
            example = Tokens(example.ids[:max_length], example.loss_mask[:max_length])
        # The first token is never a target.
        if example.loss_mask[1:].any():
            kept.append((row, example))
        else:
            report.left_out(row.path, row.place, f"no answer among the first {max_length} tokens")
    if not kept:
        report.log()
        raise UserError(
            f"{source}: none of its rows is usable: each has more than {max_length} tokens, no answer, or cannot be "
            "read"
        )
    return kept, too_long


def check_weights(weights: Sequence[float], sources: Sequence[str]) -> None:
    """Refuse weights that do not fit the data sources.

    Raises:
        UserError: saying why.
    """
    if weights and len(weights) != len(sources):
        raise UserError(f"data_weights has {len(weights)} numbers for {len(sources)} data sources")
    if not all(weight > 0 and math.isfinite(weight) for weight in weights):
        raise UserError("data_weights must be positive")


def draw_rows(corpora: Sequence[Corpus], count: int, seed: int, *, weighted: bool) -> list[Corpus]:
    """``count`` examples, drawn uniformly from the examples of all corpora; of others with another seed.

    Args:
        corpora: the corpora.
        count: how many examples are wanted.
        seed: the seed of the draw.
        weighted: whether the corpora keep their weights, which are otherwise the numbers of their examples.

    Raises:
        UserError: when there are fewer examples, or a corpus would have none left.
    """
    total = sum(len(corpus.examples) for corpus in corpora)
    if count > total:
        raise UserError(
            f"rows: {count} requested, but the data have only {total} usable rows; give at most {total}"
        )
    found = []
    for corpus, drawn in zip(corpora, _draw(corpora, count, (seed, total, count)), strict=True):
        if not drawn.any():
            raise UserError(
                f"rows: {count} of {total} rows leave one of the data sources without any; give more"
            )
        found.append(_subset(corpus, drawn, corpus.weight if weighted else int(drawn.sum())))
    return found


def split_validation(corpora: Sequence[Corpus], count: int, seed: int) -> tuple[list[Corpus], list[Tokens]]:
    """Set ``count`` examples aside for validation, drawn uniformly from the examples of all corpora.

    Returns:
        The corpora without these examples, and the examples.

    Raises:
        UserError: when a corpus would have no example left.
    """
    total = sum(len(corpus.examples) for corpus in corpora)
    training: list[Corpus] = []
    validation: list[Tokens] = []
    for corpus, drawn in zip(corpora, _draw(corpora, count, (seed, total)), strict=True):
        if drawn.all():
            raise UserError(f"--validation-rows {count} leaves nothing to learn of {total} rows")
        validation += compress(corpus.examples, drawn)
        training.append(_subset(corpus, ~drawn, corpus.weight))
    return training, validation


def _draw(corpora: Sequence[Corpus], count: int, seed: tuple[int, ...]) -> list[np.ndarray]:
    """For each corpus, which of its examples are among ``count`` that are drawn uniformly from those of all."""
    sizes = [len(corpus.examples) for corpus in corpora]
    drawn = np.zeros(sum(sizes), bool)
    drawn[np.random.default_rng(seed).permutation(len(drawn))[:count]] = True
    return np.split(drawn, np.cumsum(sizes[:-1]))


def _subset(corpus: Corpus, chosen: np.ndarray, weight: float) -> Corpus:
    """The examples of a corpus for which ``chosen`` is true."""
    return Corpus(list(compress(corpus.examples, chosen)), weight, list(compress(corpus.names, chosen)))
