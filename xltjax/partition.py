"""A model taken apart into arrays, for JAX's transformations, and put together again inside a jitted function."""

from __future__ import annotations

from collections.abc import Callable, Collection

import jax
from flax import nnx
from jax import Array

from xltjax.common.model_parts import part_of
from xltjax.llama import Llama, parameters

Weights = dict[str, Array]  # by dotted path, such as ``layers.0.attention.q_proj.weight``
Rebuild = Callable[[Weights, Weights], Llama]  # (trainable, frozen) -> the model with these weights


def partition(model: Llama, parts: Collection[str] = ()) -> tuple[Weights, Weights, Rebuild]:
    """Split ``model`` into its trainable weights, its frozen weights, and a function that rebuilds it.

    Adapters are trainable where there are any, otherwise every weight is, or those of ``parts`` alone.

    Args:
        model: the model.
        parts: the parts that are trainable, such as ``layers.3`` or ``norm``; the whole model when it is empty.

    Returns:
        ``trainable``, ``frozen`` and ``rebuild``. ``rebuild(trainable, frozen)`` gives a model with variables of
        its own. It keeps shapes but no arrays: no weight becomes a constant of a compiled program, and an update
        may reuse the memory of the weights once the caller has dropped ``model``.
    """
    graph, state = nnx.split(model)
    named = parameters(model)
    has_adapters = any(isinstance(variable, nnx.LoRAParam) for variable in named.values())
    kind = nnx.LoRAParam if has_adapters else nnx.Param
    chosen = {
        name for name, v in named.items() if isinstance(v, kind) and (not parts or part_of(name) in parts)
    }
    trainable = {name: v[...] for name, v in named.items() if name in chosen}
    frozen = {name: v[...] for name, v in named.items() if name not in chosen}
    abstract = [
        (path, variable.replace(jax.ShapeDtypeStruct(variable.shape, variable.dtype)))
        for path, variable in nnx.to_flat_state(state)
    ]

    def rebuild(trainable: Weights, frozen: Weights) -> Llama:
        weights = {**frozen, **trainable}
        flat = [(path, variable.replace(weights[".".join(map(str, path))])) for path, variable in abstract]
        return nnx.merge(graph, nnx.from_flat_state(flat))

    return trainable, frozen, rebuild
