"""Schedules against their formulas."""

from __future__ import annotations

import numpy as np
import pytest

from xltjax.optimizer import make_schedule


def rate(name: str, n: int, **changes: float) -> float:
    values = {"end": 1e-6, "steps": 1000, "timescale": 1.0, "warmup": 0, **changes}
    return float(make_schedule(name, **values)(n, 1e-5))  # type: ignore[arg-type]


@pytest.mark.parametrize("n", [1, 2, 4, 1000])
def test_learning_rate_of_each_schedule_is_its_formula(n: int) -> None:
    assert rate("inverse_sqrt", n) == pytest.approx(1e-5 / np.sqrt(n), rel=1e-6)
    assert rate("inverse_sqrt", n, timescale=100) == pytest.approx(1e-5 * np.sqrt(100 / (99 + n)), rel=1e-6)
    assert rate("linear", n) == pytest.approx(1e-5 - 9e-6 * (n - 1) / 1000, rel=1e-5)
    cosine = 1e-6 + 9e-6 * (1 + np.cos(np.pi * (n - 1) / 1000)) / 2
    assert rate("cosine", n) == pytest.approx(cosine, rel=1e-5)
    assert rate("constant", n) == pytest.approx(1e-5, rel=1e-6)
    assert rate("constant", n, warmup=10) == pytest.approx(1e-5 * min(n / 10, 1), rel=1e-6)


def test_released_schedule_gives_the_rates_of_the_authors_code() -> None:
    expected = {1: 1.000e-5, 2: 9.991e-6, 4: 9.973e-6, 500: 5.509e-6, 1000: 1.009e-6}
    for n, value in expected.items():
        assert rate("linear", n) == pytest.approx(value, abs=5e-10)


def test_paper_schedule_halves_by_the_fourth_update() -> None:
    assert [rate("inverse_sqrt", n) for n in (1, 2, 4, 1000)] == pytest.approx(
        [1e-5, 7.0711e-6, 5e-6, 3.1623e-7], rel=1e-4
    )
