"""Hugging Face's ``config.json`` to and from ``LlamaConfig``.

A field that changes the numbers is honored or refused, never ignored.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xltjax.common.errors import UserError
from xltjax.common.files import read_json_object
from xltjax.converters.config_fields import FALSE, NONE, ONE, ZERO, flag, number, whole
from xltjax.converters.rope_config import read_rope, rope_fields
from xltjax.llama import LlamaConfig

log = logging.getLogger("xltjax")

# Values that transformers assumes where a config.json lacks the field.
DEFAULTS: dict[str, dict[str, Any]] = {
    "llama": {"num_key_value_heads": None, "max_position_embeddings": 2048},
    "mistral": {"num_key_value_heads": 8, "max_position_embeddings": 131072, "sliding_window": 4096},
    "qwen2": {
        "num_key_value_heads": 32,
        "max_position_embeddings": 32768,
        "sliding_window": 4096,
        "max_window_layers": 28,
    },
}
SUPPORTED = tuple(DEFAULTS)

# Fields that are read; those of one family mean nothing in the others.
READ = frozenset((
    "model_type", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
    "num_attention_heads", "num_key_value_heads", "head_dim", "max_position_embeddings", "rms_norm_eps",
    "rope_theta", "rope_scaling", "rope_parameters", "original_max_position_embeddings",
    "tie_word_embeddings", "layer_types", "initializer_range",
))  # fmt: skip
READ_BY_FAMILY = {
    "llama": {"attention_bias", "mlp_bias"},
    "mistral": {"sliding_window"},
    "qwen2": {"use_sliding_window", "sliding_window", "max_window_layers"},
}

# Fields that would change the numbers, each with the values under which they change nothing.
INERT: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("silu", "swish", None),
    "hidden_activation": ("silu", "swish", None),
    "attention_dropout": ZERO,
    "hidden_dropout": ZERO,
    "resid_pdrop": ZERO,
    "embd_pdrop": ZERO,
    "attention_multiplier": NONE,
    "query_pre_attn_scalar": NONE,
    "attn_logit_softcapping": NONE,
    "final_logit_softcapping": NONE,
    "logit_scale": ONE,
    "logits_scaling": ONE,
    "embedding_multiplier": ONE,
    "residual_multiplier": ONE,
    "partial_rotary_factor": ONE,
    "rotary_pct": ONE,
    "rope_interleaved": FALSE,
    "no_rope_layers": (None, []),
    "no_rope_layer_interval": ZERO,
    "attention_chunk_size": NONE,
    "use_qk_norm": FALSE,
    "qk_norm": FALSE,
    "qk_layernorm": FALSE,
    "clip_qkv": NONE,
    "bias": FALSE,
    "qkv_bias": FALSE,
    "alibi": FALSE,
    "parallel_attn": FALSE,
    "use_parallel_residual": FALSE,
    "num_local_experts": (None, 0, 1),
    "num_experts": (None, 0, 1),
    "n_routed_experts": (None, 0, 1),
    "is_encoder_decoder": FALSE,
    "add_cross_attention": FALSE,
    "per_layer_config": (None, {}),
    "pruned_heads": (None, {}),
    "quantization_config": NONE,
    "compression_config": NONE,
    "auto_map": (None, {}),  # a model that brings its own code
}

# Fields that do not change the numbers. Any other field that is set is named in a warning.
HARMLESS = frozenset((
    "architectures", "_name_or_path", "name_or_path", "transformers_version", "torch_dtype", "dtype",
    "use_cache", "pretraining_tp", "bos_token_id", "eos_token_id", "pad_token_id", "unk_token_id",
    "sep_token_id", "cls_token_id", "decoder_start_token_id", "tokenizer_class", "max_sequence_length",
    "model_max_length", "output_attentions", "output_hidden_states", "output_router_logits", "return_dict",
    "return_dict_in_generate", "torchscript", "use_bfloat16", "is_decoder", "id2label", "label2id",
    "num_labels", "problem_type", "attn_implementation", "_attn_implementation", "_flash_attn_2_enabled",
    "_attn_implementation_autoset", "chunk_size_feed_forward", "tie_encoder_decoder", "tie_last_hidden_states",
    "max_length", "min_length", "do_sample", "temperature", "top_k", "top_p", "typical_p", "num_beams",
    "num_beam_groups", "num_return_sequences", "length_penalty", "repetition_penalty", "diversity_penalty",
    "encoder_no_repeat_ngram_size", "no_repeat_ngram_size", "early_stopping", "remove_invalid_values",
    "unsloth_fixed", "unsloth_version", "unsloth_training_tied",
))  # fmt: skip


def read_hf_config(directory: Path) -> dict[str, Any]:
    """The parsed ``config.json`` of a Hugging Face directory.

    Raises:
        UserError: when it is missing or not a JSON object.
    """
    return read_json_object(directory / "config.json")


def read_architecture(directory: Path) -> LlamaConfig:
    """The architecture that the ``config.json`` of a Hugging Face directory describes.

    Raises:
        UserError: naming the directory, when the file cannot be read or ``llama_config`` refuses it.
    """
    values = read_hf_config(directory)
    try:
        return llama_config(values)
    except UserError as problem:
        told = str(problem) if str(problem).startswith("config.json") else f"config.json: {problem}"
        raise UserError(f"{directory}/{told}") from None


def llama_config(values: Mapping[str, Any]) -> LlamaConfig:
    """The architecture described by a ``config.json`` of transformers 4 or 5.

    A field that is set, not read and not known to be harmless is named in a warning: ``transformers``
    ignores it too.

    Raises:
        UserError: for a ``model_type`` or a field's value that is not supported, naming it and what is.
    """
    model_type = values.get("model_type")
    if model_type not in SUPPORTED:
        raise UserError(f"model_type {model_type!r} is not supported; supported: {', '.join(SUPPORTED)}")
    _refuse_and_warn(values, model_type)
    fields = {**DEFAULTS[model_type], **values}
    heads, width = whole(fields, "num_attention_heads"), whole(fields, "hidden_size")
    layers = whole(fields, "num_hidden_layers")
    kv_heads = whole(fields, "num_key_value_heads", heads)
    head_dim = whole(fields, "head_dim", width // heads)
    if heads % kv_heads or head_dim % 2 or (fields.get("head_dim") is None and width % heads):
        raise UserError(
            f"config.json: {heads} num_attention_heads, {kv_heads} num_key_value_heads, hidden_size {width} "
            f"and head_dim {fields.get('head_dim')} do not fit together"
        )
    theta, scaling = read_rope(fields)
    window, first = _window(fields, model_type, layers)
    biased = flag(fields, "attention_bias") and model_type == "llama"
    return LlamaConfig(
        vocab_size=whole(fields, "vocab_size"),
        hidden_size=width,
        intermediate_size=whole(fields, "intermediate_size"),
        num_layers=layers,
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_dim=head_dim,
        max_positions=whole(fields, "max_position_embeddings"),
        rms_norm_eps=number(fields, "rms_norm_eps", 1e-6),
        rope_theta=theta,
        rope_scaling=scaling,
        qkv_bias=biased or model_type == "qwen2",
        o_bias=biased,
        mlp_bias=flag(fields, "mlp_bias") and model_type == "llama",
        tied_embeddings=flag(fields, "tie_word_embeddings"),
        sliding_window=window,
        window_layers=first,
        initializer_range=number(fields, "initializer_range", 0.02),
    )


def hf_config(config: LlamaConfig) -> dict[str, Any]:
    """A ``config.json`` for an architecture that did not come from a Hugging Face directory.

    transformers 4 and 5 read it alike, and ``llama_config`` turns it back into an equal architecture.

    Raises:
        UserError: when no supported ``model_type`` has such an architecture.
    """
    values: dict[str, Any] = {
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
        "tie_word_embeddings": config.tied_embeddings,
        "initializer_range": config.initializer_range,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    if config.rope_scaling:
        values["rope_scaling"] = rope_fields(config.rope_scaling)
    families: dict[str, tuple[str, dict[str, Any]]] = {
        "llama": ("Llama", {"attention_bias": config.o_bias, "mlp_bias": config.mlp_bias}),
        "mistral": ("Mistral", {"sliding_window": config.sliding_window}),
        "qwen2": ("Qwen2", {
            "use_sliding_window": config.sliding_window is not None,
            "sliding_window": config.sliding_window,
            "max_window_layers": config.window_layers,
        }),
    }  # fmt: skip
    for family, (prefix, own) in families.items():
        candidate = {"architectures": [f"{prefix}ForCausalLM"], "model_type": family, **values, **own}
        if llama_config(candidate) == config:
            return candidate
    raise UserError("no Hugging Face family has this combination of biases and sliding window")


def _refuse_and_warn(values: Mapping[str, Any], model_type: str) -> None:
    for field, value in values.items():
        if field in READ or field in READ_BY_FAMILY[model_type] or field in HARMLESS:
            continue
        if field in INERT:
            if value not in INERT[field]:
                raise UserError(
                    f"config.json: {field} = {value!r} is not supported; supported: {INERT[field][0]!r}"
                )
        elif field == "sliding_window" and value:
            raise UserError(f"config.json: sliding_window with model_type {model_type!r} is not supported")
        elif value:
            log.warning(
                "warning: config.json: %s = %r has no meaning for %r and is ignored", field, value, model_type
            )


def _window(fields: Mapping[str, Any], model_type: str, layers: int) -> tuple[int | None, int]:
    """The sliding window, None where there is none, and the index of the first layer that has it."""
    window, first = None, 0
    if model_type == "mistral" or (model_type == "qwen2" and flag(fields, "use_sliding_window")):
        window = None if fields["sliding_window"] is None else whole(fields, "sliding_window")
        if model_type == "qwen2" and window is not None:
            first = fields["max_window_layers"]
            if type(first) is not int or first < 0:
                raise UserError(f"config.json: max_window_layers = {first!r} is not a whole number")
    kinds = fields.get("layer_types")
    windowed = ["sliding_attention" if window and i >= first else "full_attention" for i in range(layers)]
    if kinds is not None and kinds != windowed:
        raise UserError("config.json: layer_types other than full attention up to a layer and windows from it "
                        "on are not supported")  # fmt: skip
    return window, first
