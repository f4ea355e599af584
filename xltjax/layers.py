"""The layers that a transformer is made of, as flax.nnx modules with explicitly sharded parameters.

Array dimensions: B batch, T length, D model width, V vocabulary. Weights keep Hugging Face's orientation,
[out, in], so that conversion is a copy. A new layer is abstract: its parameters are shapes until they are filled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import PartitionSpec as P

from xltjax.attention.cudnn import CUDNN_FORWARD
from xltjax.attention.problem import ATTENTION_OUTPUT
from xltjax.mesh import BATCH, used_spec

ACTIVATIONS = P(BATCH, None, None)  # [B, T, D]
Layout = Literal["oi", "io"]  # of a weight: [out, in] or [in, out]

Checkpointing = Literal["none", "attention", "dots", "block"]  # from the most memory to the least
LINEAR_OUTPUT = "linear"  # the outputs of linear layers, in policies of activation checkpointing
KEEP = jax.checkpoint_policies.save_only_these_names
# What the forward pass of a block keeps for the backward pass, which computes the rest again. Names and not "dots":
# of a layer with an adapter the sum is kept, not both matmuls.
CHECKPOINT_POLICIES: dict[str, Callable[..., Any] | None] = {
    "block": None,  # the input of each block
    "dots": KEEP(LINEAR_OUTPUT),  # and the outputs of its linear layers
    # and what attention needs for its backward pass, which cuDNN gives without a name
    "attention": jax.checkpoint_policies.save_from_both_policies(
        KEEP(LINEAR_OUTPUT, ATTENTION_OUTPUT),
        lambda primitive, *_, **options: primitive.name == CUDNN_FORWARD,
    ),
}


def declare(shape: tuple[int, ...], axes: tuple[str | None, ...], init: str = "normal") -> nnx.Param:
    """One parameter: its shape, the logical axis of each dimension (see ``mesh.STORED``) and its start.

    Args:
        shape: sizes of the dimensions.
        axes: logical axes, from which the sharding follows.
        init: ``normal``, ``ones`` or ``zeros``.
    """
    return nnx.Param(jax.ShapeDtypeStruct(shape, jnp.float32), axes=axes, init=init)


def use(parameter: nnx.Variable, dtype: Any) -> Array:
    """A parameter as a layer computes with it: cast, then gathered over ``data`` (the FSDP all-gather).

    The transpose of this ``reshard`` is the reduce-scatter of the gradient.
    """
    return jax.sharding.reshard(parameter[...].astype(dtype), used_spec(parameter.axes))


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def matmul(x: Array, weight: Array, split: str | None, layout: Layout = "oi") -> Array:
    """x [B, T, in] times ``weight``: [B, T, out], split over mesh axis ``split`` or whole."""
    return jnp.einsum(f"bti,{layout}->bto", x, weight, out_sharding=P(BATCH, None, split))


def _matmul_forward(
    x: Array, weight: Array, split: str | None, layout: Layout
) -> tuple[Array, tuple[Array, Array]]:
    return matmul(x, weight, split, layout), (x, weight)


def _matmul_backward(
    split: str | None, layout: Layout, saved: tuple[Array, Array], dy: Array
) -> tuple[Array, Array]:
    """The gradients that JAX derives too, but on CPU that of the weight is computed from the narrower side.

    There XLA copies the operand that is multiplied transposed, which is the one whose axis the result has first. An
    update of adapters is 10% faster when that is the narrower one. XLA removes the gradient of a frozen weight.
    """
    x, weight = saved
    spec = jax.typeof(weight).sharding.spec
    dx = jnp.einsum(f"bto,{layout}->bti", dy, weight, out_sharding=P(BATCH, None, spec[layout.index("i")]))
    narrow_input = jax.default_backend() == "cpu" and x.shape[-1] <= dy.shape[-1]
    order: Layout = "io" if narrow_input else "oi"
    if order == layout:
        return dx, jnp.einsum(f"bti,bto->{order}", x, dy, out_sharding=spec)
    return dx, jnp.einsum(f"bti,bto->{order}", x, dy, out_sharding=P(*spec[::-1])).T


matmul.defvjp(_matmul_forward, _matmul_backward)


class Linear(nnx.Module):
    """y = x W^T + b. ``layout`` says how W is stored."""

    def __init__(self, weight: nnx.Param, bias: nnx.Param | None = None, layout: Layout = "oi"):
        """``weight`` [out, in], or [in, out] in layout ``io``; ``bias`` [out]."""
        self.weight = weight
        self.bias = nnx.data(bias)
        self.layout: Layout = layout

    def __call__(self, x: Array) -> Array:
        """[B, T, in] -> [B, T, out]."""
        y = self.matmul(x)
        return checkpoint_name(y if self.bias is None else y + use(self.bias, x.dtype), LINEAR_OUTPUT)

    def matmul(self, x: Array) -> Array:
        """The layer without its bias."""
        return matmul(x, use(self.weight, x.dtype), self.split, self.layout)

    @property
    def split(self) -> str | None:
        """The mesh axis over which the outputs are split."""
        return used_spec(self.weight.axes)[self.layout.index("o")]

    def with_weight(self, weight: nnx.Param, layout: Layout) -> Linear:
        """The same layer with its weight stored in another layout."""
        return Linear(weight, self.bias, layout)


class JoinedLinear(Linear):
    """Linear layers of the same input as one, [y1, y2, ...] = x [W1, W2, ...]^T: one large matmul for several.

    Every device holds its own part of each weight, one after the other.
    """

    def __init__(self, weight: nnx.Param, bias: nnx.Param | None, layout: Layout, sizes: tuple[int, ...]):
        """``sizes`` are the outputs of each layer on one device; the rest is as in ``Linear``."""
        super().__init__(weight, bias, layout)
        self.sizes = sizes

    def parts(self, x: Array) -> tuple[Array, ...]:
        """[B, T, in] -> the output [B, T, out] of each layer."""
        ends = tuple(accumulate(self.sizes[:-1]))
        outputs = P(BATCH, None, self.split)
        return jax.shard_map(
            lambda y: tuple(jnp.split(y, ends, axis=-1)),
            in_specs=outputs,
            out_specs=(outputs,) * len(self.sizes),
        )(self(x))

    def with_weight(self, weight: nnx.Param, layout: Layout) -> JoinedLinear:
        """The same layers with their weight stored in another layout."""
        return JoinedLinear(weight, self.bias, layout, self.sizes)


def join(linears: Sequence[Linear], parts: int) -> JoinedLinear:
    """The layers as one. Their outputs are split over ``parts`` devices, and their weights [out, in] are copied."""
    first = linears[0]

    def joined(parameters: Sequence[nnx.Variable]) -> nnx.Param:
        spec = used_spec(parameters[0].axes)
        arrays = [parameter[...] for parameter in parameters]
        whole = _joined_arrays(arrays, spec)
        return nnx.Param(whole, axes=parameters[0].axes, init=parameters[0].init)

    biases = [linear.bias for linear in linears if linear.bias is not None]
    sizes = tuple(linear.weight.shape[0] // parts for linear in linears)
    weight = joined([linear.weight for linear in linears])
    return JoinedLinear(weight, joined(biases) if biases else None, first.layout, sizes)


@partial(jax.jit, static_argnums=1)
def _joined_arrays(arrays: Sequence[Array], spec: P) -> Array:
    return jax.shard_map(
        lambda arrays: jnp.concatenate(arrays), in_specs=([spec] * len(arrays),), out_specs=spec
    )(list(arrays))


def declare_linear(features: tuple[int, int], axes: tuple[str, str], bias: bool = False) -> Linear:
    """An abstract ``Linear``; ``features`` and logical ``axes`` are those of (out, in)."""
    return Linear(declare(features, axes), declare(features[:1], axes[:1], "zeros") if bias else None)


class RMSNorm(nnx.Module):
    """x / rms(x) * weight, the division in float32."""

    def __init__(self, size: int, eps: float):
        self.weight = declare((size,), ("embed",), "ones")
        self.eps = eps

    def __call__(self, x: Array) -> Array:
        """[B, T, D] -> [B, T, D]."""
        wide = x.astype(jnp.float32)
        normed = wide * jax.lax.rsqrt(jnp.mean(wide * wide, axis=-1, keepdims=True) + self.eps)
        return use(self.weight, x.dtype) * normed.astype(x.dtype)


class Embedding(nnx.Module):
    """Token vectors [V, D], stored with rows over ``data`` and columns over ``tensor``."""

    def __init__(self, vocab: int, size: int):
        self.weight = declare((vocab, size), ("table_rows", "table_columns"))

    def __call__(self, tokens: Array, dtype: Any) -> Array:
        """[B, T] int32 -> [B, T, D]."""
        table = use(self.weight, dtype)
        x = table.at[tokens].get(out_sharding=P(BATCH, None, "tensor"))
        return jax.sharding.reshard(x, ACTIVATIONS)

    def attend(self, x: Array) -> Array:
        """[B, T, D] -> [B, T, V]: the table as the output layer of a model with tied embeddings."""
        table = jax.sharding.reshard(use(self.weight, x.dtype), P("tensor", None))
        return matmul(x, table, "tensor")


def vocabulary_logits(output_layer: Linear | Embedding, hidden: Array, vocab_size: int) -> Array:
    """Logits [B, T, V'] float32 of hidden states [B, T, D], split over ``tensor``.

    The vocabulary is padded from ``vocab_size`` to V'; the logits of the padding are -inf.
    """
    logits = output_layer.attend(hidden) if isinstance(output_layer, Embedding) else output_layer(hidden)
    logits = logits.astype(jnp.float32)
    if logits.shape[-1] != vocab_size:
        index = jnp.arange(logits.shape[-1], out_sharding=P("tensor"))
        logits = jnp.where(index < vocab_size, logits, -jnp.inf)
    return logits
