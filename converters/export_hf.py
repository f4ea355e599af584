"""Export a ``Llama`` as a Hugging Face directory, with one tensor in host memory at a time."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import PartitionSpec as P
from jax.typing import DTypeLike

from xltjax.common.directories import new_directory
from xltjax.common.errors import UserError
from xltjax.converters.hf_config import hf_config, llama_config, read_hf_config
from xltjax.converters.load import empty_pages, true_shape
from xltjax.converters.names import export_order, hf_name
from xltjax.converters.safetensors_files import INDEX, SINGLE, Header, write_safetensors
from xltjax.data.exported_tokenizer import write_chat_files
from xltjax.data.model_files import copy_model_files
from xltjax.data.tokenizer import ChatTokenizer
from xltjax.llama import Llama, LlamaConfig, parameters
from xltjax.mesh import mesh_of


def save_hf(
    model: Llama,
    path: str | Path,
    *,
    base: str | Path | None = None,
    max_shard_bytes: int = 5 << 30,
    dtype: DTypeLike | None = None,
    template: str | None = None,
    template_date: str = "",
    overwrite: bool = False,
) -> None:
    """Write ``model`` as a Hugging Face directory that ``transformers`` loads.

    The directory appears under its final name only when it is complete.

    Args:
        model: the model, on any mesh; adapters must have been merged (``xltjax.lora.merge``).
        path: the directory to create.
        base: the directory from which the config, tokenizer, generation config and chat template are copied.
            Without a ``config.json`` there, one is written from the model's architecture.
        max_shard_bytes: the largest size of one safetensors file, in bytes.
        dtype: the dtype of the tensors in the files; None keeps the dtype of the parameters.
        template: the chat template of ``xltjax.data.templates`` with which the model was trained. It is written for
            the tokenizer of ``base``, with the tokens that end an answer; None leaves the files of ``base`` alone.
        template_date: the ISO date that the template wrote into prompts; empty if the template should write the
            current date.
        overwrite: whether to replace a directory that is not empty.

    Raises:
        UserError: if ``path`` is a file or a directory that is not empty, adapters are not merged,
            ``base`` describes another architecture, or the disk is full.
    """
    variables = parameters(model)
    if any(isinstance(v, nnx.LoRAParam) for v in variables.values()):
        raise UserError("the model still has adapters; merge them first (--merge-lora)")
    kind = np.dtype(dtype) if dtype is not None else None
    header = {name: (kind or np.dtype(v.dtype), true_shape(v, model.config)) for name, v in variables.items()}

    def tensor(path: str) -> np.ndarray:
        kind, shape = header[path]
        return fetch(variables[path], kind)[: shape[0]]  # without the rows that pad the vocabulary

    with new_directory(Path(path), overwrite) as staging:
        write_hf(
            staging, model.config, header, tensor, base=base, max_shard_bytes=max_shard_bytes, template=template,
            template_date=template_date,
        )  # fmt: skip


def write_hf(
    target: Path,
    config: LlamaConfig,
    header: Header,
    tensor: Callable[[str], np.ndarray],
    *,
    base: str | Path | None,
    max_shard_bytes: int,
    template: str | None,
    template_date: str,
) -> None:
    """Write a Hugging Face directory into the existing directory ``target``, with one tensor in memory at a time.

    Args:
        target: the directory.
        config: the architecture.
        header: the dtype and shape of every parameter by its path.
        tensor: a function that returns the parameter with a given path; it is called once for each.
        base: see ``save_hf``, as the three that follow.
        max_shard_bytes: the largest size of one file.
        template: the chat template.
        template_date: the date in it.

    Raises:
        UserError: when ``base`` describes another architecture.
    """
    _write_config(config, target, Path(base) if base else None, header["embed.weight"][0])
    if base and template:
        write_chat_files(ChatTokenizer(base, template, date=template_date), target)
    _write_weights(header, tensor, target, max_shard_bytes)


def _write_config(config: LlamaConfig, target: Path, base: Path | None, dtype: np.dtype) -> None:
    if base is not None:
        copy_model_files(base, target)
    if (target / "config.json").is_file():
        values = read_hf_config(target)
        # The only two that may have changed: more tokens, and a head that was tied before an adapter replaced it.
        if config.vocab_size > values.get("vocab_size", config.vocab_size):
            values["vocab_size"] = config.vocab_size
        if not config.tied_embeddings:
            values["tie_word_embeddings"] = False
        if llama_config(values) != config:
            raise UserError(
                f"{base}/config.json describes an architecture other than that of the model to write"
            )
    else:
        values = hf_config(config)
    values.pop("torch_dtype", None)
    values["dtype"] = dtype.name
    (target / "config.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _write_weights(
    header: Header, tensor: Callable[[str], np.ndarray], target: Path, max_shard_bytes: int
) -> None:
    paths = {hf_name(path): path for path in sorted(header, key=export_order)}
    header = {name: header[path] for name, path in paths.items()}
    sizes = {name: math.prod(shape) * kind.itemsize for name, (kind, shape) in header.items()}
    shards = _shards(sizes, max_shard_bytes)
    files = [SINGLE] if len(shards) == 1 else [
        f"model-{number:05d}-of-{len(shards):05d}.safetensors" for number in range(1, len(shards) + 1)
    ]  # fmt: skip
    for file, names in zip(files, shards, strict=True):
        write_safetensors(
            target / file, {name: header[name] for name in names}, lambda name: tensor(paths[name])
        )
    if len(shards) > 1:
        index = {name: file for file, names in zip(files, shards, strict=True) for name in names}
        document = {"metadata": {"total_size": sum(sizes.values())}, "weight_map": index}
        (target / INDEX).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _shards(sizes: dict[str, int], most: int) -> list[list[str]]:
    """The names in order, divided so that no file exceeds ``most`` bytes unless a single tensor does."""
    shards: list[list[str]] = [[]]
    filled = 0
    for name, size in sizes.items():
        if shards[-1] and filled + size > most:
            shards.append([])
            filled = 0
        shards[-1].append(name)
        filled += size
    return shards


def fetch(variable: nnx.Variable, dtype: np.dtype | None = None) -> np.ndarray:
    """The whole of one parameter in host memory, cast to ``dtype`` when it is given."""
    array = variable[...]
    if not array.is_fully_addressable:
        with jax.set_mesh(mesh_of(array)):
            array = jax.sharding.reshard(array, P(*[None] * array.ndim))
    shards = array.addressable_shards
    if array.is_fully_replicated:
        return _on_host(shards[0].data).astype(dtype or array.dtype, copy=False)
    whole = empty_pages(array.shape, np.dtype(dtype or array.dtype))
    for shard in shards:
        if shard.replica_id == 0:
            whole[shard.index] = _on_host(shard.data)
    return whole


def _on_host(array: jax.Array) -> np.ndarray:
    """The array of a single device as a NumPy array, which on CPU shares the array's memory.

    A JAX array on an accelerator keeps its host copy for as long as it lives, so a copy of it is fetched instead.
    """
    return np.asarray(array if array.platform() == "cpu" else jnp.copy(array))
