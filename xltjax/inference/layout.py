"""The layout in which a model decodes fastest."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jax.sharding import Mesh

from xltjax.layers import Linear
from xltjax.llama import Llama, parameters
from xltjax.lora import linears, replace_linears
from xltjax.mesh import sharding, used_spec


def decode_layout(model: Llama, mesh: Mesh) -> Llama:
    """A new model whose parameters are gathered over ``data`` and stored as the platform multiplies them fastest.

    On CPU linear layers keep their weights as [in, out], by which XLA multiplies few rows 20 to 35 % faster.

    Args:
        model: left unchanged; arrays that lie the same in both are shared, variables never are.
        mesh: on which the model lies.
    """
    laid_out = nnx.clone(model)  # ``nnx.merge(*nnx.split(model))`` would share the variables with ``model``
    for variable in parameters(laid_out).values():
        variable.set_value(jax.device_put(variable[...], sharding(mesh, *used_spec(variable.axes))))
    if mesh.devices.flat[0].platform == "cpu":
        with jax.set_mesh(mesh):
            _transpose_weights(laid_out)
    return laid_out


def _transpose_weights(model: Llama) -> None:
    """Store the weights of all linear layers, the head included, as [in, out]."""
    layers = dict(linears(model))
    if model.head is not None:
        layers["head"] = model.head
    weights = _transposed({path: layer.weight[...] for path, layer in layers.items()})

    def transposed(_: int, path: str, layer: Linear) -> Linear:
        weight = nnx.Param(weights[path], axes=layer.weight.axes[::-1], init=layer.weight.init)
        return layer.with_weight(weight, "io")

    replace_linears(model, transposed)
    if model.head is not None:
        model.head = transposed(0, "head", layers["head"])


@jax.jit  # one program for all weights
def _transposed(weights: dict[str, Array]) -> dict[str, Array]:
    return {path: jnp.swapaxes(weight, 0, 1) for path, weight in weights.items()}
