"""Hugging Face's ``config.json`` -> ``LlamaConfig``: every field that changes the numbers is honoured or refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xltjax.errors import UserError
from xltjax.files import read_text
from xltjax.llama import LlamaConfig, RopeScaling

SUPPORTED = ("llama", "mistral", "qwen2")

# Fields that change the numbers, each with the values under which it changes nothing.
INERT: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("silu", "swish"),
    "partial_rotary_factor": (None, 1, 1.0),
    "quantization_config": (None,),
    "logit_scale": (None, 1, 1.0),
    "final_logit_softcapping": (None,),
    "attn_logit_softcapping": (None,),
    "embedding_multiplier": (None, 1, 1.0),
    "use_qk_norm": (None, False),
    "qk_layernorm": (None, False),
    "is_encoder_decoder": (None, False),
    "add_cross_attention": (None, False),
    "num_local_experts": (None, 0, 1),
}


def read_hf_config(directory: Path) -> dict[str, Any]:
    """The parsed ``config.json`` of a Hugging Face directory.

    Raises:
        UserError: when it is missing or not a JSON object.
    """
    try:
        values = json.loads(read_text(directory / "config.json"))
    except json.JSONDecodeError as problem:
        raise UserError(f"{directory / 'config.json'} is not JSON ({problem.msg})") from None
    if not isinstance(values, dict):
        raise UserError(f"{directory / 'config.json'} is not a JSON object")
    return values


def llama_config(values: Mapping[str, Any]) -> LlamaConfig:
    """The architecture described by a ``config.json`` of transformers 4 or 5.

    Raises:
        UserError: for a ``model_type`` or a field's value that is not supported, naming it and what is.
    """
    model_type = values.get("model_type")
    if model_type not in SUPPORTED:
        raise UserError(f"model_type {model_type!r} is not supported; supported: {', '.join(SUPPORTED)}")
    for field, allowed in INERT.items():
        if values.get(field, allowed[0]) not in allowed:
            raise UserError(
                f"config.json: {field} = {values[field]!r} is not supported; supported: {allowed[0]!r}"
            )
    try:
        heads, width, layers = (
            values["num_attention_heads"],
            values["hidden_size"],
            values["num_hidden_layers"],
        )
        theta, scaling = _rope(values)
        window, first = _window(values, model_type, layers)
        return LlamaConfig(
            vocab_size=values["vocab_size"],
            hidden_size=width,
            intermediate_size=values["intermediate_size"],
            num_layers=layers,
            num_heads=heads,
            num_kv_heads=values.get("num_key_value_heads") or heads,
            head_dim=values.get("head_dim") or width // heads,
            max_positions=values.get("max_position_embeddings", 2048),
            rms_norm_eps=values.get("rms_norm_eps", 1e-6),
            rope_theta=theta,
            rope_scaling=scaling,
            qkv_bias=model_type == "qwen2" or bool(values.get("attention_bias")),
            o_bias=model_type != "qwen2" and bool(values.get("attention_bias")),
            mlp_bias=bool(values.get("mlp_bias")),
            tied_embeddings=bool(values.get("tie_word_embeddings")),
            sliding_window=window,
            window_layers=first,
            initializer_range=values.get("initializer_range", 0.02),
        )
    except KeyError as missing:
        raise UserError(f"config.json lacks {missing.args[0]!r}") from None


def _rope(values: Mapping[str, Any]) -> tuple[float, RopeScaling | None]:
    """The rotary base and its scaling, from transformers 5's ``rope_parameters`` or 4's two fields."""
    rope = values.get("rope_parameters") or {**(values.get("rope_scaling") or {})}
    theta = float(rope.get("rope_theta") or values.get("rope_theta") or 10000.0)
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if rope.get("partial_rotary_factor") not in (None, 1, 1.0):
        raise UserError("config.json: rope partial_rotary_factor other than 1 is not supported")
    if kind == "default":
        return theta, None
    if kind != "llama3":
        raise UserError(f"config.json: rope_type {kind!r} is not supported; supported: default, llama3")
    return theta, RopeScaling(
        factor=rope["factor"],
        low_freq_factor=rope["low_freq_factor"],
        high_freq_factor=rope["high_freq_factor"],
        original_max_positions=rope.get("original_max_position_embeddings")
        or values["max_position_embeddings"],
    )


def _window(values: Mapping[str, Any], model_type: str, layers: int) -> tuple[int | None, int]:
    """The sliding window and the first layer that has it."""
    if model_type == "mistral":
        return values.get("sliding_window", 4096), 0
    if model_type == "qwen2" and values.get("use_sliding_window"):
        first = values.get("max_window_layers", 28)
        kinds = values.get("layer_types")
        if kinds is not None:
            expected = ["full_attention" if i < first else "sliding_attention" for i in range(layers)]
            if list(kinds) != expected:
                raise UserError("config.json: layer_types that alternate window and full are not supported")
        return values.get("sliding_window"), first
    if model_type == "llama" and values.get("sliding_window"):
        raise UserError("config.json: sliding_window with model_type 'llama' is not supported")
    return None, 0
