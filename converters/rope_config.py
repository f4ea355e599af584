"""The rotary fields of ``config.json`` to and from the architecture: base and scaling."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from xltjax.common.errors import UserError
from xltjax.converters.config_fields import ONE, flag, number, whole
from xltjax.rope import DynamicScaling, LinearScaling, Llama3Scaling, RopeScaling, YarnScaling

_COMMON = {"rope_type", "type", "rope_theta", "partial_rotary_factor", "original_max_position_embeddings"}
# The fields that each type reads. A "finetuned" field of old YaRN configs says nothing about the numbers.
ROPE_FIELDS = {
    "default": _COMMON,
    "linear": _COMMON | {"factor"},
    "dynamic": _COMMON | {"factor"},
    "llama3": _COMMON | {"factor", "low_freq_factor", "high_freq_factor"},
    "yarn": _COMMON | {
        "factor", "attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate", "finetuned",
    },
}  # fmt: skip


def read_rope(fields: Mapping[str, Any]) -> tuple[float, RopeScaling | None]:
    """The rotary base and its scaling: ``rope_parameters`` in transformers 5, two fields in transformers 4.

    Args:
        fields: ``config.json`` with the defaults of its family.

    Raises:
        UserError: for a type, field or value that is not supported, naming it.
    """
    rope = fields.get("rope_scaling") or fields.get("rope_parameters") or {}
    if not isinstance(rope, dict):
        raise UserError(f"config.json: rope_scaling = {rope!r} is not an object")
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind not in ROPE_FIELDS:
        raise UserError(
            f"config.json: rope_type {kind!r} is not supported; supported: {', '.join(ROPE_FIELDS)}"
        )
    for name, value in rope.items():
        if name not in ROPE_FIELDS[kind] and value is not None:
            raise UserError(f"config.json: {name} = {value!r} with rope_type {kind!r} is not supported")
    if rope.get("partial_rotary_factor") not in ONE:
        raise UserError("config.json: rope partial_rotary_factor other than 1 is not supported")
    theta = number({**fields, **rope}, "rope_theta", 10000.0)
    longest = fields["max_position_embeddings"]
    # The three places in which transformers looks for it, in this order.
    original = (
        fields.get("original_max_position_embeddings")
        or rope.get("original_max_position_embeddings")
        or longest
    )
    positions = {"original_max_position_embeddings": original, "max_position_embeddings": longest}
    if kind == "default":
        return theta, None
    if kind == "linear":
        return theta, LinearScaling(number(rope, "factor"))
    if kind == "dynamic":
        return theta, DynamicScaling(number(rope, "factor"), whole(positions, "max_position_embeddings"))
    original = whole(positions, "original_max_position_embeddings")
    if kind == "llama3":
        return theta, Llama3Scaling(
            number(rope, "factor"),
            number(rope, "low_freq_factor"),
            number(rope, "high_freq_factor"),
            original,
        )
    factor = number(rope, "factor", whole(positions, "max_position_embeddings") / original)
    return theta, YarnScaling(
        factor,
        original,
        number(rope, "attention_factor", _attention_factor(factor, rope)),
        # As in transformers, a zero counts as a missing value.
        number({**rope, "beta_fast": rope.get("beta_fast") or None}, "beta_fast", 32.0),
        number({**rope, "beta_slow": rope.get("beta_slow") or None}, "beta_slow", 1.0),
        rope.get("truncate") is None or flag(rope, "truncate"),
    )


def _attention_factor(factor: float, rope: Mapping[str, Any]) -> float:
    """By what YaRN multiplies cosines and sines where the config does not say it."""

    def scale(mscale: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * mscale * math.log(factor) + 1.0

    if rope.get("mscale") and rope.get("mscale_all_dim"):
        return scale(number(rope, "mscale")) / scale(number(rope, "mscale_all_dim"))
    return scale(1.0)


def rope_fields(scaling: RopeScaling) -> dict[str, Any]:
    """The value of ``rope_scaling`` from which ``read_rope`` makes ``scaling``."""
    match scaling:
        case LinearScaling():
            return {"rope_type": "linear", "factor": scaling.factor}
        case DynamicScaling():
            return {"rope_type": "dynamic", "factor": scaling.factor}
        case Llama3Scaling():
            return {
                "rope_type": "llama3",
                "factor": scaling.factor,
                "low_freq_factor": scaling.low_freq_factor,
                "high_freq_factor": scaling.high_freq_factor,
                "original_max_position_embeddings": scaling.original_max_positions,
            }
        case YarnScaling():
            return {
                "rope_type": "yarn",
                "factor": scaling.factor,
                "original_max_position_embeddings": scaling.original_max_positions,
                "attention_factor": scaling.attention_factor,
                "beta_fast": scaling.beta_fast,
                "beta_slow": scaling.beta_slow,
                "truncate": scaling.truncate,
            }
