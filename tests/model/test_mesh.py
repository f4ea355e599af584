"""Meshes: what is read, what is made of the devices there are, where parameters lie."""

from __future__ import annotations

import os
import subprocess
import sys

import jax
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from xltjax.common.errors import UserError
from xltjax.mesh import AXES, batch_size, make_mesh, parse_mesh, stored_spec, used_spec


@given(st.integers(1, 10_000), st.integers(1, 10_000), st.none() | st.integers(1, 10_000))
def test_sizes_are_read_as_data_and_tensor_with_replicas_in_front(d: int, t: int, r: int | None) -> None:
    assert parse_mesh(f"{d}x{t}" if r is None else f"{r}x{d}x{t}") == (r or 1, d, t)


@pytest.mark.parametrize(
    "spec",
    ["abc", "0x1", "1x0", "2", "2x", "x2", "-1x2", "2x1x1x1", "2 x 1", "2X1", "2x1\n", "1.0x1", "01x1", ""],
)
def test_anything_else_is_refused_with_the_form(spec: str) -> None:
    with pytest.raises(UserError, match="is not of the form DxT or RxDxT, such as 2x1"):
        parse_mesh(spec)


@given(st.text(max_size=8))
def test_any_text_is_a_mesh_or_a_mistake(spec: str) -> None:
    try:
        sizes = parse_mesh(spec)
    except UserError:
        return
    assert len(sizes) == 3
    assert all(size >= 1 for size in sizes)


@pytest.mark.parametrize(("spec", "parts"), [("1x1", 1), ("2x1", 2), ("1x2", 1), ("2x4", 2), ("2x2x2", 4)])
def test_a_mesh_has_three_explicit_axes_over_the_first_devices(spec: str, parts: int) -> None:
    mesh = make_mesh(spec)
    assert tuple(mesh.shape[axis] for axis in AXES) == parse_mesh(spec)
    assert set(mesh.axis_types) == {AxisType.Explicit}
    assert mesh.devices.ravel().tolist() == jax.devices()[: mesh.size]
    assert batch_size(mesh) == parts


@pytest.mark.parametrize("spec", ["9x1", "3x3", "2x2x3", f"{10**12}x1"])
def test_more_devices_than_there_are_is_refused_with_what_fits(spec: str) -> None:
    with pytest.raises(UserError, match="and this machine has 8; use --mesh 8x1 or 1x8"):
        make_mesh(spec)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("3x2", "6 devices"),
        ("99999999999x1", "mesh 99999999999x1 needs 99999999999 devices and this machine has 512"),
    ],
)
def test_a_machine_without_accelerators_makes_the_devices_a_mesh_needs(spec: str, expected: str) -> None:
    program = f"""
from xltjax.common.errors import UserError
from xltjax.mesh import make_mesh
try:
    print(make_mesh("{spec}").size, "devices")
except UserError as mistake:
    print(mistake)
"""
    fixed = ("JAX_NUM_CPU_DEVICES", "XLA_FLAGS")
    environment = {k: v for k, v in os.environ.items() if k not in fixed} | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(expected)


def test_parameters_are_stored_over_data_and_gathered_for_use() -> None:
    # A projection [heads, embed] and a table [rows, columns], as llama.py names their axes.
    assert stored_spec(("heads", "embed")) == P("tensor", "data")
    assert used_spec(("heads", "embed")) == P("tensor", None)
    assert stored_spec(("table_rows", "table_columns")) == P("data", "tensor")
    assert used_spec(("table_rows", "table_columns")) == P(None, "tensor")
    assert stored_spec((None,)) == used_spec((None,)) == P(None)
