"""LLaMA in flax.nnx: its configuration, attention, feed-forward, blocks, and the model made of them.

Array dimensions: B batch, T query length, S key length, D model, N heads, K key-value heads, H head dim,
F feed-forward, V vocabulary.

A freshly built ``Llama(config)`` is abstract: its parameters are shapes. ``initialize`` fills it with random
weights, ``xltjax.converters.load_hf`` with a checkpoint's. Call it under ``jax.set_mesh(mesh)``.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from xltjax.attention.cached import cached_attention
from xltjax.attention.packed import HEADS, attention
from xltjax.attention.problem import Problem
from xltjax.common.errors import UserError
from xltjax.common.hardware import WantedKernel
from xltjax.common.model_parts import lowest_layer, part_of
from xltjax.kv_cache import KVCache, LayerCache
from xltjax.layers import (
    ACTIVATIONS,
    CHECKPOINT_POLICIES,
    Checkpointing,
    Embedding,
    JoinedLinear,
    Linear,
    RMSNorm,
    declare_linear,
    vocabulary_logits,
)
from xltjax.mesh import BATCH, mesh_of, stored_spec
from xltjax.rope import RopeScaling, rope_tables, rotate


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

    def attention_problems(self, dtype: Any, length: int, segments: int = 0) -> list[Problem]:
        """What attention is asked for by rows of ``length`` tokens, once for each window that layers have."""
        windows = dict.fromkeys(map(self.window_of, range(self.num_layers)))
        grouped = self.num_heads != self.num_kv_heads
        return [
            Problem(jnp.dtype(dtype).name, length, self.head_dim, grouped, window, segments)
            for window in windows
        ]

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


class Attention(nnx.Module):
    """Grouped-query attention with rotary positions."""

    def __init__(self, config: LlamaConfig, layer: int):
        heads, kv_heads = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
        width = config.hidden_size
        self.q_proj = declare_linear((heads, width), ("heads", "embed"), config.qkv_bias)
        self.k_proj = declare_linear((kv_heads, width), ("heads", "embed"), config.qkv_bias)
        self.v_proj = declare_linear((kv_heads, width), ("heads", "embed"), config.qkv_bias)
        self.o_proj = declare_linear((width, heads), ("embed", "heads"), config.o_bias)
        # Takes the place of three layers while decoding, see ``inference.layout``.
        self.qkv = nnx.data(None)
        self.head_dim = config.head_dim
        self.window = config.window_of(layer)
        self.wanted: WantedKernel = "auto"  # the kernel for whole rows, see ``use_attention``

    def project(self, x: Array, rope: tuple[Array, Array]) -> tuple[Array, Array, Array]:
        """[B, T, D] -> rotated queries [B, T, N, H], rotated keys and values [B, T, K, H]."""
        joined: JoinedLinear | None = self.qkv
        outputs = (
            joined.parts(x) if joined else [layer(x) for layer in (self.q_proj, self.k_proj, self.v_proj)]
        )
        q, k, v = (
            jnp.reshape(output, (*x.shape[:2], -1, self.head_dim), out_sharding=HEADS) for output in outputs
        )
        return rotate(q, *rope), rotate(k, *rope), v

    def attend(self, q: Array, k: Array, v: Array, segment_ids: Array | None, segments: int) -> Array:
        """Heads [B, T, N, H] of whole rows; see ``attention.packed.attention``."""
        return attention(q, k, v, segment_ids, window=self.window, wanted=self.wanted, segments=segments)

    def output(self, heads: Array) -> Array:
        """[B, T, N, H] -> [B, T, D]."""
        joined = P(BATCH, None, "tensor")
        return self.o_proj(jnp.reshape(heads, (*heads.shape[:2], -1), out_sharding=joined))


class MLP(nnx.Module):
    """down(silu(gate(x)) * up(x))."""

    def __init__(self, config: LlamaConfig):
        wide, narrow = config.intermediate_size, config.hidden_size
        self.gate_proj = declare_linear((wide, narrow), ("mlp", "embed"), config.mlp_bias)
        self.up_proj = declare_linear((wide, narrow), ("mlp", "embed"), config.mlp_bias)
        self.down_proj = declare_linear((narrow, wide), ("embed", "mlp"), config.mlp_bias)
        # Takes the place of two layers while decoding, see ``inference.layout``.
        self.gate_up = nnx.data(None)

    def __call__(self, x: Array) -> Array:
        """[B, T, D] -> [B, T, D]."""
        joined: JoinedLinear | None = self.gate_up
        gate, up = joined.parts(x) if joined else (self.gate_proj(x), self.up_proj(x))
        return self.down_proj(jax.nn.silu(gate) * up)


class Block(nnx.Module):
    """Pre-norm attention and feed-forward, each added to the residual stream."""

    def __init__(self, config: LlamaConfig, layer: int):
        self.attention_norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.attention = Attention(config, layer)
        self.mlp_norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = MLP(config)

    def __call__(
        self, x: Array, rope: tuple[Array, Array], segment_ids: Array | None, segments: int = 0
    ) -> tuple[Array, tuple[Array, Array]]:
        """[B, T, D] -> [B, T, D], and this layer's keys and values [B, T, K, H]."""
        q, k, v = self.attention.project(self.attention_norm(x), rope)
        x = x + self.attention.output(self.attention.attend(q, k, v, segment_ids, segments))
        return x + self.mlp(self.mlp_norm(x)), (k, v)

    def decode(
        self, x: Array, rope: tuple[Array, Array], cache: LayerCache, positions: Array
    ) -> tuple[Array, LayerCache]:
        """[B, 1, D] -> [B, 1, D], and the cache with the new token in it."""
        q, k, v = self.attention.project(self.attention_norm(x), rope)
        heads, cache = cached_attention(q, k, v, cache, positions, window=self.attention.window)
        x = x + self.attention.output(heads)
        return x + self.mlp(self.mlp_norm(x)), cache


