"""The product of a linear layer, whose gradient is written by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array
from jax.sharding import PartitionSpec as P

from xltjax.layers import Layout, matmul
from xltjax.mesh import BATCH, make_mesh, sharding


@pytest.mark.parametrize("layout", ["oi", "io"])
@pytest.mark.parametrize(("wide_in", "wide_out"), [(8, 24), (24, 8)])
@pytest.mark.parametrize("split", [None, "tensor"])
def test_gradients_of_a_product_are_those_of_float64_on_a_mesh(
    layout: Layout, wide_in: int, wide_out: int, split: str | None
) -> None:
    random = np.random.default_rng(0)
    x, weight, dy = (
        random.normal(size=shape) for shape in ((4, 5, wide_in), (wide_out, wide_in), (4, 5, wide_out))
    )
    stored = weight if layout == "oi" else weight.T
    mesh = make_mesh("2x2")
    with jax.set_mesh(mesh):
        placed = jax.device_put(x.astype(np.float32), sharding(mesh, BATCH, None, None))
        axes = (split, None) if layout == "oi" else (None, split)
        kept = jax.device_put(stored.astype(np.float32), sharding(mesh, *axes))
        given = jax.device_put(dy.astype(np.float32), sharding(mesh, BATCH, None, split))

        @jax.jit
        def gradients(x: Array, weight: Array, dy: Array) -> tuple[Array, Array]:
            return jax.vjp(lambda x, weight: matmul(x, weight, split, layout), x, weight)[1](dy)

        dx, dw = gradients(placed, kept, given)
    expected = np.einsum("bto,bti->oi", dy, x)
    np.testing.assert_allclose(dx, dy @ weight, atol=1e-5)
    np.testing.assert_allclose(dw, expected if layout == "oi" else expected.T, atol=1e-5)
    assert jax.typeof(dw).sharding.spec == P(*axes)
    assert dw.dtype == jnp.float32
