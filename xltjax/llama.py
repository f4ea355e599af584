"""LLaMA in flax.nnx: one declaration per parameter, explicit sharding, a list of blocks.

Array dimensions: B batch, T query length, S key length, D model, N heads, K key-value heads, H head dim,
F feed-forward, V vocabulary. Weights keep Hugging Face's orientation, [out, in], so that conversion is a copy.

A freshly built ``Llama(config)`` is abstract: its parameters are shapes. ``initialize`` fills it with random
weights, ``xltjax.converters.load_hf`` with a checkpoint's. Call it under ``jax.set_mesh(mesh)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from xltjax.attention import HEADS, attention
from xltjax.cached_attention import CACHE, LayerCache, cached_attention
from xltjax.common.errors import UserError
from xltjax.mesh import BATCH, stored_spec, used_spec
from xltjax.rope import RopeScaling, inverse_frequencies, rope_tables, rotate

ACTIVATIONS = P(BATCH, None, None)  # [B, T, D]
Cache = list[LayerCache]


@dataclass(frozen=True)
class LlamaConfig:
    """Everything about the architecture that changes the numbers.

    ``window_layers`` is the index of the first layer in which ``sliding_window`` applies.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    max_positions: int
    rms_norm_eps: float = 1e-5
    rope_theta: float = 10000.0
    rope_scaling: RopeScaling | None = None
    qkv_bias: bool = False
    o_bias: bool = False
    mlp_bias: bool = False
    tied_embeddings: bool = False
    sliding_window: int | None = None
    window_layers: int = 0
    initializer_range: float = 0.02

    def window_of(self, layer: int) -> int | None:
        """The sliding window of a layer, or None where attention is full."""
        return self.sliding_window if layer >= self.window_layers else None

    def padded_vocab(self, multiple: int) -> int:
        """Rows of the vocabulary matrices on a mesh that splits them into ``multiple`` parts."""
        return math.ceil(self.vocab_size / multiple) * multiple

    def check_mesh(self, mesh: Mesh) -> None:
        """Refuse a mesh that does not divide the model.

        Raises:
            UserError: naming the dimension, its size and the mesh axis.
        """
        for name, size, axis in (
            ("attention heads", self.num_heads, "tensor"),
            ("key-value heads", self.num_kv_heads, "tensor"),
            ("feed-forward width", self.intermediate_size, "tensor"),
            ("model width", self.hidden_size, "tensor"),
            ("model width", self.hidden_size, "data"),
        ):
            if size % mesh.shape[axis]:
                raise UserError(
                    f"the model's {size} {name} cannot be split over {mesh.shape[axis]} {axis} devices; "
                    f"choose a mesh whose {axis} size divides {size}"
                )


def declare(shape: tuple[int, ...], axes: tuple[str | None, ...], init: str = "normal") -> nnx.Param:
    """One parameter: its shape, the logical axis of each dimension (see ``mesh.STORED``) and its start.

    Args:
        shape: sizes of the dimensions.
        axes: logical axes, from which the sharding follows.
        init: ``normal``, ``ones`` or ``zeros``.
    """
    return nnx.Param(jax.ShapeDtypeStruct(shape, jnp.float32), axes=axes, init=init)


def use(parameter: nnx.Variable, dtype: Any) -> Array:
    """A parameter as it enters a product: cast, then gathered over ``data`` (the FSDP all-gather).

    The transpose of this ``reshard`` is the reduce-scatter of the gradient.
    """
    return jax.sharding.reshard(parameter[...].astype(dtype), used_spec(parameter.axes))


class Linear(nnx.Module):
    """y = x W^T + b, plus scale * (x A^T) B^T when ``lora.add_lora`` has given it an adapter."""

    def __init__(self, features: tuple[int, int], axes: tuple[str, str], bias: bool = False):
        """``features`` and ``axes`` are those of (out, in)."""
        self.weight = declare(features, axes)
        self.bias = nnx.data(declare(features[:1], axes[:1], "zeros") if bias else None)
        self.lora_a: nnx.LoRAParam | None = nnx.data(None)
        self.lora_b: nnx.LoRAParam | None = nnx.data(None)
        self.lora_scale = 0.0
        self.lora_dropout = 0.0
        self.lora_key: Array | None = nnx.data(None)  # of dropout; set while training with it
        self.out_dimension = 0  # 1 after ``store_inputs_first``

    def __call__(self, x: Array) -> Array:
        """[B, T, in] -> [B, T, out]."""
        split = used_spec(self.weight.axes)[self.out_dimension]
        y = _product(x, use(self.weight, x.dtype), split, self.out_dimension)
        if self.lora_a is not None and self.lora_b is not None:
            low = _product(self._kept(x), use(self.lora_a, x.dtype), None)
            y = y + _product(low, use(self.lora_b, x.dtype), split) * self.lora_scale
        if self.bias is not None:
            y = y + use(self.bias, x.dtype)
        return y

    def _kept(self, x: Array) -> Array:
        """What the adapter sees of its input: all of it, or in training a random part, scaled up."""
        if self.lora_key is None:
            return x
        share, place = 1 - self.lora_dropout, jax.typeof(x).sharding
        kept = jax.random.bernoulli(self.lora_key, share, x.shape, out_sharding=place)
        return jnp.where(kept, x / share, 0)


