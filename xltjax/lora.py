"""Low-rank adapters: add them to a model, tell trained from frozen parameters, merge them into the weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from jax.sharding import Mesh, NamedSharding

from xltjax.common.errors import UserError, did_you_mean
from xltjax.llama import Linear, Llama
from xltjax.mesh import mesh_of, stored_spec

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def linears(model: Llama) -> Iterator[tuple[str, Linear]]:
    """Every adaptable product of the model with its path, such as ``layers.0.mlp.up_proj``."""
    for index, layer in enumerate(model.layers):
        for name in TARGETS:
            part = "attention" if hasattr(layer.attention, name) else "mlp"
            yield f"layers.{index}.{part}.{name}", getattr(getattr(layer, part), name)


def add_lora(
    model: Llama,
    mesh: Mesh,
    key: Array | None,
    *,
    rank: int,
    alpha: float,
    targets: Sequence[str] = TARGETS,
    dtype: Any = jnp.float32,
) -> None:
    """Give every product named in ``targets`` an adapter: W x + (alpha / rank) B A x.

    A [rank, in] starts uniform in +-1/sqrt(in) (torch's kaiming_uniform with a = sqrt(5)), B [out, rank]
    at zero, so that the model is at first unchanged.

    Args:
        model: whose ``Linear`` modules are changed in place.
        mesh: on which the model lies.
        key: of the random start; None leaves the adapters abstract, to be filled by a checkpoint.
        rank: inner size r.
        alpha: the adapter's output is scaled by alpha / rank.
        targets: names out of ``TARGETS``.
        dtype: of the adapters.

    Raises:
        UserError: for a target that matches nothing.
    """
    for target in targets:
        if target not in TARGETS:
            raise UserError(
                f"LoRA target {target!r} matches no part of the model; {did_you_mean(target, TARGETS)}"
            )
    with jax.set_mesh(mesh):
        for index, (path, linear) in enumerate(linears(model)):
            if path.rsplit(".", 1)[1] not in targets:
                continue
            (out_size, in_size), (out_axis, in_axis) = linear.weight.shape, linear.weight.axes
            a = linear.lora_a = _adapter((rank, in_size), (None, in_axis), dtype)
            b = linear.lora_b = _adapter((out_size, rank), (out_axis, None), dtype)
            linear.lora_scale = alpha / rank
            if key is not None:
                bound = in_size**-0.5
                sharding_a = NamedSharding(mesh, stored_spec(a.axes))
                sharding_b = NamedSharding(mesh, stored_spec(b.axes))
                start = _uniform(jax.random.fold_in(key, index), (rank, in_size), bound, dtype, sharding_a)
                a.set_value(start)
                b.set_value(jnp.zeros((out_size, rank), dtype, out_sharding=sharding_b))


def _uniform(key: Array, shape: tuple[int, int], bound: float, dtype: Any, sharding: NamedSharding) -> Array:
    return jax.random.uniform(key, shape, dtype, -bound, bound, out_sharding=sharding)


def _adapter(shape: tuple[int, int], axes: tuple[str | None, ...], dtype: Any) -> nnx.LoRAParam:
    return nnx.LoRAParam(jax.ShapeDtypeStruct(shape, dtype), axes=axes, init="zeros")


def lora_parameters(model: Llama, rank: int, targets: Sequence[str]) -> int:
    """Number of parameters that ``add_lora`` would add."""
    chosen = (linear for path, linear in linears(model) if path.rsplit(".", 1)[1] in targets)
    return sum(rank * sum(linear.weight.shape) for linear in chosen)


def remove_lora(model: Llama) -> None:
    """Remove every adapter."""
    for _, linear in linears(model):
        linear.lora_a = linear.lora_b = nnx.data(None)
        linear.lora_scale = 0.0


def has_lora(model: Llama) -> bool:
    """Whether any product has an adapter."""
    return any(linear.lora_a is not None for _, linear in linears(model))


def drop_adapter_inputs(model: Llama, rate: float, key: Array) -> None:
    """Let every adapter see its input with a share ``rate`` of it dropped, as PEFT's ``lora_dropout`` does.

    Args:
        model: changed in place; for one traced forward pass, within a jitted function.
        rate: at least 0 and less than 1.
        key: of the draws; every adapter draws its own.
    """
    for index, (_, linear) in enumerate(linears(model)):
        if linear.lora_a is not None:
            linear.lora_dropout = rate
            linear.lora_key = nnx.data(jax.random.fold_in(key, index))


def merge(model: Llama) -> None:
    """Add every adapter to its weight, in float32, and remove it."""
    for _, linear in linears(model):
        if linear.lora_a is None or linear.lora_b is None:
            continue
        weight, scale = linear.weight[...], np.float32(linear.lora_scale)
        with jax.set_mesh(mesh_of(weight)):
            linear.weight.set_value(_merged(weight, linear.lora_a[...], linear.lora_b[...], scale))
        linear.lora_a = linear.lora_b = None
        linear.lora_scale = 0.0


@jax.jit
def _merged(weight: Array, a: Array, b: Array, scale: Array) -> Array:
    spec = jax.typeof(weight).sharding.spec
    delta = jnp.einsum("or,ri->oi", b.astype(jnp.float32), a.astype(jnp.float32), out_sharding=spec,
                       precision=jax.lax.Precision.HIGHEST)  # fmt: skip
    return (weight.astype(jnp.float32) + scale * delta).astype(weight.dtype)
