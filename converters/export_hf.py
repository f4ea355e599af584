"""A ``Llama`` -> a Hugging Face directory: one tensor in host memory at a time, sharded files with an index."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import PartitionSpec as P

from xltjax.converters.hf_config import read_hf_config
from xltjax.converters.load import true_shape
from xltjax.converters.names import export_order, hf_name
from xltjax.converters.safetensors_files import INDEX, SINGLE, write_safetensors
from xltjax.errors import UserError
from xltjax.llama import Llama, LlamaConfig, parameters

# What travels with a model besides its weights.
COMPANIONS = (
    "config.json",
    "generation_config.json",
    "tokenizer.model",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
)


def save_hf(
    model: Llama,
    path: str | Path,
    *,
    base: str | Path | None = None,
    max_shard_bytes: int = 5 << 30,
    dtype: Any = None,
    overwrite: bool = False,
) -> None:
    """Write ``model`` as a Hugging Face directory that ``transformers`` loads.

    The directory appears under its final name only when it is complete.

    Args:
        model: on any mesh; adapters must have been merged (``xltjax.lora.merge``).
        path: the directory to create.
        base: the directory whose config, tokenizer, generation config and chat template travel along;
            a ``config.json`` that it lacks is written from the model's architecture.
        max_shard_bytes: largest size of one safetensors file, in bytes.
        dtype: of the tensors written; that of the parameters when not given.
        overwrite: replace a directory that is not empty.

    Raises:
        UserError: when ``path`` is a file or a directory that is not empty, or adapters are not merged.
    """
    if any(isinstance(v, nnx.LoRAParam) for v in parameters(model).values()):
        raise UserError("the model still has adapters; merge them first (--merge-lora)")
    target = Path(path)
    refuse_existing(target, overwrite)
    with staging_directory(target) as staging:
        _write_config(model.config, staging, Path(base) if base else None, dtype or _dtype(model))
        _write_weights(model, staging, max_shard_bytes, dtype)
        finish_directory(staging, target)


def refuse_existing(target: Path, overwrite: bool) -> None:
    """Refuse to write where something is.

    Raises:
        UserError: when ``target`` is a file, or a directory that is not empty and must not be replaced.
    """
    if target.exists() and not target.is_dir():
        raise UserError(f"{target} is a file; give a directory")
    if target.is_dir() and any(target.iterdir()) and not overwrite:
        raise UserError(f"{target} is not empty; give --overwrite to replace it")


@contextlib.contextmanager
def staging_directory(target: Path) -> Iterator[Path]:
    """A directory beside ``target`` to write in; removed unless ``finish_directory`` moved it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = target.parent / f".{target.name}.{os.getpid()}.tmp"
    shutil.rmtree(staging, ignore_errors=True)
    try:
        staging.mkdir()
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def finish_directory(staging: Path, target: Path) -> None:
    """Give a complete directory its final name."""
    if target.exists():
        shutil.rmtree(target)
    staging.rename(target)


def copy_companions(base: Path, target: Path) -> None:
    """Copy config, tokenizer, generation config and chat template, those of them that exist."""
    target.mkdir(parents=True, exist_ok=True)
    for name in COMPANIONS:
        if (base / name).is_file():
            shutil.copyfile(base / name, target / name)


def _dtype(model: Llama) -> np.dtype:
    return np.dtype(model.embed.weight.dtype)


def _write_config(config: LlamaConfig, target: Path, base: Path | None, dtype: Any) -> None:
    if base is not None:
        copy_companions(base, target)
    values = read_hf_config(target) if (target / "config.json").is_file() else hf_config(config)
    values.pop("torch_dtype", None)
    values["dtype"] = np.dtype(dtype).name
    (target / "config.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def hf_config(config: LlamaConfig) -> dict[str, Any]:
    """A ``config.json`` for an architecture that came from no Hugging Face directory (LLaMA only)."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": config.max_positions,
        "rms_norm_eps": config.rms_norm_eps,
        "rope_theta": config.rope_theta,
        "attention_bias": config.o_bias,
        "mlp_bias": config.mlp_bias,
        "tie_word_embeddings": config.tied_embeddings,
        "initializer_range": config.initializer_range,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }


def _write_weights(model: Llama, target: Path, max_shard_bytes: int, dtype: Any) -> None:
    variables = parameters(model)
    names = sorted(variables, key=export_order)
    shards: list[list[str]] = [[]]
    filled = 0
    for name in names:
        size = (
            int(np.prod(true_shape(variables[name], model.config))) * _stored(variables[name], dtype).itemsize
        )
        if shards[-1] and filled + size > max_shard_bytes:
            shards.append([])
            filled = 0
        shards[-1].append(name)
        filled += size
    index = {}
    total = 0
    for number, shard in enumerate(shards, start=1):
        file = SINGLE if len(shards) == 1 else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        header = {
            hf_name(name): (_stored(variables[name], dtype), true_shape(variables[name], model.config))
            for name in shard
        }
        write_safetensors(target / file, _tensors(shard, variables, model.config, dtype), header)
        index.update(dict.fromkeys(header, file))
        total += sum(int(np.prod(shape)) * kind.itemsize for kind, shape in header.values())
    if len(shards) > 1:
        document = {"metadata": {"total_size": total}, "weight_map": index}
        (target / INDEX).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _stored(variable: nnx.Variable, dtype: Any) -> np.dtype:
    return np.dtype(dtype or variable.dtype)


def fetch(variable: nnx.Variable) -> np.ndarray:
    """One parameter, whole, in host memory."""
    array = variable[...]
    with jax.set_mesh(array.sharding.mesh):
        return np.asarray(jax.device_get(jax.sharding.reshard(array, P(*[None] * array.ndim))))


def _tensors(
    names: list[str], variables: dict[str, nnx.Variable], config: LlamaConfig, dtype: Any
) -> Iterator[tuple[str, np.ndarray]]:
    """Each tensor in turn, without vocabulary padding, in the dtype to be written."""
    for name in names:
        rows = true_shape(variables[name], config)[0]
        yield hf_name(name), fetch(variables[name])[:rows].astype(_stored(variables[name], dtype), copy=False)
