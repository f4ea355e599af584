"""The table of parameter names: ours on the left, Hugging Face's on the right.

Loading, export, adapters and the check all use this one table. ``{}`` stands for the index of the layer.
"""

from __future__ import annotations

import re

MODULES = {
    "embed": "model.embed_tokens",
    "layers.{}.attention_norm": "model.layers.{}.input_layernorm",
    "layers.{}.attention.q_proj": "model.layers.{}.self_attn.q_proj",
    "layers.{}.attention.k_proj": "model.layers.{}.self_attn.k_proj",
    "layers.{}.attention.v_proj": "model.layers.{}.self_attn.v_proj",
    "layers.{}.attention.o_proj": "model.layers.{}.self_attn.o_proj",
    "layers.{}.mlp_norm": "model.layers.{}.post_attention_layernorm",
    "layers.{}.mlp.gate_proj": "model.layers.{}.mlp.gate_proj",
    "layers.{}.mlp.up_proj": "model.layers.{}.mlp.up_proj",
    "layers.{}.mlp.down_proj": "model.layers.{}.mlp.down_proj",
    "norm": "model.norm",
    "head": "lm_head",
}
VARIABLES = {"lora_a": "lora_A.weight", "lora_b": "lora_B.weight"}
PEFT_PREFIX = "base_model.model."

_OURS = {theirs: ours for ours, theirs in MODULES.items()}
_ORDER = {ours: rank for rank, ours in enumerate(MODULES)}


def hf_name(path: str) -> str:
    """Hugging Face's name: ``layers.0.mlp.up_proj.weight`` -> ``model.layers.0.mlp.up_proj.weight``."""
    module, variable = path.rsplit(".", 1)
    layer = re.search(r"\d+", module)
    pattern = MODULES[re.sub(r"\d+", "{}", module)]
    return f"{pattern.format(layer[0] if layer else '')}.{VARIABLES.get(variable, variable)}"


def our_module(module: str) -> str | None:
    """Our path of a module that has Hugging Face's name, or None where we have no such module."""
    layer = re.search(r"\d+", module)
    ours = _OURS.get(re.sub(r"\d+", "{}", module))
    return None if ours is None else ours.format(layer[0] if layer else "")


def peft_name(path: str) -> str:
    """PEFT's name: ``layers.0.mlp.up_proj.lora_a`` -> ``base_model.model.model...up_proj.lora_A.weight``."""
    return PEFT_PREFIX + hf_name(path)


def export_order(path: str) -> tuple[int, int, str]:
    """A sort key that puts tensors in the order in which the model uses them: embedding, layers, norm, head."""
    module, variable = path.rsplit(".", 1)
    layer = re.search(r"\d+", module)
    stage = {"embed": 0, "norm": 2, "head": 3}.get(module, 1)
    rank = _ORDER[re.sub(r"\d+", "{}", module)]
    return (stage, int(layer[0]) * len(_ORDER) + rank if layer else rank, variable)
