"""Settings of the conversion commands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from xltjax.common.settings import setting

SOURCE = "A Hugging Face directory or id, or a run or checkpoint of xltjax."
BASE = "Where the base of a run of LoRA or of selected layers is now, if it was moved."
Dtype = Literal["own", "bfloat16", "float16", "float32"]


@dataclass(frozen=True)
class ConversionConfig:
    """Settings of every conversion."""

    src: str = setting("", SOURCE, positional=True)
    dst: str = setting("", "The directory to create.", positional=True)
    mesh: str = setting("1x1", "Devices that hold the model during the conversion, as DxT.")
    overwrite: bool = setting(False, "Replace a directory that is not empty.")


@dataclass(frozen=True)
class ToFlaxConfig(ConversionConfig):
    """Settings of ``to-flax``."""

    dtype: Dtype = setting("own", "Dtype of the parameters; own keeps the dtype of each tensor.")


@dataclass(frozen=True)
class ToPeftConfig(ConversionConfig):
    """Settings of ``to-peft``."""

    base: str = setting("", BASE)
    base_name: str = setting(
        "", "Path or id of the base to write for PEFT. By default that of the run's base."
    )


@dataclass(frozen=True)
class ToHfConfig(ConversionConfig):
    """Settings of ``to-hf``."""

    base: str = setting("", BASE)
    adapter: str = setting("", "PEFT adapter directory to merge into the model.")
    merge_lora: bool = setting(False, "Merge the adapters of a LoRA run into the weights.")
    dtype: Dtype = setting("own", "Dtype of the tensors; own is the dtype of the base model.")
    max_shard_gib: float = setting(5.0, "Maximum size of one file, in GiB.")


@dataclass(frozen=True)
class CombineConfig:
    """Settings of ``combine``."""

    src: str = setting("", "The tuned model: a Hugging Face directory or id, or a run.", positional=True)
    dst: str = setting("", "The directory to create.", positional=True)
    reset_layers: tuple[str, ...] = setting(
        (), "Layers that get the base's weights back, such as 0-3,28-31 or last-4; also embed, norm, head."
    )
    base: str = setting("", "The base model. By default the one that the run started from.")
    swap_layers: tuple[str, ...] = setting((), "Layers to take from --expert.")
    average_layers: tuple[str, ...] = setting((), "Layers to average over the two tuned models.")
    expert: str = setting("", "A second tuned model.")
    expert_base: str = setting("", "Where the base of --expert is now, if it was moved.")
    dtype: Dtype = setting("own", "Dtype of the tensors; own is the dtype that to-hf would write.")
    max_shard_gib: float = setting(5.0, "Maximum size of one file, in GiB.")
    overwrite: bool = setting(False, "Replace a directory that is not empty.")


@dataclass(frozen=True)
class CheckConfig:
    """Settings of ``check``."""

    a: str = setting("", SOURCE, positional=True)
    b: str = setting("", "The second model, in any of these forms.", positional=True)
    adapter_a: str = setting("", "PEFT adapter directory to merge into the first model.")
    adapter_b: str = setting("", "PEFT adapter directory to merge into the second model.")
    base_a: str = setting("", "Where the base of the first model is now, if it was moved.")
    base_b: str = setting("", "Where the base of the second model is now, if it was moved.")
    tolerance: float = setting(0.0, "Maximum absolute difference that counts as equal.")
    mesh: str = setting("1x1", "Devices that hold the models, as DxT.")
