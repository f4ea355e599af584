"""Learning-rate schedules and AdamW as the paper's and the release's protocols use them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.typing import DTypeLike

Number = Array | float
Schedule = Callable[[Number, Number], Array]  # (update number n = 1, 2, ..., peak rate) -> learning rate


def inverse_sqrt(timescale: float = 1.0) -> Schedule:
    """lr(n) = peak * sqrt(t / (t + n - 1)); with t = 1 this is the paper's peak / sqrt(n) (Appendix B)."""
    return lambda n, peak: peak * jnp.sqrt(timescale / (timescale + n - 1))


def linear(end: float | None, steps: int) -> Schedule:
    """lr(n) = peak + (end - peak) (n - 1) / steps, then ``end``: the schedule of the released configs.

    ``end`` is a tenth of the peak when it is None.
    """

    def rate(n: Number, peak: Number) -> Array:
        last = peak / 10 if end is None else end
        return peak + (last - peak) * jnp.minimum((n - 1) / steps, 1.0)

    return rate


def cosine(end: float | None, steps: int) -> Schedule:
    """lr(n) = end + (peak - end) (1 + cos(pi (n - 1) / steps)) / 2, then ``end``; see ``linear``."""

    def rate(n: Number, peak: Number) -> Array:
        last = peak / 10 if end is None else end
        return last + (peak - last) * (1 + jnp.cos(jnp.pi * jnp.minimum((n - 1) / steps, 1.0))) / 2

    return rate


def constant() -> Schedule:
    """lr(n) = peak."""
    return lambda n, peak: peak + jnp.zeros_like(jnp.asarray(n, jnp.float32))


def with_warmup(schedule: Schedule, warmup: int) -> Schedule:
    """``schedule`` times min(n / warmup, 1)."""
    return lambda n, peak: schedule(n, peak) * jnp.minimum(n / max(warmup, 1), 1.0)


def make_schedule(name: str, *, end: float | None, steps: int, timescale: float, warmup: int) -> Schedule:
    """The schedule of the function called ``name``, with linear warm-up over ``warmup`` updates."""
    schedule = {
        "inverse_sqrt": lambda: inverse_sqrt(timescale),
        "linear": lambda: linear(end, steps),
        "cosine": lambda: cosine(end, steps),
        "constant": constant,
    }[name]()
    return with_warmup(schedule, warmup)


def adamw(
    *,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    clip_norm: float,
    moments: DTypeLike = jnp.float32,
) -> optax.GradientTransformation:
    """AdamW without its learning rate: ``apply_updates`` multiplies the updates by -lr(n).

    Gradients are first scaled to a global norm of at most ``clip_norm``. Weight decay is decoupled and is
    applied to every trainable parameter, as in the release. Both moments are kept in the dtype ``moments`` and
    computed in float32.
    """
    return optax.chain(
        optax.clip_by_global_norm(clip_norm),
        _stored_in(optax.scale_by_adam(b1=beta1, b2=beta2, eps=eps), moments),
        optax.add_decayed_weights(weight_decay),
    )


def _stored_in(transform: optax.GradientTransformation, dtype: DTypeLike) -> optax.GradientTransformation:
    """``transform`` computing in float32 with its state kept in ``dtype`` (optax can do this for one moment only)."""

    def cast(state: Any, to: DTypeLike) -> Any:
        return jax.tree.map(lambda x: x.astype(to) if jnp.issubdtype(x.dtype, jnp.floating) else x, state)

    def init(params: Any) -> Any:
        return cast(transform.init(cast(params, jnp.float32)), dtype)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        updates, state = transform.update(cast(updates, jnp.float32), cast(state, jnp.float32), params)
        return updates, cast(state, dtype)

    return optax.GradientTransformation(init, update)


def apply_updates(params: Any, updates: Any, learning_rate: Array, key: Array | None = None) -> Any:
    """Params - lr * updates, computed in float32 and rounded to the parameters' dtype.

    Bfloat16 parameters are rounded to nearest, or stochastically when ``key`` is given.
    """
    steps = optax.tree.scale(-learning_rate, updates)
    if key is None:
        return optax.apply_updates(params, steps)
    leaves, structure = jax.tree.flatten(params)
    rounded = [
        round_stochastically(param.astype(jnp.float32) + step, jax.random.fold_in(key, index))
        for index, (param, step) in enumerate(zip(leaves, jax.tree.leaves(steps), strict=True))
    ]
    return jax.tree.unflatten(structure, rounded)


def round_stochastically(x: Array, key: Array) -> Array:
    """Float32 ``x`` as one of its two bfloat16 neighbors, the nearer one more often, so that E[result] = x.

    With rounding to nearest, an update smaller than half a unit in the last place would always be lost.
    """
    bits = jax.lax.bitcast_convert_type(x, jnp.uint32)
    noise = jax.random.bits(key, x.shape, jnp.uint16, out_sharding=jax.typeof(x).sharding)
    rounded = jax.lax.bitcast_convert_type(((bits + noise) >> 16).astype(jnp.uint16), jnp.bfloat16)
    return jnp.where(jnp.isfinite(x), rounded, x.astype(jnp.bfloat16))
