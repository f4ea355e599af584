"""Packing: what goes in comes out, once, in place, the same at every step however it is asked for."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xltjax.common.errors import UserError
from xltjax.data.corpora import Corpus, load_corpora
from xltjax.data.packing import LOOKAHEAD, Batch, BatchShape, PackedData
from xltjax.data.reading.report import RowReport
from xltjax.data.tokenizer import ChatTokenizer, Tokens
from xltjax.miniature.text import instruction_rows
from xltjax.training.config import TrainConfig
from xltjax.training.epochs import epochs_of_sources, passes
from xltjax.training.examples import read_examples

ARRAYS = ("tokens", "targets", "loss_mask", "segment_ids", "positions")
SHAPE = BatchShape(micro_batches=2, rows=4, length=32, tokens=100)


def make_examples(lengths: Sequence[int], first: int = 0) -> list[Tokens]:
    """Examples whose tokens tell which example they are of (the thousands) and where they stand in it."""
    examples = []
    for index, length in enumerate(lengths, start=first):
        learned = np.arange(length) >= max(1, length // 2)
        examples.append(Tokens((1000 * (index + 1) + np.arange(length)).astype(np.int32), learned))
    return examples


def pack(lengths: Sequence[int], shape: BatchShape = SHAPE, seed: int = 0) -> PackedData:
    return PackedData([Corpus(make_examples(lengths), 1.0)], shape, seed)


def segments(batch: Batch) -> list[tuple[np.ndarray, ...]]:
    """(inputs, targets, loss mask, positions) of every segment, read from the arrays alone."""
    found = []
    for a, b in np.ndindex(batch.tokens.shape[:2]):
        for segment in range(1, batch.segment_ids[a, b].max() + 1):
            place = np.flatnonzero(batch.segment_ids[a, b] == segment)
            assert np.array_equal(place, np.arange(place[0], place[0] + len(place)))  # in one piece
            fields = (batch.tokens, batch.targets, batch.loss_mask, batch.positions)
            found.append(tuple(field[a, b, place] for field in fields))
    return found


LENGTHS = st.lists(st.integers(2, 33), min_size=1, max_size=40)


# One batch


@settings(max_examples=60, deadline=None)
@given(LENGTHS, st.integers(0, 3), st.integers(0, 5))
def test_examples_come_out_whole_in_place_and_within_the_budget(
    lengths: list[int], seed: int, step: int
) -> None:
    data = pack(lengths, seed=seed)
    examples = make_examples(lengths)
    batch = data.batch_at(step)
    assert batch.tokens.shape == (2, 4, 32)
    types = [field.dtype for field in (batch.tokens, batch.targets, batch.loss_mask, batch.segment_ids)]
    assert types == [np.int32, np.int32, np.float32, np.int32]
    for tokens, targets, mask, positions in segments(batch):
        example = examples[tokens[0] // 1000 - 1]
        np.testing.assert_array_equal(tokens, example.ids[:-1])
        np.testing.assert_array_equal(targets, example.ids[1:])
        np.testing.assert_array_equal(mask, example.loss_mask[1:])
        np.testing.assert_array_equal(positions, np.arange(len(tokens)))
    padding = batch.segment_ids == 0
    for field in (batch.tokens, batch.targets, batch.loss_mask, batch.positions):
        assert not field[padding].any()
    assert ((batch.segment_ids > 0).sum(axis=(1, 2)) <= SHAPE.tokens).all()
    named = [[index for row in micro for index in row] for micro in data.examples_at(step)]
    assert [t[0] // 1000 - 1 for t, *_ in segments(batch)] == [index for micro in named for index in micro]


@settings(max_examples=30, deadline=None)
@given(LENGTHS, st.lists(st.integers(0, 12), min_size=1, max_size=6), st.integers(0, 3), st.integers(1, 3))
def test_a_batch_depends_on_data_seed_and_step_alone(
    lengths: list[int], steps: list[int], first: int, count: int
) -> None:
    data = pack(lengths)
    for step in steps:
        batch = data.batch_at(step)
        fresh = pack(lengths).batch_at(step)
        part = data.batch_at(step, slice(first, first + count))
        for name in ARRAYS:
            np.testing.assert_array_equal(getattr(batch, name), getattr(fresh, name))
            np.testing.assert_array_equal(getattr(part, name), getattr(batch, name)[:, first : first + count])


@settings(max_examples=30, deadline=None)
@given(LENGTHS, st.integers(0, 3))
def test_no_row_has_more_segments_than_its_batch_declares_in_any_process(
    lengths: list[int], step: int
) -> None:
    data = PackedData([Corpus(make_examples(lengths), 1.0)], SHAPE, 0)
    data.count_segments = True
    batch = data.batch_at(step)
    ids = batch.segment_ids
    runs = 1 + (ids[..., 1:] != ids[..., :-1]).sum(axis=-1)
    assert runs.max() <= batch.segments <= 2 * (ids.max() + 1)
    assert batch.segments.bit_count() == 1  # a power of two, of which there are few
    assert data.batch_at(step, slice(1, 2)).segments == batch.segments
    assert pack(lengths).batch_at(step).segments == 0


def test_seeds_give_different_orders() -> None:
    lengths = [20] * 50
    orders = [str(pack(lengths, seed=seed).examples_at(0)) for seed in range(5)]
    assert len(set(orders)) == 5


@pytest.mark.parametrize(("mesh", "parts"), [("1x2", 1), ("2x1", 2), ("4x1", 4), ("2x2x1", 4), ("8x1", 8)])
def test_an_update_holds_the_same_examples_on_every_mesh(mesh: str, parts: int) -> None:
    config = TrainConfig(sequence_length=32, tokens_per_batch=60, accumulation=4)
    lengths = np.random.default_rng(0).integers(2, 33, 100).tolist()
    one = pack(lengths, config.batch_shape())
    split = pack(lengths, dataclasses.replace(config, mesh=mesh).batch_shape())
    for step in (0, 3):
        batch, expected = split.batch_at(step), one.batch_at(step)
        assert batch.tokens.shape[1] % parts == 0
        for name in ARRAYS:
            got, wanted = getattr(batch, name), getattr(expected, name)
            np.testing.assert_array_equal(got.reshape(-1, 32), wanted.reshape(-1, 32))


# Many batches


def dealt(data: PackedData, steps: int) -> Counter[int]:
    rows = [row for step in range(steps) for micro in data.examples_at(step) for row in micro]
    return Counter(index for row in rows for index in row)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(2, 33), min_size=1, max_size=60), st.integers(1, 60))
def test_no_example_is_lost_or_doubled_beyond_the_look_ahead(lengths: list[int], steps: int) -> None:
    counts = dealt(pack(lengths), steps)
    # What was drawn is what was dealt and what waits; a walk draws each example once per epoch.
    epochs = (sum(counts.values()) + LOOKAHEAD) / len(lengths)
    assert max(counts.values()) <= np.ceil(epochs)
    short = sum(max(0, int(np.floor(epochs)) - counts[index]) for index in range(len(lengths)))
    assert short <= LOOKAHEAD


def test_an_epoch_of_a_large_corpus_shows_every_example_once() -> None:
    lengths = np.random.default_rng(1).integers(2, 33, 3000).tolist()
    data, counts, steps = pack(lengths), Counter[int](), 0
    while sum(counts.values()) + LOOKAHEAD < 3000:
        counts += Counter(i for micro in data.examples_at(steps) for row in micro for i in row)
        steps += 1
    assert set(counts.values()) == {1}
    assert sum(counts.values()) >= 3000 - LOOKAHEAD - 100


def test_no_example_waits_forever() -> None:
    # One row a batch; an epoch is 5 rows of one long example and 125 of 16 short ones, which could go first.
    data = pack([33] * 5 + [3] * 2000, BatchShape(1, 1, 32, 32))
    counts = dealt(data, 150)
    assert all(counts[index] >= 1 for index in range(5))


def test_rows_are_well_filled() -> None:
    lengths = np.random.default_rng(2).integers(20, 400, 2000).tolist()
    data = pack(lengths, BatchShape(4, 2, 2048, 4000))
    used = sum(int((data.batch_at(step).segment_ids > 0).sum()) for step in range(20))
    assert used > 0.99 * 20 * 4 * 4000


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0, 1.0), (3.0, 1.0, 0.5, 0.5)])
def test_corpora_are_drawn_by_weight_whatever_their_size(weights: tuple[float, ...]) -> None:
    sizes = (400, 40, 1000, 7)
    random = np.random.default_rng(3)
    corpora, starts = [], []
    for size, weight in zip(sizes, weights, strict=True):
        starts.append(sum(len(corpus.examples) for corpus in corpora))
        corpora.append(Corpus(make_examples(random.integers(2, 33, size).tolist(), starts[-1]), weight))
    counts = dealt(PackedData(corpora, SHAPE, 0), 600)
    total = sum(counts.values())
    drawn = [sum(counts[s + i] for i in range(n)) for s, n in zip(starts, sizes, strict=True)]
    for got, weight in zip(drawn, weights, strict=True):
        share = weight / sum(weights)
        # Five standard errors of a multinomial draw, and what may wait.
        assert abs(got - total * share) < 5 * np.sqrt(total * share * (1 - share)) + LOOKAHEAD * share
    # Within a corpus every example comes equally often.
    for start, size in zip(starts, sizes, strict=True):
        each = [counts[start + i] for i in range(size)]
        assert max(each) - min(each) <= 1 + np.ceil(LOOKAHEAD / size)


def test_a_pinch_of_other_rows_has_its_share_of_the_rows_that_are_learned(
    tokenizer_directory: Path, tmp_path: Path
) -> None:
    rows = instruction_rows(0)
    english = write(tmp_path / "en.jsonl", *rows[:200])
    pinch = write(tmp_path / "pinch.jsonl", *rows[200:208])
    config = TrainConfig(
        data=(english, pinch), data_weights=(95, 5), tokens_per_batch=1024, sequence_length=256, steps=300
    )
    own = ChatTokenizer(tokenizer_directory)
    examples = read_examples(config, config.data, own)
    data = PackedData(examples.learned, config.batch_shape(), seed=0)
    names = [name for step in range(config.steps) for name in data.names_at(step)]
    counts = Counter("pinch.jsonl" in name for name in names)
    assert counts[True] / len(names) == pytest.approx(0.05, abs=5 * (0.05 * 0.95 / len(names)) ** 0.5)
    # The plan says before how often each row comes.
    seen_english, seen_pinch = epochs_of_sources(examples.learned, passes(config, examples.packed))
    assert counts[False] / 200 == pytest.approx(seen_english, rel=0.05)
    assert counts[True] / 8 == pytest.approx(seen_pinch, rel=0.15)
    assert seen_pinch == pytest.approx(seen_english * 5 / 95 * 200 / 8)


def test_an_example_that_fits_no_row_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="an example of 33 tokens does not fit"):
        pack([10, 34])
    with pytest.raises(ValueError, match="an example of 32 tokens does not fit"):
        pack([33], BatchShape(1, 4, 32, 31))


# Sources


@pytest.fixture(scope="module")
def tokenizer(tokenizer_directory: Path) -> ChatTokenizer:
    return ChatTokenizer(tokenizer_directory, "plain")


def write(path: Path, *rows: Any) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def row(answer: str) -> dict[str, str]:
    return {"instruction": "Say it.", "response": answer}


def length(tokenizer: ChatTokenizer, answer: str, tmp_path: Path) -> int:
    corpora, _ = load_corpora([write(tmp_path / "one.jsonl", row(answer))], (), tokenizer, 10_000)
    return len(corpora[0].examples[0].ids)


def test_overlong_rows_are_skipped_truncated_or_refused(tokenizer: ChatTokenizer, tmp_path: Path) -> None:
    long = "7" * 60
    source = write(tmp_path / "d.jsonl", row("7"), row(long), row("77"))
    limit = length(tokenizer, long, tmp_path) - 1
    assert load_corpora([source], (), tokenizer, limit + 1)[1] == 0

    (corpus,), too_long = load_corpora([source], (), tokenizer, limit)
    assert (len(corpus.examples), too_long, corpus.weight) == (2, 1, 2)

    (corpus,), too_long = load_corpora([source], (), tokenizer, limit, "truncate")
    assert (len(corpus.examples), too_long) == (3, 1)
    (whole,), _ = load_corpora([source], (), tokenizer, limit + 1)
    np.testing.assert_array_equal(corpus.examples[1].ids, whole.examples[1].ids[:limit])
    np.testing.assert_array_equal(corpus.examples[1].loss_mask, whole.examples[1].loss_mask[:limit])
    assert corpus.examples[1].ids[-1] != tokenizer.eos  # a cut answer does not teach to stop

    with pytest.raises(
        UserError, match=rf"line 2 has {limit + 1} tokens, more than {limit}; give --overlong skip"
    ):
        load_corpora([source], (), tokenizer, limit, "error")


def test_a_row_whose_answer_is_cut_off_teaches_nothing(tokenizer: ChatTokenizer, tmp_path: Path) -> None:
    long_question = {"instruction": "7" * 60, "response": "7"}
    source = write(tmp_path / "d.jsonl", row("7"), long_question)
    (corpus,), too_long = load_corpora([source], (), tokenizer, 40, "truncate")
    assert (len(corpus.examples), too_long) == (1, 1)
    with pytest.raises(UserError, match="none of its rows is usable"):
        load_corpora([write(tmp_path / "e.jsonl", long_question)], (), tokenizer, 40, "truncate")


def test_rows_without_an_answer_are_skipped_and_counted(
    tokenizer: ChatTokenizer,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = logging.getLogger("xltjax")
    monkeypatch.setattr(log, "handlers", [caplog.handler])
    monkeypatch.setattr(log, "propagate", False)
    question = {"conversations": ["q"]}
    source = write(tmp_path / "d.jsonl", row("7"), question, question, row(" "))
    report = RowReport()
    (corpus,), too_long = load_corpora([source], (), tokenizer, 100, report=report)
    assert (len(corpus.examples), too_long) == (1, 0)
    report.log()
    assert caplog.messages == [
        f"warning: {source}: skipped 2 rows: no answer",
        f"warning: {source}: skipped 1 row: an empty answer",
    ]


def test_sources_are_weighted_by_size_or_as_told(tokenizer: ChatTokenizer, tmp_path: Path) -> None:
    sources = [write(tmp_path / "a.jsonl", *[row("7")] * 3), write(tmp_path / "b.jsonl", row("7"))]
    corpora, _ = load_corpora(sources, (), tokenizer, 100)
    assert [(len(c.examples), c.weight) for c in corpora] == [(3, 3), (1, 1)]
    corpora, _ = load_corpora(sources, (0.5, 2.0), tokenizer, 100)
    assert [(len(c.examples), c.weight) for c in corpora] == [(3, 0.5), (1, 2.0)]


@pytest.mark.parametrize(
    ("weights", "reason"),
    [
        ((1.0,), "data_weights has 1 numbers for 2 data sources"),
        ((1.0, 0.0), "data_weights must be positive"),
        ((1.0, -1.0), "data_weights must be positive"),
        ((1.0, float("nan")), "data_weights must be positive"),
        ((1.0, float("inf")), "data_weights must be positive"),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    weights: tuple[float, ...], reason: str, tokenizer: ChatTokenizer
) -> None:
    with pytest.raises(UserError, match=reason):
        load_corpora(["a.jsonl", "b.jsonl"], weights, tokenizer, 100)


def test_a_source_of_overlong_rows_alone_is_refused(tokenizer: ChatTokenizer, tmp_path: Path) -> None:
    source = write(tmp_path / "d.jsonl", row("7" * 60), row("7" * 70))
    with pytest.raises(
        UserError, match="none of its rows is usable: each has more than 20 tokens, no answer"
    ):
        load_corpora([source], (), tokenizer, 20)
