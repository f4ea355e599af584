"""A model taken apart into trainable and frozen weights, for transformations of pure functions."""

from __future__ import annotations

from collections.abc import Callable

import jax
from flax import nnx
from jax import Array

from xltjax.llama import Llama, parameters

Weights = dict[str, Array]  # by dotted path


def partition(model: Llama) -> tuple[Weights, Weights, Callable[[Weights, Weights], Llama]]:
    """The trainable weights, the frozen weights, and a function that puts a model together from both.

    Adapters are trainable where there are any, otherwise everything is. The function keeps shapes instead of arrays,
    so that no weight is baked into a compiled program, and the caller alone decides how long the arrays live.
    """
    graph, state = nnx.split(model)
    variables = dict(nnx.to_flat_state(state))
    adapted = any(isinstance(variable, nnx.LoRAParam) for variable in variables.values())
    kind = nnx.LoRAParam if adapted else nnx.Param
    named = parameters(model)
    trainable = {name: variable[...] for name, variable in named.items() if isinstance(variable, kind)}
    frozen = {name: variable[...] for name, variable in named.items() if not isinstance(variable, kind)}
    shapes = {path: v.replace(jax.ShapeDtypeStruct(v.shape, v.dtype)) for path, v in variables.items()}

    def rebuild(trainable: Weights, frozen: Weights) -> Llama:
        values = {**frozen, **trainable}
        flat = [(path, v.replace(values[".".join(map(str, path))])) for path, v in shapes.items()]
        return nnx.merge(graph, nnx.from_flat_state(flat))

    return trainable, frozen, rebuild