def store_inputs_first(layers: Sequence[Linear]) -> None:
    """Keep the weights as [in, out]: XLA multiplies few rows by them 20 to 35 % faster on CPU."""
    turn = jax.jit(lambda weights: [jnp.swapaxes(weight, 0, 1) for weight in weights])  # one program for all
    for layer, weight in zip(layers, turn([layer.weight[...] for layer in layers]), strict=True):
        layer.weight = nnx.Param(weight, axes=layer.weight.axes[::-1], init=layer.weight.init)
        layer.out_dimension = 1


def _product(x: Array, weight: Array, split: str | None, out_dimension: int = 0) -> Array:
    """x [B, T, in] times weight [out, in], or [in, out] when ``out_dimension`` is 1.

    The result is split over mesh axis ``split``, or whole.
    """
    equation = ("bti,oi->bto", "bti,io->bto")[out_dimension]
    return jnp.einsum(equation, x, weight, out_sharding=P(BATCH, None, split))


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
    """Token vectors [V, D]: rows over ``data``, columns over ``tensor``."""

    def __init__(self, vocab: int, size: int):
        self.weight = declare((vocab, size), ("table_rows", "table_columns"))

    def __call__(self, tokens: Array, dtype: Any) -> Array:
        """[B, T] int32 -> [B, T, D]."""
        table = use(self.weight, dtype)
        x = table.at[tokens].get(out_sharding=P(BATCH, None, "tensor"))
        return jax.sharding.reshard(x, ACTIVATIONS)


