"""One row of the data as the run would learn it: its tokens, and where its answers begin and end."""

from __future__ import annotations

from collections.abc import Iterator

from xltjax.common.errors import UserError
from xltjax.data.corpora import writable
from xltjax.data.formats import Row, read_rows, training_columns
from xltjax.data.reading.report import RowReport
from xltjax.data.tokenizer import ChatTokenizer, Tokens
from xltjax.training.config import TrainConfig


def show_example(config: TrainConfig, tokenizer: ChatTokenizer) -> None:
    """Print the row ``config.show_example`` of the data, counted from 1 over all sources.

    Raises:
        UserError: when there is no such row, it is not learned, or the token that ends an answer is not learned.
    """
    report = RowReport("skip")
    row = _find(config, tokenizer, report)
    (example,) = tokenizer.examples([row.conversation])
    length, most = len(example.ids), config.longest_example()
    if length > most and config.overlong != "truncate":
        raise UserError(
            f"{row.place} is not learned: it has {length} tokens, more than {most}; see --overlong"
        )
    example = Tokens(example.ids[:most], example.loss_mask[:most])
    print(
        f"{row.place}: {length} tokens, {int(example.loss_mask.sum())} of them learned; "
        f"chat template {tokenizer.template}, end token {tokenizer.eos} {tokenizer.token_text(tokenizer.eos)!r}"
    )
    spans = list(_spans(example))
    begins, ends = {begin for begin, _ in spans}, {end - 1 for _, end in spans}
    for index, (token, learned) in enumerate(zip(example.ids.tolist(), example.loss_mask, strict=True)):
        notes = [
            text for text, marked in (("answer begins", begins), ("answer ends", ends)) if index in marked
        ]
        line = f"{index:>6} {token:>7}  {'learned' if learned else '-':<7}  {tokenizer.token_text(token)!r}"
        print(line + (f"  <- {', '.join(notes)}" if notes else ""))
    report.log()
    if not spans:
        raise UserError(f"{row.place}: nothing is learned, as the answer is cut off after {most} tokens")
    for begin, end in spans:
        if int(example.ids[end - 1]) not in tokenizer.ends:
            why = (
                f"the row is cut off after {most} tokens" if length > most else "the template has none there"
            )
            raise UserError(
                f"{row.place}: the answer that begins at token {begin} does not teach the model to stop, as no end "
                f"token is learned ({why}); use a larger --max-length or another --template"
            )


def _spans(example: Tokens) -> Iterator[tuple[int, int]]:
    """(begin, end) of every run of learned tokens; ``end`` is the index after the last one."""
    begin = None
    for index, learned in enumerate([*example.loss_mask, False]):
        if learned and begin is None:
            begin = index
        elif not learned and begin is not None:
            yield begin, index
            begin = None


def _find(config: TrainConfig, tokenizer: ChatTokenizer, report: RowReport) -> Row:
    """The requested row; rows after it are not read.

    Raises:
        UserError: when there is none, or it is not learned.
    """
    wanted, count, known = config.show_example, 0, 0
    for source in config.data:
        found = read_rows(source, report, config.split, columns=training_columns(config.columns))
        rows = writable(found, tokenizer, report)
        while True:
            row = next(rows, None)
            passed = report.skipped[known:]  # the rows before this one that are not learned
            known += len(passed)
            if wanted <= count + len(passed):
                _, place, reason = passed[wanted - count - 1]
                raise UserError(f"{place} is not learned: {reason}")
            count += len(passed)
            if row is None:
                break
            count += 1
            if count == wanted:
                return row
    raise UserError(f"--show-example {wanted}: the data has only {count} rows")
