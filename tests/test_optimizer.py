"""Schedules against their formulas; rounding against what it promises."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xltjax.training.optimizer import apply_updates, make_schedule, round_stochastically


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


def test_stochastic_rounding_takes_a_neighbour_and_is_right_on_average() -> None:
    values = np.array([1.0, 1.003, -2.71828, 3e-39, 1e30, 0.1], np.float32)
    many = jnp.asarray(np.repeat(values[:, None], 20_000, axis=1))
    rounded = np.asarray(round_stochastically(many, jax.random.key(3)).astype(jnp.float32), np.float64)
    down = np.asarray(many).view(np.uint32) & np.uint32(0xFFFF0000)
    low, high = down.view(np.float32), (down + np.uint32(1 << 16)).view(np.float32)
    assert ((rounded == low) | (rounded == high)).all()
    assert (rounded[0] == 1.0).all()  # what bfloat16 holds exactly stays
    spacing = np.abs(high.astype(np.float64) - low)[:, 0]
    np.testing.assert_array_less(np.abs(rounded.mean(axis=1) - values) / spacing, 5 * 0.5 / np.sqrt(20_000))
    odd = jnp.array([jnp.inf, -jnp.inf, jnp.nan], jnp.float32)
    np.testing.assert_array_equal(
        round_stochastically(odd, jax.random.key(0)).astype(jnp.float32), np.asarray(odd)
    )


def test_small_updates_move_bfloat16_weights_only_when_rounded_stochastically() -> None:
    weights = {"w": jnp.ones(50_000, jnp.bfloat16)}
    updates = {"w": jnp.ones(50_000, jnp.float32)}
    rate = jnp.float32(1e-5)  # half a unit in the last place of 1 is 2^-8 above and 2^-9 below
    nearest = apply_updates(weights, updates, rate)["w"]
    assert (nearest == 1).all()
    moved = apply_updates(weights, updates, rate, jax.random.key(1))["w"].astype(jnp.float32)
    # Each weight falls by 2^-8 with the chance 1e-5 / 2^-8.
    assert float(1 - moved.mean()) == pytest.approx(1e-5, rel=0.5)