class Attention(nnx.Module):
    """Grouped-query attention with rotary positions."""

    def __init__(self, config: LlamaConfig, layer: int):
        heads, kv_heads = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
        width = config.hidden_size
        self.q_proj = Linear((heads, width), ("heads", "embed"), config.qkv_bias)
        self.k_proj = Linear((kv_heads, width), ("heads", "embed"), config.qkv_bias)
        self.v_proj = Linear((kv_heads, width), ("heads", "embed"), config.qkv_bias)
        self.o_proj = Linear((width, heads), ("embed", "heads"), config.o_bias)
        self.head_dim = config.head_dim
        self.window = config.window_of(layer)

    def project(self, x: Array, rope: tuple[Array, Array]) -> tuple[Array, Array, Array]:
        """[B, T, D] -> rotated queries [B, T, N, H], rotated keys and values [B, T, K, H]."""
        q, k, v = (
            jnp.reshape(projection(x), (*x.shape[:2], -1, self.head_dim), out_sharding=HEADS)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        return rotate(q, *rope), rotate(k, *rope), v

    def merge(self, heads: Array) -> Array:
        """[B, T, N, H] -> [B, T, D]."""
        joined = P(BATCH, None, "tensor")
        return self.o_proj(jnp.reshape(heads, (*heads.shape[:2], -1), out_sharding=joined))


class MLP(nnx.Module):
    """down(silu(gate(x)) * up(x))."""

    def __init__(self, config: LlamaConfig):
        wide, narrow = config.intermediate_size, config.hidden_size
        self.gate_proj = Linear((wide, narrow), ("mlp", "embed"), config.mlp_bias)
        self.up_proj = Linear((wide, narrow), ("mlp", "embed"), config.mlp_bias)
        self.down_proj = Linear((narrow, wide), ("embed", "mlp"), config.mlp_bias)

    def __call__(self, x: Array) -> Array:
        """[B, T, D] -> [B, T, D]."""
        return self.down_proj(jax.nn.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nnx.Module):
    """Pre-norm attention and feed-forward, each added to the residual stream."""

    def __init__(self, config: LlamaConfig, layer: int):
        self.attention_norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.attention = Attention(config, layer)
        self.mlp_norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = MLP(config)

    def __call__(
        self, x: Array, rope: tuple[Array, Array], segment_ids: Array
    ) -> tuple[Array, tuple[Array, Array]]:
        """[B, T, D] -> [B, T, D], and this layer's keys and values [B, T, K, H]."""
        q, k, v = self.attention.project(self.attention_norm(x), rope)
        x = x + self.attention.merge(attention(q, k, v, segment_ids, window=self.attention.window))
        return x + self.mlp(self.mlp_norm(x)), (k, v)

    def decode(
        self, x: Array, rope: tuple[Array, Array], cache: LayerCache, positions: Array
    ) -> tuple[Array, LayerCache]:
        """[B, 1, D] -> [B, 1, D], and the cache with the new token in it."""
        q, k, v = self.attention.project(self.attention_norm(x), rope)
        heads, cache = cached_attention(q, k, v, cache, positions, window=self.attention.window)
        x = x + self.attention.merge(heads)
        return x + self.mlp(self.mlp_norm(x)), cache


# Under ``jit`` like blocks are traced once, which a model of 22 layers notices at every start.
_block = jax.jit(lambda layer, x, rope, segment_ids: layer(x, rope, segment_ids)[0])
_read_block = jax.jit(Block.__call__)
_decode_block = jax.jit(Block.decode)

REMAT: dict[str, Callable[..., bool] | None] = {
    "block": None,  # keep only the input of each block
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,  # keep the products with weights
}


class Llama(nnx.Module):
    """A engine-only LLaMA. ``compute_dtype`` is that of activations; parameters keep their own."""

    def __init__(self, config: LlamaConfig, *, compute_dtype: Any = jnp.float32, vocab_multiple: int = 1):
        vocab = config.padded_vocab(vocab_multiple)
        self.config = config
        self.compute_dtype = jnp.dtype(compute_dtype)
        self.remat = "none"
        self.embed = Embedding(vocab, config.hidden_size)
        self.layers = nnx.List([Block(config, layer) for layer in range(config.num_layers)])
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.head = nnx.data(
            None if config.tied_embeddings else Linear((vocab, config.hidden_size), ("vocab", "embed"))
        )

    def __call__(self, tokens: Array, segment_ids: Array, positions: Array) -> Array:
        """Logits [B, T, V] float32 of the next token.

        Args:
            tokens: [B, T] int32.
            segment_ids: [B, T] int32; tokens see only their own segment. 0 is padding.
            positions: [B, T] int32, counted from 0 within each segment.
        """
        logits = self.logits(self.hidden(tokens, segment_ids, positions))
        if logits.shape[-1] != self.config.vocab_size:
            logits = jax.sharding.reshard(logits, ACTIVATIONS)[..., : self.config.vocab_size]
        return logits

    def hidden(self, tokens: Array, segment_ids: Array, positions: Array) -> Array:
        """The last normed hidden states [B, T, D], from which ``logits`` follow. Arguments as ``__call__``."""
        tokens, segment_ids, positions = (
            jax.sharding.reshard(x, P(BATCH, None)) for x in (tokens, segment_ids, positions)
        )
        rope = self._rope(positions)
        x = self.embed(tokens, self.compute_dtype)
        block = _block if self.remat == "none" else jax.checkpoint(_block, policy=REMAT[self.remat])
        for layer in self.layers:
            x = block(layer, x, rope, segment_ids)
        return self.norm(x)

    def logits(self, hidden: Array) -> Array:
        """[B, T, D] -> logits [B, T, V'] float32, split over ``tensor``; rows that pad V to V' are -inf."""
        if self.head is None:
            weight = jax.sharding.reshard(use(self.embed.weight, hidden.dtype), P("tensor", None))
            logits = _product(hidden, weight, "tensor")
        else:
            logits = self.head(hidden)
        logits = logits.astype(jnp.float32)
        if logits.shape[-1] != self.config.vocab_size:
            index = jnp.arange(logits.shape[-1], out_sharding=P("tensor"))
            logits = jnp.where(index < self.config.vocab_size, logits, -jnp.inf)
        return logits

    def prefill(self, tokens: Array) -> tuple[Array, list[tuple[Array, Array]]]:
        """Hidden states [B, T, D] of prompts padded on the right, and their keys and values [B, T, K, H].

        Padding follows the prompt, so causality alone keeps it out of sight.
        """
        positions = jnp.arange(tokens.shape[1]) + jnp.zeros_like(tokens)
        rope, segment_ids = self._rope(positions), jnp.ones_like(tokens)
        x = self.embed(tokens, self.compute_dtype)
        cache = []
        for layer in self.layers:
            x, new = _read_block(layer, x, rope, segment_ids)
            cache.append(new)
        return self.norm(x), cache

    def decode(self, tokens: Array, cache: Cache, positions: Array) -> tuple[Array, Cache]:
        """One step: logits [B, V'] after ``tokens`` [B] at ``positions`` [B], and the cache holding them."""
        rope = self._rope(positions[:, None])
        x = self.embed(tokens[:, None], self.compute_dtype)
        new_cache = []
        for layer, old in zip(self.layers, cache, strict=True):
            x, new = _decode_block(layer, x, rope, old, positions)
            new_cache.append(new)
        return self.logits(self.norm(x))[:, 0], new_cache

    def empty_cache(self, *chunks: tuple[int, int]) -> Cache:
        """A cache in the compute dtype; each chunk is so many rows of so many positions."""
        config = self.config

        def zeros(rows: int, length: int) -> Array:
            shape = (rows, config.num_kv_heads, length, config.head_dim)
            return jnp.zeros(shape, self.compute_dtype, out_sharding=CACHE)

        return [tuple((zeros(*chunk), zeros(*chunk)) for chunk in chunks) for _ in self.layers]

    def cache_bytes(self, rows: int, length: int) -> int:
        """Bytes of ``empty_cache((rows, length))``: 2 layers B K S H itemsize."""
        config = self.config
        per_token = 2 * config.num_layers * config.num_kv_heads * config.head_dim
        return rows * length * per_token * self.compute_dtype.itemsize

    def num_parameters(self) -> int:
        """Number of parameters, vocabulary padding and adapters excluded."""
        config = self.config
        padding = self.embed.weight.shape[0] - config.vocab_size
        tables = 1 if config.tied_embeddings else 2
        total = sum(math.prod(p.shape) for p in parameters(self).values() if type(p) is nnx.Param)
        return total - padding * config.hidden_size * tables

    def flops_per_token(self, length: int, *, passes: int = 3) -> float:
        """Model FLOPs per token at sequence length ``length``.

        A pass is 2 per weight of every product, plus 4 N H S per layer for attention (not halved for
        causality). The forward pass is one; the backward pass is two, or one where the weights are frozen,
        since it then makes gradients of activations alone.

        Args:
            length: S, of a row.
            passes: 3 for full training, 2 for LoRA, 1 for inference.
        """
        config = self.config
        products = self.num_parameters() - (
            0 if config.tied_embeddings else config.vocab_size * config.hidden_size
        )
        attention_flops = 4 * config.num_layers * config.num_heads * config.head_dim * length
        return (2 * products + attention_flops) * passes

    def _rope(self, positions: Array) -> tuple[Array, Array]:
        config = self.config
        frequencies = inverse_frequencies(config.head_dim, config.rope_theta, config.rope_scaling)
        return rope_tables(positions, frequencies, self.compute_dtype)


def initialize(model: Llama, mesh: Mesh, key: Array, dtype: Any = jnp.float32) -> Llama:
    """Fill an abstract ``model`` with random weights on ``mesh``, each made where it is stored."""
    model.config.check_mesh(mesh)
    variables = parameters(model)

    def draw(key: Array) -> list[Array]:
        keys = jax.random.split(key, len(variables))
        return [_start(v, k, model.config, dtype) for v, k in zip(variables.values(), keys, strict=True)]

    shardings = [NamedSharding(mesh, stored_spec(v.axes)) for v in variables.values()]
    with jax.set_mesh(mesh):
        arrays = jax.jit(draw, out_shardings=shardings)(key)
    for variable, array in zip(variables.values(), arrays, strict=True):
        variable.set_value(array)
    return model


def _start(variable: nnx.Variable, key: Array, config: LlamaConfig, dtype: Any) -> Array:
    if variable.init == "normal":
        return config.initializer_range * jax.random.normal(key, variable.shape, dtype)
    return jnp.full(variable.shape, {"ones": 1, "zeros": 0}[variable.init], dtype)


def parameters(model: nnx.Module, kind: type[nnx.Variable] = nnx.Variable) -> dict[str, nnx.Variable]:
    """Parameters of ``kind`` by dotted path, such as ``layers.0.attention.q_proj.weight``, in a fixed order."""
    return {
        ".".join(map(str, path)): variable for path, variable in nnx.to_flat_state(nnx.state(model, kind))
    }