# Under ``jit`` blocks of equal shapes are traced once, which saves seconds at every start of a deep model.
@partial(jax.jit, static_argnums=4)
def _block(
    layer: Block, x: Array, rope: tuple[Array, Array], segment_ids: Array | None, segments: int
) -> Array:
    return layer(x, rope, segment_ids, segments)[0]


_prefill_block = jax.jit(Block.__call__)
_decode_block = jax.jit(Block.decode)


class Llama(nnx.Module):
    """A decoder-only LLaMA.

    Attributes:
        config: the architecture.
        compute_dtype: dtype of activations; parameters keep their own.
        activation_checkpointing: what training keeps of a block, see ``layers.CHECKPOINT_POLICIES``.
    """

    def __init__(self, config: LlamaConfig, *, compute_dtype: Any = jnp.float32, vocab_multiple: int = 1):
        """Declare the parameters; ``vocab_multiple``: see ``LlamaConfig.padded_vocab``."""
        vocab = config.padded_vocab(vocab_multiple)
        self.config = config
        self.compute_dtype = jnp.dtype(compute_dtype)
        self.activation_checkpointing: Checkpointing = "none"
        self.embed = Embedding(vocab, config.hidden_size)
        self.layers = nnx.List([Block(config, layer) for layer in range(config.num_layers)])
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.head = nnx.data(
            None
            if config.tied_embeddings
            else declare_linear((vocab, config.hidden_size), ("vocab", "embed"))
        )

    def __call__(self, tokens: Array, segment_ids: Array, positions: Array) -> Array:
        """Logits [B, T, V] float32 of the next token.

        Args:
            tokens: [B, T] int32.
            segment_ids: [B, T] int32; tokens see only their own segment. 0 is padding. Equal ids are neighbors.
            positions: [B, T] int32, counted from 0 within each segment.
        """
        logits = self.logits(self.hidden(tokens, segment_ids, positions))
        if logits.shape[-1] != self.config.vocab_size:
            logits = jax.sharding.reshard(logits, ACTIVATIONS)[..., : self.config.vocab_size]
        return logits

    def hidden(self, tokens: Array, segment_ids: Array, positions: Array, segments: int = 0) -> Array:
        """The last normed hidden states [B, T, D], from which ``logits`` follow.

        Arguments as ``__call__``, and the most ``segments`` of a row, see ``attention.packed.attention``.
        """
        tokens, segment_ids, positions = (
            jax.sharding.reshard(x, P(BATCH, None)) for x in (tokens, segment_ids, positions)
        )
        rope = self._rope(positions)
        x = self.embed(tokens, self.compute_dtype)
        block: Callable[..., Array] = _block
        if self.activation_checkpointing != "none":
            policy = CHECKPOINT_POLICIES[self.activation_checkpointing]
            block = jax.checkpoint(_block, policy=policy, static_argnums=4)
        for layer in self.layers:
            x = block(layer, x, rope, segment_ids, segments)
        return self.norm(x)

    def logits(self, hidden: Array) -> Array:
        """[B, T, D] -> logits [B, T, V'] float32; see ``vocabulary_logits``."""
        return vocabulary_logits(self.output_layer, hidden, self.config.vocab_size)

    @property
    def output_layer(self) -> Linear | Embedding:
        """The layer that gives the logits: the head, or the embedding when it is tied."""
        return self.embed if self.head is None else self.head

    def prefill(self, tokens: Array) -> tuple[Array, list[tuple[Array, Array]]]:
        """Hidden states [B, T, D] of prompts padded on the right, and each layer's keys and values [B, T, K, H].

        The padding follows the prompt, so causal attention alone keeps it from being seen.
        """
        positions = jnp.arange(tokens.shape[1]) + jnp.zeros_like(tokens)
        rope = self._rope(positions)
        x = self.embed(tokens, self.compute_dtype)
        keys_and_values = []
        for layer in self.layers:
            x, new = _prefill_block(layer, x, rope, None)
            keys_and_values.append(new)
        return self.norm(x), keys_and_values

    def decode(self, tokens: Array, cache: KVCache, positions: Array) -> tuple[Array, KVCache]:
        """One step: logits [B, V'] after ``tokens`` [B] at ``positions`` [B], and the cache holding them."""
        rope = self._rope(positions[:, None])
        x = self.embed(tokens[:, None], self.compute_dtype)
        caches = []
        for layer, old in zip(self.layers, cache.layers, strict=True):
            x, new = _decode_block(layer, x, rope, old, positions)
            caches.append(new)
        return self.logits(self.norm(x))[:, 0], KVCache(tuple(caches))

    def empty_cache(self, *chunks: tuple[int, int]) -> KVCache:
        """A cache in the compute dtype; each chunk is (rows, positions)."""
        config = self.config
        return KVCache.empty(
            config.num_layers, config.num_kv_heads, config.head_dim, chunks, self.compute_dtype
        )

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

    def flops_per_token(self, length: int, *, parts: Collection[str] = (), adapters: bool = False) -> float:
        """Model FLOPs of training per token at sequence length ``length``.

        A pass is 2 per weight of every linear layer, plus 4 N H S per layer for attention (not halved for
        causality). The forward pass is one. The backward pass is one where gradients of activations flow, and another
        one where weights are trained.

        Args:
            length: S, of a row.
            parts: the parts that are trained or have adapters that are, such as ``layers.3``; empty for everything.
            adapters: whether only adapters are trained, which are not counted.
        """
        config = self.config
        sizes: dict[str, int] = {}
        for name, variable in parameters(self).items():
            if type(variable) is nnx.Param:
                sizes[part_of(name)] = sizes.get(part_of(name), 0) + math.prod(variable.shape)
        attention_flops = 4 * config.num_heads * config.head_dim * length
        layers = [f"layers.{index}" for index in range(config.num_layers)]
        forward = {layer: 2 * sizes[layer] + attention_flops for layer in layers}
        forward |= {"norm": 2 * sizes["norm"], "head": 2 * config.vocab_size * config.hidden_size}
        trained = {*(parts or forward)}
        if config.tied_embeddings and "embed" in trained:
            trained.add("head")
        lowest = lowest_layer(parts, config.num_layers)
        still = set(layers[:lowest])  # what no gradient of an activation flows through
        if lowest == config.num_layers:
            still |= {"norm"} if "norm" in trained else {"norm", "head"}
        return float(
            sum(
                flops * (1 + (part not in still) + (part in trained and not adapters))
                for part, flops in forward.items()
            )
        )

    def _rope(self, positions: Array) -> tuple[Array, Array]:
        config = self.config
        return rope_tables(
            positions, config.head_dim, config.rope_theta, config.rope_scaling, self.compute_dtype
        )


