"""The comparison of two models, each a Hugging Face directory, a run or a checkpoint, with or without an adapter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from xltjax.common.errors import UserError
from xltjax.converters.export_hf import fetch
from xltjax.converters.load import true_shape
from xltjax.converters.models import config_directory, find_model, load_model
from xltjax.converters.names import export_order, hf_name
from xltjax.converters.peft import load_peft
from xltjax.converters.safetensors_files import same_bits
from xltjax.data.conversations import Message
from xltjax.data.tokenizer import ChatTokenizer
from xltjax.llama import Llama, parameters
from xltjax.lora import has_lora, merge
from xltjax.mesh import batch_size

PROMPT = (
    "Why is the sky blue? Pourquoi le ciel est-il bleu ? Por que o céu é azul? Почему небо голубое? "
    "Warum ist der Himmel blau?"
)


@dataclass(frozen=True)
class Difference:
    """A tensor that is not the same in both models, or the logits when they are not.

    Attributes:
        name: the tensor's name in Hugging Face's format, or ``logits``.
        what: how the two differ, in words.
        largest: the largest absolute difference; infinite when shapes or presence differ.
    """

    name: str
    what: str
    largest: float


def _merged(source: str, adapter: str, base: str, mesh: Mesh) -> tuple[Path, Llama]:
    """The directory of a model, and the model in its own dtype with its adapters, or those in ``adapter``, merged."""
    path = find_model(source)
    model = load_model(path, mesh, dtype=None, base=base)
    if adapter:
        load_peft(model, adapter)
    if has_lora(model):
        merge(model)
    return path, model


def compare_models(
    first: str,
    second: str,
    mesh: Mesh,
    *,
    adapters: tuple[str, str] = ("", ""),
    bases: tuple[str, str] = ("", ""),
) -> Iterator[Difference]:
    """Every tensor that is not bit for bit the same, then the logits on ``PROMPT`` in float32.

    Args:
        first: a Hugging Face directory or id, a run or a checkpoint.
        second: the other model, given in the same ways.
        mesh: the devices that hold both.
        adapters: a PEFT directory to merge into each of the two; empty for none.
        bases: where the base of each lies now, for LoRA runs whose base was moved.
    """
    (path_a, a), (path_b, b) = (
        _merged(source, adapter, base, mesh)
        for source, adapter, base in zip((first, second), adapters, bases, strict=True)
    )
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
        if not same_bits(x, y):
            dtypes = x.dtype.name if x.dtype == y.dtype else f"{x.dtype.name} and {y.dtype.name}"
            yield Difference(hf_name(name), dtypes, _largest(x, y))
    prompt = _prompt((path_a, path_b), min(a.config.vocab_size, b.config.vocab_size))
    logits_a, logits_b = _logits(a, prompt, mesh), _logits(b, prompt, mesh)
    if logits_a.shape != logits_b.shape:
        yield Difference("logits", f"shapes {logits_a.shape} and {logits_b.shape}", float("inf"))
    elif not same_bits(logits_a, logits_b):
        yield Difference("logits", "five languages", _largest(logits_a, logits_b))


def _largest(x: np.ndarray, y: np.ndarray) -> float:
    """The largest absolute difference; NaN when only one of the two is NaN at some place."""
    x, y = x.astype(np.float32), y.astype(np.float32)
    with np.errstate(invalid="ignore"):  # infinity - infinity
        difference = np.where((x == y) | (np.isnan(x) & np.isnan(y)), np.float32(0), np.abs(x - y))
    return float(np.max(difference, initial=0))


def _prompt(paths: tuple[Path, Path], vocab: int) -> list[int]:
    """The token ids that both models read: ``PROMPT`` under the first tokenizer that works, or else fixed ids."""
    for path in paths:
        try:
            ids = ChatTokenizer(config_directory(path)).prompt([Message("user", PROMPT)])
        except UserError:
            continue
        if max(ids) < vocab:
            return ids
    return [index * 7919 % vocab for index in range(64)]


def _logits(model: Llama, ids: list[int], mesh: Mesh) -> np.ndarray:
    """The logits [T, V] of the token ids [T], computed in float32."""
    tokens = np.tile(np.array(ids, np.int32), (batch_size(mesh), 1))
    positions = np.tile(np.arange(len(ids), dtype=np.int32), (len(tokens), 1))
    model.compute_dtype = jnp.dtype(jnp.float32)
    with jax.set_mesh(mesh):
        logits = jax.jit(lambda m, t, p: m(t, jnp.ones_like(t), p))(model, tokens, positions)
    return np.asarray(logits)[0]
