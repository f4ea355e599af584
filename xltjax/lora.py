"""Low-rank adapters (LoRA): add them to a model, drop their inputs, merge them into the weights, remove them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import Mesh

from xltjax.common.model_parts import TARGETS, check_targets, part_of
from xltjax.layers import LINEAR_OUTPUT, Layout, Linear, matmul, use
from xltjax.llama import Llama
from xltjax.mesh import mesh_of, sharding, stored_spec


class LoRALinear(Linear):
    """y = x W^T + b + scale * (dropout(x) A^T) B^T."""

    def __init__(
        self,
        linear: Linear,
        lora_a: nnx.LoRAParam,
        lora_b: nnx.LoRAParam,
        scale: float,
        *,
        rate: float = 0.0,
        key: Array | None = None,
    ):
        """Put an adapter beside a linear layer, whose parameters it shares.

        Args:
            linear: the layer.
            lora_a: A [rank, in].
            lora_b: B [out, rank].
            scale: alpha / rank.
            rate: share of the adapter's inputs that is dropped, at least 0 and less than 1.
            key: of the draws of dropout; None for no dropout.
        """
        super().__init__(linear.weight, linear.bias, linear.layout)
        self.lora_a = lora_a
        self.lora_b = lora_b
        self.scale = scale
        self.rate = rate
        self.key = nnx.data(key)

    def matmul(self, x: Array) -> Array:
        """The layer without its bias."""
        y = super().matmul(x)
        low = checkpoint_name(matmul(self.drop(x), use(self.lora_a, x.dtype), None), LINEAR_OUTPUT)
        # The narrow factor is scaled: the wide output would be read and written once more in each pass.
        return y + matmul(low * self.scale, use(self.lora_b, x.dtype), self.split)

    def drop(self, x: Array) -> Array:
        """``x`` with a random share ``rate`` at zero and the rest scaled up, or unchanged without a key."""
        if self.key is None:
            return x
        kept = jax.random.bernoulli(self.key, 1 - self.rate, x.shape, out_sharding=jax.typeof(x).sharding)
        return jnp.where(kept, x / (1 - self.rate), 0)

    def with_weight(self, weight: nnx.Param, layout: Layout) -> LoRALinear:
        """The same layer and adapter with the weight stored in another layout."""
        return LoRALinear(super().with_weight(weight, layout), self.lora_a, self.lora_b, self.scale)


def linears(model: Llama) -> Iterator[tuple[str, Linear]]:
    """Every linear layer that can take an adapter with its path, such as ``layers.0.mlp.up_proj``."""
    for index, layer in enumerate(model.layers):
        for name in TARGETS:
            part = "attention" if hasattr(layer.attention, name) else "mlp"
            yield f"layers.{index}.{part}.{name}", getattr(getattr(layer, part), name)


def lora_linears(model: Llama) -> Iterator[tuple[str, LoRALinear]]:
    """Every linear layer that has an adapter, with its path."""
    return ((path, linear) for path, linear in linears(model) if isinstance(linear, LoRALinear))


def replace_linears(model: Llama, replacement: Callable[[int, str, Linear], Linear]) -> None:
    """Put ``replacement(index, path, linear)`` in the place of every layer of ``linears``."""
    for index, (path, linear) in enumerate(list(linears(model))):
        _, layer, part, name = path.split(".")
        setattr(getattr(model.layers[int(layer)], part), name, replacement(index, path, linear))


def add_lora(
    model: Llama,
    mesh: Mesh,
    key: Array | None,
    *,
    rank: int,
    alpha: float,
    targets: Sequence[str] = TARGETS,
    parts: Collection[str] = (),
    dtype: Any = jnp.float32,
) -> None:
    """Replace every linear layer named in ``targets`` by one with an adapter: W x + (alpha / rank) B A x.

    A [rank, in] starts uniform in +-1/sqrt(in) (torch's kaiming_uniform with a = sqrt(5)), B [out, rank]
    at zero, so that the model is at first unchanged.

    Args:
        model: changed in place.
        mesh: on which the model lies.
        key: of the random start; None leaves the adapters abstract, to be filled by a checkpoint.
        rank: inner size r.
        alpha: the adapter's output is scaled by alpha / rank.
        targets: names out of ``TARGETS``.
        parts: the layers that get adapters, such as ``layers.3``; all of them when it is empty.
        dtype: of the adapters.

    Raises:
        UserError: for a target that matches nothing.
    """
    check_targets(targets)
    chosen = [path for path, _ in _chosen(model, targets, parts)]
    add_adapters(model, mesh, key, dict.fromkeys(chosen, (rank, alpha / rank)), dtype)


def add_adapters(
    model: Llama,
    mesh: Mesh,
    key: Array | None,
    sizes: Mapping[str, tuple[int, float]],
    dtype: Any = jnp.float32,
) -> None:
    """``add_lora`` for adapters of different sizes.

    Args:
        model: changed in place.
        mesh: on which the model lies.
        key: of the random start; None leaves the adapters abstract.
        sizes: the rank and scale of the adapter of each layer that gets one, by its path in ``linears``.
        dtype: of the adapters.
    """

    def with_adapter(index: int, path: str, linear: Linear) -> Linear:
        if path not in sizes:
            return linear
        rank, scale = sizes[path]
        own_key = None if key is None else jax.random.fold_in(key, index)
        return LoRALinear(linear, *_adapter(linear, mesh, own_key, rank, dtype), scale)

    with jax.set_mesh(mesh):
        replace_linears(model, with_adapter)


def _chosen(model: Llama, targets: Sequence[str], parts: Collection[str]) -> Iterator[tuple[str, Linear]]:
    """The layers of ``linears`` to which ``add_lora`` gives an adapter."""
    return (
        (path, linear)
        for path, linear in linears(model)
        if path.rsplit(".", 1)[1] in targets and (not parts or part_of(path) in parts)
    )


def _adapter(
    linear: Linear, mesh: Mesh, key: Array | None, rank: int, dtype: Any
) -> tuple[nnx.LoRAParam, nnx.LoRAParam]:
    """A and B of a new adapter, abstract without a ``key``."""
    (out_size, in_size), (out_axis, in_axis) = linear.weight.shape, linear.weight.axes
    a: nnx.LoRAParam = _declare((rank, in_size), (None, in_axis), dtype)
    b: nnx.LoRAParam = _declare((out_size, rank), (out_axis, None), dtype)
    if key is not None:
        bound = in_size**-0.5
        on_a, on_b = (sharding(mesh, *stored_spec(parameter.axes)) for parameter in (a, b))
        a.set_value(jax.random.uniform(key, a.shape, dtype, -bound, bound, out_sharding=on_a))
        b.set_value(jnp.zeros(b.shape, dtype, out_sharding=on_b))
    return a, b


def _declare(shape: tuple[int, int], axes: tuple[str | None, ...], dtype: Any) -> nnx.LoRAParam:
    return nnx.LoRAParam(jax.ShapeDtypeStruct(shape, dtype), axes=axes, init="zeros")


def lora_parameters(model: Llama, rank: int, targets: Sequence[str], parts: Collection[str] = ()) -> int:
    """Number of parameters that ``add_lora`` would add."""
    return sum(rank * sum(linear.weight.shape) for _, linear in _chosen(model, targets, parts))


def has_lora(model: Llama) -> bool:
    """Whether any linear layer has an adapter."""
    return any(True for _ in lora_linears(model))


def with_dropout(model: Llama, rate: float, key: Array) -> Llama:
    """``model`` with dropout on the inputs of its adapters, as PEFT's ``lora_dropout``; every adapter draws its own.

    It is meant for one forward pass inside a jitted function. ``model`` is left unchanged.

    Args:
        model: with adapters.
        rate: share of the inputs that is dropped, at least 0 and less than 1.
        key: of the draws.
    """
    dropping = nnx.clone(model)

    def with_key(index: int, path: str, linear: Linear) -> Linear:
        if not isinstance(linear, LoRALinear):
            return linear
        own_key = jax.random.fold_in(key, index)
        return LoRALinear(linear, linear.lora_a, linear.lora_b, linear.scale, rate=rate, key=own_key)

    replace_linears(dropping, with_key)
    return dropping


def merge(model: Llama) -> None:
    """Add every adapter to its weight, in float32, and remove it."""
    for _, linear in lora_linears(model):
        weight = linear.weight[...]
        with jax.set_mesh(mesh_of(weight)):
            merged = merged_weight(weight, linear.lora_a[...], linear.lora_b[...], np.float32(linear.scale))
        linear.weight.set_value(merged)
    remove_lora(model)


def remove_lora(model: Llama) -> None:
    """Remove every adapter and leave the base model."""
    replace_linears(model, lambda _, path, linear: Linear(linear.weight, linear.bias, linear.layout))


@jax.jit
def merged_weight(weight: Array, a: Array, b: Array, scale: Any) -> Array:
    """A weight [out, in] with an adapter A [rank, in] and B [out, rank] added in float32: W + scale B A."""
    spec = jax.typeof(weight).sharding.spec
    delta = jnp.einsum("or,ri->oi", b.astype(jnp.float32), a.astype(jnp.float32), out_sharding=spec,
                       precision=jax.lax.Precision.HIGHEST)  # fmt: skip
    return (weight.astype(jnp.float32) + scale * delta).astype(weight.dtype)
