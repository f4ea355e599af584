"""The plan of a human evaluation: the sample, the blinded order, the repeats and the key."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from scipy import stats

from xltjax.common.errors import UserError
from xltjax.data.responses import Response
from xltjax.eval.people.plan import instruction_key, key_rows, sample_instructions, sheet_items

MODELS = [f"model-{letter}" for letter in "abcdefg"]


def study(instructions=113, models=MODELS, languages=("en", "fr")):
    return [
        Response(
            id=f"{number}",
            model=model,
            language=language,
            task=f"task-{number % 25}",
            instruction_id=f"{number}",
        )
        for language in languages
        for model in models
        for number in range(instructions)
    ]


def test_the_sample_takes_every_task_once_before_any_twice_and_only_what_all_answered():
    responses = [each for each in study() if (each.model, each.id, each.language) != ("model-a", "7", "fr")]
    chosen = sample_instructions(responses, 30, seed=0)
    tasks = Counter(int(key) % 25 for key in chosen)
    assert len(set(chosen)) == 30
    assert len(tasks) == 25
    assert max(tasks.values()) == 2
    assert "7" not in sample_instructions(responses, 112, seed=0)
    assert (
        chosen
        == sample_instructions(responses[::-1], 30, seed=0)
        != sample_instructions(responses, 30, seed=1)
    )
    with pytest.raises(UserError, match="answered only 112"):
        sample_instructions(responses, 113, seed=0)


@pytest.mark.parametrize("seed", range(20))
def test_a_sheet_of_the_paper_has_no_two_answers_to_one_instruction_adjacent(seed):
    responses = study()
    chosen = sample_instructions(responses, 30, seed)
    items = sheet_items(
        responses, chosen, language="fr", annotator=1, seed=seed, all_of="model-c", repeats=29
    )
    keys = [instruction_key(each.response) for each in items]
    assert all(first != second for first, second in itertools.pairwise(keys))
    firsts = [each for each in items if not each.repeat_of]
    assert len(firsts) == 7 * 30 + 83
    assert len({each.response.key for each in firsts}) == len(firsts)
    place = {each.id: at for at, each in enumerate(items)}
    assert len(place) == len(items) == len(firsts) + 29
    for each in items:
        if each.repeat_of:
            assert place[each.repeat_of] < place[each.id]
            assert items[place[each.repeat_of]].response == each.response


def test_neither_order_nor_ids_say_anything_about_the_model_over_a_thousand_seeds():
    responses = study(instructions=10, languages=("en",))
    keys = [str(number) for number in range(10)]
    early, first, digits = Counter(), Counter(), {model: Counter() for model in MODELS}
    for seed in range(1000):
        items = sheet_items(responses, keys, language="en", annotator=1, seed=seed)
        first[items[0].response.model] += 1
        counts = Counter(each.response.model for each in items[:10])
        assert set(counts) == set(MODELS)
        assert max(counts.values()) <= 2
        early.update(counts)
        for each in items:
            digits[each.response.model][each.id[0]] += 1
    assert stats.chisquare([first[model] for model in MODELS]).pvalue > 1e-3
    assert stats.chisquare([early[model] for model in MODELS]).pvalue > 1e-3
    table = [[digits[model][digit] for digit in "0123456789abcdef"] for model in MODELS]
    assert stats.chi2_contingency(table).pvalue > 1e-3


def test_annotators_get_the_same_answers_in_other_orders_under_other_ids():
    responses = study(instructions=10)
    one, two = (
        sheet_items(responses, ["1", "2", "3"], language="en", annotator=number, seed=0) for number in (1, 2)
    )
    assert {each.response.key for each in one} == {each.response.key for each in two}
    assert [each.response.key for each in one] != [each.response.key for each in two]
    assert not {each.id for each in one} & {each.id for each in two}
    rows = key_rows(one, sheet="hash", language="en", annotator=1)
    assert [(row["item"], row["model"], row["id"]) for row in rows] == [
        (each.id, each.response.model, each.response.id) for each in one
    ]


def test_a_model_that_did_not_answer_cannot_be_the_one_rated_in_full():
    with pytest.raises(UserError, match="--all-of other"):
        sheet_items(study(10), ["1", "2"], language="en", annotator=1, seed=0, all_of="other")