def use_attention(model: Llama, wanted: WantedKernel) -> None:
    """Let every layer take this kernel for whole rows; ``auto`` is the rule of ``attention.choice``."""
    for layer in model.layers:
        layer.attention.wanted = wanted


def untie(model: Llama) -> None:
    """Give a model whose head is tied to its embedding a head of its own, with the same values."""
    model.config = dataclasses.replace(model.config, tied_embeddings=False)
    rows, width = model.embed.weight.shape
    head = declare_linear((rows, width), ("vocab", "embed"))
    table = model.embed.weight[...]
    with jax.set_mesh(mesh_of(table)):
        head.weight.set_value(jnp.copy(jax.sharding.reshard(table, stored_spec(head.weight.axes))))
    model.head = nnx.data(head)


def initialize(model: Llama, mesh: Mesh, key: Array, dtype: Any = jnp.float32) -> Llama:
    """Fill an abstract ``model`` with random weights on ``mesh``, each drawn on the devices that store it."""
    model.config.check_mesh(mesh)
    variables = parameters(model).values()
    with jax.set_mesh(mesh):
        for variable, own_key in zip(variables, jax.random.split(key, len(variables)), strict=True):
            place = NamedSharding(mesh, stored_spec(variable.axes))
            scale = model.config.initializer_range
            variable.set_value(_initial_value(own_key, variable.shape, variable.init, scale, dtype, place))
    return model


# One small program for each shape; a single program for all parameters of a deep model compiles for minutes.
@partial(jax.jit, static_argnums=(1, 2, 3, 4, 5))
def _initial_value(
    key: Array, shape: tuple[int, ...], init: str, scale: float, dtype: Any, place: NamedSharding
) -> Array:
    if init == "normal":
        return scale * jax.random.normal(key, shape, dtype, out_sharding=place)
    return {"ones": jnp.ones, "zeros": jnp.zeros}[init](shape, dtype, out_sharding=place)


def parameters(model: nnx.Module, kind: type[nnx.Variable] = nnx.Variable) -> dict[str, nnx.Variable]:
    """Parameters of ``kind`` by dotted path, such as ``layers.0.attention.q_proj.weight``, in a fixed order."""
    return {
        ".".join(map(str, path)): variable for path, variable in nnx.to_flat_state(nnx.state(model, kind))
    }
