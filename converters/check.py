"""Compare two models, each a Hugging Face directory, a run or checkpoint of ours, or either with an adapter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from xltjax.chat import ChatTokenizer, Message
from xltjax.checkpoint import companions, find_model, load_model
from xltjax.converters.export_hf import fetch
from xltjax.converters.load import true_shape
from xltjax.converters.names import export_order, hf_name
from xltjax.converters.peft import load_peft
from xltjax.errors import UserError
from xltjax.llama import Llama, parameters
from xltjax.lora import has_lora, merge

PROMPT = (
    "Why is the sky blue? Pourquoi le ciel est-il bleu ? Por que o céu é azul? Почему небо голубое? "
    "Warum ist der Himmel blau?"
)


@dataclass(frozen=True)
class Difference:
    """One tensor (or the logits) that is not the same in both models.

    Attributes:
        name: of the tensor, or ``logits``.
        what: how they differ, for a reader.
        largest: the largest absolute difference; infinite when shapes or presence differ.
    """

    name: str
    what: str
    largest: float


def open_model(source: str, mesh: Mesh) -> tuple[Path, Llama]:
    """A model from ``DIRECTORY`` or ``DIRECTORY+ADAPTER``, in its own dtype, adapters merged."""
    name, _, adapter = source.partition("+")
    path = find_model(name)
    model = load_model(path, mesh, dtype=None)
    if adapter:
        load_peft(model, adapter)
    if has_lora(model):
        merge(model)
    return path, model


def compare_models(first: str, second: str, mesh: Mesh) -> Iterator[Difference]:
    """Every tensor that is not bit for bit the same, then the logits on ``PROMPT`` in float32."""
    path_a, a = open_model(first, mesh)
    path_b, b = open_model(second, mesh)
    ours, theirs = parameters(a), parameters(b)
    for name in sorted(ours.keys() | theirs.keys(), key=export_order):
        if name not in ours or name not in theirs:
            holder = first if name in ours else second
            yield Difference(hf_name(name), f"only in {holder}", float("inf"))
            continue
        shape_a, shape_b = true_shape(ours[name], a.config), true_shape(theirs[name], b.config)
        if shape_a != shape_b:
            yield Difference(hf_name(name), f"shapes {shape_a} and {shape_b}", float("inf"))
            continue
        x, y = fetch(ours[name])[: shape_a[0]], fetch(theirs[name])[: shape_b[0]]
        if x.dtype != y.dtype or x.tobytes() != y.tobytes():
            dtypes = x.dtype.name if x.dtype == y.dtype else f"{x.dtype.name} and {y.dtype.name}"
            largest = float(np.max(np.abs(x.astype(np.float32) - y.astype(np.float32)), initial=0.0))
            yield Difference(hf_name(name), dtypes, largest)
    logits_a, logits_b = _logits(a, path_a, mesh), _logits(b, path_b, mesh)
    if logits_a.shape != logits_b.shape:
        yield Difference("logits", f"shapes {logits_a.shape} and {logits_b.shape}", float("inf"))
    elif not np.array_equal(logits_a, logits_b):
        yield Difference("logits", "on a prompt in five languages", float(np.abs(logits_a - logits_b).max()))


def _logits(model: Llama, path: Path, mesh: Mesh) -> np.ndarray:
    """Logits [T, V] on ``PROMPT``, or on fixed ids when there is no tokenizer."""
    try:
        ids = ChatTokenizer(companions(path)).prompt([Message("user", PROMPT)])
    except UserError:
        ids = (np.arange(64) * 7919 % model.config.vocab_size).tolist()
    rows = mesh.shape["replica"] * mesh.shape["data"]
    tokens = np.tile(np.array(ids, np.int32), (rows, 1))
    positions = np.tile(np.arange(len(ids), dtype=np.int32), (rows, 1))
    model.compute_dtype = jnp.dtype(jnp.float32)
    with jax.set_mesh(mesh):
        logits = jax.jit(lambda m, t, p: m(t, jnp.ones_like(t), p))(model, tokens, positions)
    return np.asarray(logits)[0]
