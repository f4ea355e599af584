"""LoRA adapters to and from the format of PEFT: ``adapter_config.json`` and ``adapter_model.safetensors``."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jax.typing import DTypeLike

from xltjax.common.directories import new_directory
from xltjax.common.errors import UserError
from xltjax.common.files import read_json_object
from xltjax.common.model_parts import layers_of, part_of
from xltjax.converters.export_hf import fetch
from xltjax.converters.load import load_variables, true_shape
from xltjax.converters.names import PEFT_PREFIX, export_order, hf_name, our_module, peft_name
from xltjax.converters.safetensors_files import map_tensors, same_bits, write_safetensors
from xltjax.data.exported_tokenizer import write_chat_files
from xltjax.data.tokenizer import ChatTokenizer
from xltjax.llama import Llama, parameters, untie
from xltjax.lora import TARGETS, add_adapters, has_lora, linears, lora_linears
from xltjax.mesh import mesh_of

log = logging.getLogger("xltjax")

TABLE, HEAD = "embed.weight", "head.weight"
WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"

# Keys of adapter_config.json that are read, or that decide nothing beside the names and shapes of the tensors. Any
# other that is set is named in a warning.
HARMLESS = frozenset((
    "peft_type", "task_type", "base_model_name_or_path", "r", "lora_alpha", "rank_pattern", "alpha_pattern",
    "use_rslora", "modules_to_save", "ensure_weight_tying", "target_modules", "exclude_modules", "target_parameters",
    "layers_to_transform", "layers_pattern", "init_lora_weights", "lora_dropout", "lora_bias", "bias",
    "fan_in_fan_out", "inference_mode", "peft_version", "auto_mapping", "revision", "megatron_core",
    "megatron_config", "qalora_group_size", "loftq_config", "eva_config", "corda_config", "lora_ga_config",
    "runtime_config", "trainable_token_indices",
))  # fmt: skip
# Keys that change what the tensors mean. They are refused by name when they are set.
REFUSED = (
    "use_dora", "use_qalora", "use_bdlora", "alora_invocation_tokens", "layer_replication", "arrow_config",
    "kasa_config", "velora_config", "monteclora_config",
)  # fmt: skip
UNSET: tuple[Any, ...] = (None, False, "none", [], {})
# Initializations of the adapter that leave the weights of the base unchanged.
PLAIN_STARTS = (True, False, None, "gaussian", "orthogonal", "eva")

_ADAPTER = re.compile(r"(.+)\.lora_([AB])(?:\.\w+)?\.weight")
_TRAINED = re.compile(r"(.+?)(?:\.modules_to_save(?:\.\w+)?|\.base_layer)?\.(weight|bias)")


@dataclass(frozen=True)
class AdapterFile:
    """The tensors of an adapter, under our names.

    Attributes:
        low_rank: A and B by the path of their layer followed by ``.lora_a`` and ``.lora_b``.
        trained: whole parameters that take the place of the base's, by their path.
    """

    low_rank: dict[str, np.ndarray]
    trained: dict[str, np.ndarray]


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
        model: a model whose adapters all have the same rank and scale, and are the same in each layer that has any.
        path: the directory to create.
        base_name: the path or id of the base model, written as ``base_model_name_or_path``.
        tokenizer: the tokenizer with the chat template used in training; both are written beside the adapter.
        overwrite: whether to replace a directory that is not empty.

    Raises:
        UserError: if the model has no adapters or adapters that differ, or ``path`` is not empty.
    """
    adapted = list(lora_linears(model))
    if not adapted:
        raise UserError(
            "the model has no LoRA adapters to write; write it whole, as a Hugging Face directory"
        )
    rank, scale = adapted[0][1].lora_a.shape[0], adapted[0][1].scale
    targets = {name.rsplit(".", 1)[1] for name, _ in adapted}
    layers = layers_of({part_of(name) for name, _ in adapted})
    if any(linear.lora_a.shape[0] != rank or linear.scale != scale for _, linear in adapted) or len(
        layers
    ) * len(targets) != len(adapted):
        raise UserError("the model's adapters differ in rank or scale, or from layer to layer: only those of our "
                        "runs can be written")  # fmt: skip
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_name,
        "r": rank,
        "lora_alpha": _plain_number(scale * rank),
        "lora_dropout": 0.0,
        "target_modules": sorted(targets),
        "bias": "none",
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "inference_mode": True,
    }
    if len(layers) < model.config.num_layers:
        config |= {"layers_to_transform": layers, "layers_pattern": "layers"}
    with new_directory(Path(path), overwrite) as staging:
        if tokenizer is not None:
            write_chat_files(tokenizer, staging)
        (staging / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        variables = parameters(model, nnx.LoRAParam)
        by_name = {peft_name(name): variables[name] for name in sorted(variables, key=export_order)}
        header = {name: (np.dtype(v.dtype), tuple(v.shape)) for name, v in by_name.items()}
        write_safetensors(staging / WEIGHTS, header, lambda name: fetch(by_name[name]))


def load_peft(
    model: Llama, path: str | Path, *, dtype: DTypeLike = jnp.float32, require_finite: bool = False
) -> None:
    """Add the adapter in ``path``, which ``peft`` or ``save_peft`` wrote, to ``model``.

    Ranks and scales come from its config, and the adapted layers from the names of its tensors. Parameters that were
    trained as a whole (``modules_to_save``) replace those of the base and take their dtype. If the head is tied to
    the embedding and only one of the two was trained, they become separate, as in ``peft``.

    Args:
        model: the base model, on any mesh and without adapters.
        path: a directory with ``adapter_config.json`` and ``adapter_model.safetensors``.
        dtype: the dtype of the adapter's parameters.
        require_finite: whether NaN and infinite values are an error instead of a warning.

    Raises:
        UserError: for an option that is not supported, which the message names, for tensors that do not fit the
            model, or for a model that has adapters already.
    """
    if has_lora(model):
        raise UserError("the model has adapters already; merge them first (--merge-lora)")
    directory = Path(path)
    config = _read_config(directory)
    found = _adapter_file(directory, map_tensors(directory, single=WEIGHTS))
    sizes = {
        name: _size(config, name) for name in dict.fromkeys(each.rsplit(".", 1)[0] for each in found.low_rank)
    }
    expected = _expected_shapes(model, sizes)
    for name in sorted(expected.keys() | found.low_rank.keys()):
        if name not in found.low_rank or found.low_rank[name].shape != expected.get(name):
            raise UserError(f"{directory}: the adapter does not fit the model; see {peft_name(name)}")
    mesh = mesh_of(model.embed.weight[...])
    _replace_trained(model, mesh, directory, found.trained, config, require_finite)
    add_adapters(model, mesh, None, sizes, dtype)
    load_variables(found.low_rank, parameters(model, nnx.LoRAParam), mesh, dtype, require_finite)


def _adapter_file(directory: Path, tensors: Mapping[str, np.ndarray]) -> AdapterFile:
    """The tensors of an adapter under our names; unknown ones are refused."""
    low_rank: dict[str, np.ndarray] = {}
    trained: dict[str, np.ndarray] = {}
    unknown = []
    for name, tensor in tensors.items():
        own = name.removeprefix(PEFT_PREFIX)
        if ".original_module." in own:
            continue  # the base's own, which some tools save too
        adapter, whole = _ADAPTER.fullmatch(own), _TRAINED.fullmatch(own)
        layer = our_module(adapter[1]) if adapter else None
        module = our_module(whole[1]) if whole else None
        if adapter and layer and layer.rsplit(".", 1)[-1] in TARGETS:
            group, key = low_rank, f"{layer}.lora_{adapter[2].lower()}"
        elif whole and module and not adapter:
            group, key = trained, f"{module}.{whole[2]}"
        else:
            unknown.append(name)
            continue
        if key in group:
            raise UserError(f"{directory}: {WEIGHTS} holds several adapters; see {name}")
        group[key] = tensor
    if unknown:
        raise UserError(f"{directory}: adapters of this kind are not supported; see {sorted(unknown)[0]}")
    if not low_rank and not trained:
        raise UserError(f"{directory}: {WEIGHTS} holds no tensors")
    return AdapterFile(low_rank, trained)


def _expected_shapes(model: Llama, sizes: Mapping[str, tuple[int, float]]) -> dict[str, tuple[int, int]]:
    """The shapes that the adapter's tensors must have: A [rank, in] and B [out, rank] for every adapted layer."""
    shapes = {}
    for name, linear in linears(model):
        if name in sizes:
            outputs, inputs = linear.weight.shape
            shapes[f"{name}.lora_a"] = (sizes[name][0], inputs)
            shapes[f"{name}.lora_b"] = (outputs, sizes[name][0])
    return shapes


def _replace_trained(
    model: Llama,
    mesh: Mesh,
    directory: Path,
    trained: dict[str, np.ndarray],
    config: Mapping[str, Any],
    require_finite: bool,
) -> None:
    """Put parameters that were trained as a whole into the place of the base's."""
    saved = {str(each).rsplit(".", 1)[-1] for each in config.get("modules_to_save") or ()}
    held = {hf_name(name).rsplit(".", 2)[-2] for name in trained}
    for missing in sorted(saved - held):
        log.warning("warning: %s holds no %s, which modules_to_save names", directory / WEIGHTS, missing)
    tables = [trained[name] for name in (TABLE, HEAD) if name in trained]
    if model.head is None and tables:
        if same_bits(tables[0], tables[-1]) and (
            len(tables) == 2 or config.get("ensure_weight_tying") or not saved & {"lm_head", "embed_tokens"}
        ):
            trained = {**trained, TABLE: tables[0]}
            trained.pop(HEAD, None)
        else:
            untie(model)
    own = {name: v for name, v in parameters(model).items() if name in trained}
    for name, tensor in trained.items():
        if name not in own or tensor.shape != (wanted := true_shape(own[name], model.config)):
            there = f"{wanted}, not {tensor.shape}" if name in own else "no such parameter"
            raise UserError(
                f"{directory}: the adapter does not fit the model; see {hf_name(name)}: the base has {there}"
            )
    for name, variable in own.items():
        stored = variable[...].dtype
        blank = variable.replace(jax.ShapeDtypeStruct(variable.shape, stored))
        load_variables({name: trained[name]}, {name: blank}, mesh, stored, require_finite)
        variable.set_value(blank[...])


def _read_config(directory: Path) -> dict[str, Any]:
    if not directory.is_dir():
        raise UserError(f"adapter directory {directory} does not exist")
    config = read_json_object(directory / CONFIG)
    if config.get("peft_type") != "LORA":
        raise UserError(
            f"{directory}: peft_type {config.get('peft_type')!r} is not supported; supported: LORA"
        )
    for key, value in config.items():
        if key in REFUSED and value not in UNSET:
            raise UserError(f"{directory}: the option {key} = {value!r} is not supported")
        if key not in HARMLESS and value not in UNSET:
            log.warning(
                "warning: %s: %s = %r has no meaning here and is ignored", directory / CONFIG, key, value
            )
    start = config.get("init_lora_weights", True)
    if start not in PLAIN_STARTS:
        raise UserError(f"{directory}: init_lora_weights = {start!r} changes the base model; not supported")
    for key in ("rank_pattern", "alpha_pattern"):
        if not isinstance(config.get(key) or {}, dict):
            raise UserError(f"{directory}: {key} must be an object, not {config[key]!r}")
    if not isinstance(config.get("modules_to_save") or [], list):
        raise UserError(f"{directory}: modules_to_save must be a list, not {config['modules_to_save']!r}")
    _size(config, "", directory)
    return config


def _size(config: Mapping[str, Any], path: str, directory: Path = Path()) -> tuple[int, float]:
    """The rank and scale of the adapter of a layer, whose patterns are matched as in ``peft``."""
    module = hf_name(f"{path}.weight").removesuffix(".weight") if path else ""

    def value(default: str, pattern: str) -> Any:
        for key, special in (config.get(pattern) or {}).items():
            if re.match(rf"(.*\.)?({key})$", module):
                return special
        return config.get(default)

    rank, alpha = value("r", "rank_pattern"), value("lora_alpha", "alpha_pattern")
    if type(rank) is not int or rank < 1 or type(alpha) not in (int, float):
        raise UserError(
            f"{directory}: r must be a whole number of at least 1 and lora_alpha a number, not {rank!r} and {alpha!r}"
        )
    return rank, alpha / (rank**0.5 if config.get("use_rslora") else rank)


def _plain_number(value: float) -> float | int:
    """``value`` as a whole number where it is one, since ``peft`` declares alpha as ``int``."""
    return round(value) if abs(value - round(value)) < 1e-9 else value
