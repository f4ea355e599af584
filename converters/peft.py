"""LoRA adapters to and from the format of PEFT: ``adapter_config.json`` and ``adapter_model.safetensors``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from xltjax.common.directories import new_directory
from xltjax.common.errors import UserError
from xltjax.common.files import read_json_object
from xltjax.converters.export_hf import fetch
from xltjax.converters.load import load_variables
from xltjax.converters.names import export_order, peft_name
from xltjax.converters.safetensors_files import map_tensors, write_safetensors
from xltjax.data.exported_tokenizer import write_chat_files
from xltjax.data.tokenizer import ChatTokenizer
from xltjax.llama import Llama, parameters
from xltjax.lora import TARGETS, add_lora, has_lora, linears, lora_linears

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"

# Keys of adapter_config.json that are honored or change nothing; any other that is set is refused by name.
HONORED = frozenset((
    "peft_type", "task_type", "base_model_name_or_path", "r", "lora_alpha", "target_modules",
    "init_lora_weights", "lora_dropout", "inference_mode", "peft_version", "auto_mapping", "revision",
    "megatron_core", "qalora_group_size", "loftq_config", "runtime_config",
))  # fmt: skip
UNSET: tuple[Any, ...] = (None, False, "none", [], {})
# Initializations of the adapter that leave the weights of the base unchanged.
PLAIN_STARTS = (True, False, None, "gaussian", "orthogonal")


def save_peft(
    model: Llama,
    path: str | Path,
    *,
    base_name: str,
    tokenizer: ChatTokenizer | None = None,
    overwrite: bool = False,
) -> None:
    """Write the adapters of ``model`` as a directory that ``peft`` loads.

    Args:
        model: a model whose adapters all have the same rank and scale.
        path: the directory to create.
        base_name: the value of ``base_model_name_or_path``: the path or id of the base model.
        tokenizer: the tokenizer with the chat template of the training, which are written beside the adapter.
        overwrite: whether to replace a directory that is not empty.

    Raises:
        UserError: when the model has no adapters, or ``path`` is taken.
    """
    adapted = list(lora_linears(model))
    if not adapted:
        raise UserError("the model has no LoRA adapters to write; to-hf writes whole models")
    rank = adapted[0][1].lora_a.shape[0]
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_name,
        "r": rank,
        "lora_alpha": _plain_number(adapted[0][1].scale * rank),
        "lora_dropout": 0.0,
        "target_modules": sorted({name.rsplit(".", 1)[1] for name, _ in adapted}),
        "bias": "none",
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "inference_mode": True,
    }
    with new_directory(Path(path), overwrite) as staging:
        if tokenizer is not None:
            write_chat_files(tokenizer, staging)
        (staging / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        variables = parameters(model, nnx.LoRAParam)
        by_name = {peft_name(name): variables[name] for name in sorted(variables, key=export_order)}
        header = {name: (np.dtype(v.dtype), tuple(v.shape)) for name, v in by_name.items()}
        write_safetensors(staging / WEIGHTS, header, lambda name: fetch(by_name[name]))


def load_peft(model: Llama, path: str | Path, *, dtype: Any = jnp.float32) -> None:
    """Add the adapter in ``path``, which ``peft`` or ``save_peft`` has written, to ``model``.

    Rank and alpha come from its config, the targets from the names of its tensors.

    Args:
        model: the base model, on any mesh and without adapters.
        path: a directory with ``adapter_config.json`` and ``adapter_model.safetensors``.
        dtype: the dtype of the adapter's parameters.

    Raises:
        UserError: for an option that is not supported (named), tensors that do not fit the model, or a
            model that has adapters already.
    """
    if has_lora(model):
        raise UserError("the model has adapters already; merge them first (--merge-lora)")
    directory = Path(path)
    config = _read_config(directory)
    tensors = map_tensors(directory, single=WEIGHTS)
    targets = _targets(directory, tensors)
    expected = _expected_shapes(model, targets, config["r"])
    for name in sorted(expected.keys() | tensors.keys()):
        if name not in tensors or tensors[name].shape != expected.get(name):
            raise UserError(f"{directory}: the adapter does not fit the model; see {name}")
    mesh: Mesh = model.embed.weight[...].sharding.mesh  # type: ignore[attr-defined]
    add_lora(model, mesh, None, rank=config["r"], alpha=config["lora_alpha"], targets=targets, dtype=dtype)
    variables = {peft_name(name): v for name, v in parameters(model, nnx.LoRAParam).items()}
    load_variables(tensors, variables, mesh, dtype)


def _expected_shapes(model: Llama, targets: Sequence[str], rank: int) -> dict[str, tuple[int, int]]:
    """The shapes that the adapter's tensors must have: A [rank, in] and B [out, rank] for every targeted layer."""
    shapes = {}
    for name, linear in linears(model):
        if name.rsplit(".", 1)[1] in targets:
            outputs, inputs = linear.weight.shape
            shapes[peft_name(f"{name}.lora_a")] = (rank, inputs)
            shapes[peft_name(f"{name}.lora_b")] = (outputs, rank)
    return shapes


def _read_config(directory: Path) -> dict[str, Any]:
    if not directory.is_dir():
        raise UserError(f"adapter directory {directory} does not exist")
    config = read_json_object(directory / CONFIG)
    if config.get("peft_type") != "LORA":
        raise UserError(
            f"{directory}: peft_type {config.get('peft_type')!r} is not supported; supported: LORA"
        )
    for key, value in config.items():
        if key not in HONORED and key != "use_rslora" and value not in UNSET:
            raise UserError(f"{directory}: the option {key} = {value!r} is not supported")
    start = config.get("init_lora_weights", True)
    if start not in PLAIN_STARTS:
        raise UserError(f"{directory}: init_lora_weights = {start!r} changes the base model; not supported")
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if type(rank) is not int or rank < 1 or type(alpha) not in (int, float):
        raise UserError(
            f"{directory}: r must be a whole number of at least 1 and lora_alpha a number, not {rank!r} and {alpha!r}"
        )
    if config.get("use_rslora"):
        # Rank-stabilized LoRA divides by the root of the rank, which is the same as a larger alpha.
        config["lora_alpha"] *= config["r"] ** 0.5
    return config


def _targets(directory: Path, names: Iterable[str]) -> tuple[str, ...]:
    """The names of the linear layers that the adapter's tensors belong to, in the order of ``TARGETS``."""
    found = {match[1] for name in names if (match := re.search(r"\.(\w+)\.lora_[AB]\.weight$", name))}
    unknown = found - set(TARGETS)
    if unknown or not found:
        raise UserError(
            f"{directory}: adapters on {', '.join(sorted(unknown)) or 'nothing'} are not supported"
        )
    return tuple(target for target in TARGETS if target in found)


def _plain_number(value: float) -> float | int:
    """``value`` as a whole number where it is one, since ``peft`` declares alpha as ``int``."""
    return round(value) if abs(value - round(value)) < 1e-9 else value
