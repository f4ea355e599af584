"""Schedules and AdamW against their formulas; stochastic rounding against its expectation."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xltjax.training.config import TrainConfig
from xltjax.training.optimizer import adamw, apply_updates, make_schedule, round_stochastically


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


def test_the_paper_schedule_is_that_of_hugging_face_without_warmup() -> None:
    import torch
    from transformers import get_inverse_sqrt_schedule

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-5)
    scheduler = get_inverse_sqrt_schedule(optimizer, num_warmup_steps=0)  # its timescale is 10,000 then
    expected = []
    for _ in range(1000):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    default = TrainConfig()
    assert (default.schedule, default.timescale, default.warmup) == ("inverse_sqrt", 10_000.0, 0)
    ours = [rate("inverse_sqrt", n, timescale=default.timescale) for n in range(1, 1001)]
    np.testing.assert_allclose(ours, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "timescale", "total"),
    [("inverse_sqrt", 10_000.0, 976.2), ("inverse_sqrt", 1.0, 61.8), ("linear", 1.0, 550.45)],
)
def test_the_readings_of_the_schedule_differ_in_the_sum_of_their_rates(
    name: str, timescale: float, total: float
) -> None:
    rates = [rate(name, n, timescale=timescale) for n in range(1, 1001)]
    assert sum(rates) / 1e-5 == pytest.approx(total, abs=0.05)


def adamw_in_float64(
    weights: np.ndarray, gradients: np.ndarray, *, lr: float, b1: float, b2: float, eps: float, decay: float,
    clip: float,
) -> np.ndarray:  # fmt: skip
    """The weights after one update per gradient, as Loshchilov and Hutter (2019) write it."""
    w, m, v = weights.astype(np.float64), np.zeros(weights.shape), np.zeros(weights.shape)
    for n, gradient in enumerate(gradients.astype(np.float64), start=1):
        g = gradient * min(1, clip / np.sqrt((gradient**2).sum()))
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        w = w - lr * (m / (1 - b1**n) / (np.sqrt(v / (1 - b2**n)) + eps) + decay * w)
    return w


@pytest.mark.parametrize("scale", [1e-4, 10.0])  # below and above the norm at which gradients are clipped
def test_adamw_is_its_formula_for_gradients_of_any_size(scale: float) -> None:
    random = np.random.default_rng(0)
    sizes = scale * 10.0 ** random.uniform(-6, 0, 400)  # down to where eps decides
    gradients = (random.normal(size=(6, 400)) * sizes).astype(np.float32)
    start = random.normal(size=400).astype(np.float32)
    transform = adamw(beta1=0.9, beta2=0.95, eps=1e-8, weight_decay=0.1, clip_norm=1.0)
    weights = {"a": jnp.asarray(start[:100]), "b": jnp.asarray(start[100:])}
    state = transform.init(weights)
    for gradient in gradients:
        updates, state = transform.update({"a": gradient[:100], "b": gradient[100:]}, state, weights)
        weights = apply_updates(weights, updates, jnp.float32(0.01))
    got = np.concatenate([weights["a"], weights["b"]])
    expected = adamw_in_float64(start, gradients, lr=0.01, b1=0.9, b2=0.95, eps=1e-8, decay=0.1, clip=1.0)
    # The gradients are the same, so nothing is amplified: the error of an update, of size 1, is a few float32
    # roundings, the largest that of 1 - 0.95 (6e-8 / 0.05). There are six updates, each times 0.01, and each
    # rounds weights of up to 4.
    np.testing.assert_allclose(got, expected, rtol=0, atol=6 * (0.01 * 3e-6 + 2e-7))
    assert np.abs(got - start).max() > 0.03


def test_stochastic_rounding_takes_a_neighbor_and_is_right_on_average() -> None:
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
