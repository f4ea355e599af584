"""The data of a run as tokenized examples: what is learned, and what the validation loss is measured on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from xltjax.data.corpora import Corpus, draw_rows, load_corpora, split_validation
from xltjax.data.formats import training_columns
from xltjax.data.packing import PackedData
from xltjax.data.reading.files import find_files
from xltjax.data.reading.report import RowReport
from xltjax.data.tokenizer import ChatTokenizer, Tokens
from xltjax.training.config import TrainConfig

log = logging.getLogger("xltjax")


@dataclass(frozen=True)
class Examples:
    """The tokenized data.

    Attributes:
        learned: what is learned.
        packed: the batches of what is learned.
        validation: what the validation loss is measured on.
        report: the rows that are neither.
    """

    learned: list[Corpus]
    packed: PackedData
    validation: list[Tokens]
    report: RowReport


class ReadCorpora(NamedTuple):
    """The training data, tokenized.

    Attributes:
        learned: what is learned.
        set_aside: the rows for validation (``--validation-rows``).
        too_long: how many examples are longer than a row.
    """

    learned: list[Corpus]
    set_aside: list[Tokens]
    too_long: int


def read_examples(config: TrainConfig, sources: Sequence[str], tokenizer: ChatTokenizer) -> Examples:
    """Read and tokenize the data in ``sources``, and set the validation examples aside.

    Raises:
        UserError: for data that cannot be used.
    """
    report = RowReport(config.bad_rows)
    learned, validation, too_long = read_corpora(config, sources, tokenizer, report)
    longest = config.longest_example()
    if config.validation_data:
        _warn_of_shared_files(config, sources)
        others, _ = load_corpora(
            config.validation_data, (), tokenizer, longest, config.overlong, default="validation", report=report,
            columns=training_columns(config.columns),
        )  # fmt: skip
        validation += [example for corpus in others for example in corpus.examples]
    report.log()
    if too_long:
        log.info("%d examples are longer than %d tokens: %s", too_long, longest, config.overlong)
    return Examples(learned, pack(config, learned), validation, report)


def read_corpora(
    config: TrainConfig, sources: Sequence[str], tokenizer: ChatTokenizer, report: RowReport
) -> ReadCorpora:
    """Read and tokenize the training data alone; ``report`` learns of the rows that are not learned.

    Raises:
        UserError: for data that cannot be used.
    """
    corpora, too_long = load_corpora(
        sources, config.data_weights, tokenizer, config.longest_example(), config.overlong, split=config.split,
        report=report, columns=training_columns(config.columns),
    )  # fmt: skip
    if config.rows:
        corpora = draw_rows(corpora, config.rows, config.seed, weighted=bool(config.data_weights))
    set_aside: list[Tokens] = []
    if config.validation_rows:
        corpora, set_aside = split_validation(corpora, config.validation_rows, config.seed)
    return ReadCorpora(corpora, set_aside, too_long)


def pack(config: TrainConfig, corpora: Sequence[Corpus]) -> PackedData:
    """The batches of a run. With ``epochs``, an example comes hardly more often than another."""
    return PackedData(corpora, config.batch_shape(), config.seed, even=bool(config.epochs))


def _warn_of_shared_files(config: TrainConfig, sources: Sequence[str]) -> None:
    """Say which files are both learned and used for the validation loss, which then means little."""
    learned = {path.resolve() for source in sources for path in find_files(source, config.split)}
    measured = {
        path for source in config.validation_data for path in find_files(source, default="validation")
    }
    for path in sorted(path for path in measured if path.resolve() in learned):
        log.warning("warning: %s is used for both training and validation", path)
