"""The split of the instructions and the choice of a setting, by hand to the last digit."""

from __future__ import annotations

import hashlib
import random
from collections import Counter

import numpy as np
import pytest

from xltjax.eval.stats.intervals import Interval, resample
from xltjax.eval.stats.selection import Setting, choose, split_instructions

TASKS = {f"q{k:03d}": f"task-{k % 25}" for k in range(113)}


@pytest.mark.parametrize("share", [0.1, 0.3, 1 / 3, 0.5, 0.8])
def test_each_task_gives_its_part_to_the_split(share: float) -> None:
    taken = split_instructions(TASKS, share)
    assert len(taken) == int(share * 113 + 0.5)
    sizes, found = Counter(TASKS.values()), Counter(TASKS[name] for name in taken)
    assert all(abs(found[task] - share * size) < 1 for task, size in sizes.items())


def test_the_split_depends_on_names_tasks_share_and_seed_alone() -> None:
    shuffled = list(TASKS.items())
    random.Random(0).shuffle(shuffled)
    assert split_instructions(dict(shuffled), 0.3) == split_instructions(TASKS, 0.3)
    assert split_instructions(TASKS, 0.3, seed=1) != split_instructions(TASKS, 0.3)
    # It is part of the format: the split of a study must not change with a version. Of five in the order of their
    # tasks and hashes, every second or third is taken for .4: the second and the fourth.
    tasks = {"a": "t", "b": "t", "c": "t", "d": "u", "e": "u"}
    ordered = sorted(
        tasks, key=lambda k: (tasks[k], hashlib.blake2b(f"0 {k}".encode(), digest_size=16).digest())
    )
    assert split_instructions(tasks, 0.4) == {ordered[1], ordered[3]}


def cells(*languages: list[float]) -> list[dict[str, float]]:
    """One cell for each language; the items of an instruction are its translations."""
    return [
        {f"{k}-{place}": value for k, value in enumerate(values)} for place, values in enumerate(languages)
    ]


CLUSTER = {f"{k}-{place}": str(k) for k in range(6) for place in range(2)}
LOW = cells([1, 0, 0, 1, 0, 0], [0, 0, 1, 0, 0, 0])
GOOD = cells([1, 1, 1, 0, 1, 0], [1, 0, 1, 1, 0, 0])
HIGH = cells([1, 1, 0, 0, 1, 1], [0, 1, 1, 0, 0, 1])
SPELLED = {1e-6: [0.5] * 6, 1e-5: [0.75] * 6, 1e-4: [0.5, 1, 0.5, 1, 0.5, 0.5]}


def settings() -> dict[float, Setting]:
    return {
        rate: Setting([value], [cells(SPELLED[rate], SPELLED[rate])])
        for rate, value in ((1e-4, HIGH), (1e-6, LOW), (1e-5, GOOD))
    }


def test_the_choice_and_its_bootstrap_equal_those_by_hand_to_the_last_digit() -> None:
    resamples = resample(map(str, range(6)), draws=300, seed=2)
    found = choose(settings(), resamples, cluster=CLUSTER)
    # 4/6 + 3/6 against 4/6 + 3/6: equal values, so that spelling decides, .75 against .667.
    assert {rate: ranked.value.estimate for rate, ranked in found.items()} == {
        1e-6: (2 / 6 + 1 / 6) / 2,
        1e-5: (4 / 6 + 3 / 6) / 2,
        1e-4: (4 / 6 + 3 / 6) / 2,
    }
    assert [rate for rate, ranked in found.items() if ranked.chosen] == [1e-5]
    assert (found[1e-5].tie, found[1e-4].tie) == (0.75, 4 / 6)

    draws: dict[float, list[float]] = {rate: [] for rate in found}
    wins: Counter[float] = Counter()
    for row in np.random.default_rng(2).random((300, 5)):
        drawn = [int(6 * u) for u in row]
        results = {}
        for rate, values in ((1e-6, LOW), (1e-5, GOOD), (1e-4, HIGH)):
            means = [sum(cell[f"{k}-{place}"] for k in drawn) / 5 for place, cell in enumerate(values)]
            draws[rate].append(sum(means) / 2)
            spelled = sum(SPELLED[rate][k] for k in drawn) / 5
            results[rate] = (round(draws[rate][-1], 12), round(spelled, 12), -rate)
        wins[max(results, key=results.__getitem__)] += 1
    for rate, ranked in found.items():
        assert ranked.wins == wins[rate] / 300
        low, high = np.quantile(draws[rate], [0.025, 0.975])
        assert (ranked.value.low, ranked.value.high) == (low, high)
        gaps = np.array(draws[1e-5]) - np.array(draws[rate])
        low, high = np.quantile(gaps, [0.025, 0.975])
        assert (ranked.behind.low, ranked.behind.high) == (low, high)
    assert found[1e-5].behind == Interval(0.0, 0.0, 0.0, 12, 12)


def test_seeds_are_averaged_and_shown() -> None:
    two = {1e-5: Setting([GOOD, LOW], [GOOD, GOOD]), 1e-4: Setting([HIGH], [HIGH])}
    found = choose(two, resample(map(str, range(6)), draws=10), cluster=CLUSTER)
    assert found[1e-5].seeds == ((4 / 6 + 3 / 6) / 2, (2 / 6 + 1 / 6) / 2)
    assert found[1e-5].value.estimate == sum(found[1e-5].seeds) / 2
    assert found[1e-4].chosen


def test_the_worst_language_can_decide() -> None:
    even, uneven = cells([0.5] * 6, [0.5] * 6), cells([1.0] * 6, [0.25] * 6)
    both = {1e-5: Setting([even], [even]), 1e-4: Setting([uneven], [even])}
    resamples = resample(map(str, range(6)), draws=10)
    assert choose(both, resamples, cluster=CLUSTER)[1e-4].chosen
    worst = choose(both, resamples, cluster=CLUSTER, over=np.min)
    assert (worst[1e-5].value.estimate, worst[1e-4].value.estimate, worst[1e-5].chosen) == (0.5, 0.25, True)


def test_of_equal_settings_the_lower_one_is_chosen_always() -> None:
    same = {rate: Setting([GOOD], [GOOD]) for rate in (1e-4, 1e-6, 1e-5)}
    found = choose(same, resample(map(str, range(6)), draws=50), cluster=CLUSTER)
    assert [(rate, ranked.wins) for rate, ranked in found.items()] == [(1e-6, 1.0), (1e-5, 0.0), (1e-4, 0.0)]


def test_a_setting_without_scores_is_refused() -> None:
    empty = {1e-5: Setting([[{}]], [[{}]])}
    with pytest.raises(ValueError, match="no scores"):
        choose(empty, resample("ab"))
