"""What is rated and in which order: stratified, blinded, balanced, with repeats that come late enough."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest
from scipy.stats import chi2

from xltjax.common.errors import UserError
from xltjax.data.responses import Response
from xltjax.eval.people.plan import (
    Item,
    fingerprint,
    instruction_key,
    key_rows,
    refuse_duplicates,
    sample_instructions,
    sheet_items,
)

MODELS = ("alpha", "beta", "gamma")


def answers(
    count: int = 6, models: Sequence[str] = MODELS, languages: Sequence[str] = ("en", "fr")
) -> list[Response]:
    return [
        Response(
            f"q{number}-{language}", model, language, f"task {number % 3}", f"Q {number} in {language}",
            f"A {number} of {model}", instruction_id=f"q{number}",
        )
        for language in languages
        for number in range(count)
        for model in models
    ]  # fmt: skip


def plan(
    responses: Sequence[Response], seed: int = 0, repeats: int = 0, all_of: str = "", count: int = 6
) -> list[Item]:
    sample = sample_instructions(responses, count, seed)
    return sheet_items(
        responses, sample, language="en", annotator=1, seed=seed, all_of=all_of, repeats=repeats
    )


def independent(table: dict[tuple[object, object], int]) -> float:
    """The p-value of Pearson's chi-square test of a table of counts."""
    rows, columns = ({key[side] for key in table} for side in (0, 1))
    total = sum(table.values())
    by_row = {row: sum(table.get((row, each), 0) for each in columns) for row in rows}
    by_column = {each: sum(table.get((row, each), 0) for row in rows) for each in columns}
    statistic = sum(
        (table.get((row, each), 0) - (expected := by_row[row] * by_column[each] / total)) ** 2 / expected
        for row in rows
        for each in columns
    )
    return float(chi2.sf(statistic, (len(rows) - 1) * (len(columns) - 1)))


def test_over_a_thousand_seeds_order_and_ids_say_nothing_about_the_model() -> None:
    responses = answers()
    tables: dict[str, Counter[tuple[object, object]]] = {
        name: Counter() for name in ("place", "first digit", "last digit", "place of a repeat", "before")
    }
    for seed in range(1000):
        items = plan(responses, seed, repeats=3)
        shown = [item for item in items if not item.repeat_of]
        for place, item in enumerate(shown):
            model = item.response.model
            tables["place"][place, model] += 1
            tables["first digit"][item.id[0], model] += 1
            tables["last digit"][item.id[-1], model] += 1
        for place, item in enumerate(items):
            if item.repeat_of:
                tables["place of a repeat"][place, item.response.model] += 1
        # The model of the very first item must be any, too: the balance alone would not tell.
        tables["before"][seed % 2, shown[0].response.model] += 1
    assert {name: p for name, table in tables.items() if (p := independent(dict(table))) < 0.001} == {}
    first = Counter(
        model for (place, model), count in tables["place"].items() for _ in range(count) if place == 0
    )
    assert all(abs(count - 1000 / 3) < 4 * (1000 * 2 / 9) ** 0.5 for count in first.values())


def test_a_biased_order_is_found_by_the_same_test() -> None:
    table: Counter[tuple[object, object]] = Counter()
    for seed in range(1000):
        items = plan(answers(), seed)
        items.sort(key=lambda item: item.response.model == "beta" and seed % 10 == 0)
        for place, item in enumerate(items):
            table[place, item.response.model] += 1
    assert independent(dict(table)) < 1e-6


def test_each_model_is_met_equally_often_early_and_no_instruction_follows_itself() -> None:
    for seed in range(50):
        items = plan(answers(), seed, repeats=4)
        keys = [instruction_key(item.response) for item in items]
        assert all(one != other for one, other in itertools.pairwise(keys))
        shown = [item.response.model for item in items if not item.repeat_of]
        for turn in range(0, len(shown), 6):
            assert Counter(shown[turn : turn + 6]) == dict.fromkeys(MODELS, 2)


@pytest.mark.parametrize("size", [2, 3, 6, 10])
def test_a_repeat_shows_the_same_answer_a_third_of_the_sheet_later(size: int) -> None:
    for seed in range(30):
        items = plan(answers(10), seed, repeats=5, count=size)
        first = {item.id: place for place, item in enumerate(items)}
        again = [(place, item) for place, item in enumerate(items) if item.repeat_of]
        assert len({item.id for item in items}) == len(items)
        assert len(again) <= 5
        for place, item in again:
            assert item.response == items[first[item.repeat_of]].response
            assert place - first[item.repeat_of] >= size * len(MODELS) / 3
        if size > 3:
            assert len(again) == 5
            assert max(Counter(item.response.model for _, item in again).values()) == 2


def test_repeats_that_find_no_place_are_fewer_not_closer() -> None:
    items = plan(answers(2, models=("alpha",)), repeats=5, count=2)
    assert [item.repeat_of for item in items if item.repeat_of] in ([], [items[0].id])
    assert len(items) < 7


def test_all_answers_of_one_model_are_the_papers_295() -> None:
    responses = [
        each
        for each in answers(115, [f"model {number}" for number in range(7)], ["en"])
        if each.model == "model 0" or int(each.instruction_id[1:]) < 113
    ]
    items = plan(responses, all_of="model 0", count=30)
    assert len(items) == 7 * 30 + 85 == 295
    places = [place for place, item in enumerate(items) if item.response.model == "model 0"]
    assert len(places) == 115
    assert 100 < sum(places) / len(places) < 190  # strewn in, not put at one end


def test_the_sample_is_the_same_in_every_language_and_even_over_tasks() -> None:
    responses = answers(9)
    sample = sample_instructions(responses, 6, 3)
    assert Counter(int(key[1:]) % 3 for key in sample) == {0: 2, 1: 2, 2: 2}
    assert sample == sample_instructions(responses[::-1], 6, 3)
    assert len({tuple(sample_instructions(responses, 6, seed)) for seed in range(20)}) > 10


def test_an_order_needs_more_than_the_seed() -> None:
    responses = answers()
    other = [replace(each, response=f"{each.response}.") for each in responses]
    assert fingerprint(responses) != fingerprint(other)
    assert [item.id for item in plan(responses)] == [item.id for item in plan(responses[::-1])]
    assert [item.id for item in plan(responses)] != [item.id for item in plan(other)]


def test_two_answers_that_stand_for_the_same_are_refused() -> None:
    responses = answers()
    with pytest.raises(
        UserError, match=r"the model 'beta' answers the instruction 'q2' in 'fr' twice, as 'q2-fr'"
    ):
        refuse_duplicates([*responses, Response("again", "beta", "fr", instruction="Q", instruction_id="q2")])
    refuse_duplicates(
        [*responses, replace(responses[0], id="short", modifier={"name": "shorter", "params": {}})]
    )


def test_too_few_common_instructions_are_counted() -> None:
    with pytest.raises(
        UserError, match=r"every model answered only 5 instructions in every language: ask for"
    ):
        sample_instructions(answers()[1:], 6, 0)
    untied = [replace(each, instruction_id="") for each in answers()]
    with pytest.raises(UserError, match=r"only 0 instructions .* give the rows an instruction_id"):
        sample_instructions(untied, 6, 0)


def test_the_key_tells_everything_and_the_items_nothing() -> None:
    items = plan(answers(), repeats=2)
    rows = key_rows(items, sheet="abc", language="en", annotator=1)
    assert [row["item"] for row in rows] == [item.id for item in items]
    assert {row["model"] for row in rows} == set(MODELS)
    assert sum(bool(row["repeat_of"]) for row in rows) == 2
