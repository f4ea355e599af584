"""Settings of ``python -m xltjax.chat``."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from xltjax.common.errors import UserError
from xltjax.common.settings import setting
from xltjax.data.templates import parse_date
from xltjax.generate.settings import GenerateConfig
from xltjax.inference.sampling_params import SamplingParams


def _as_in_generate(name: str) -> Any:
    """The setting of ``generate`` with this name."""
    field = next(field for field in dataclasses.fields(GenerateConfig) if field.name == name)
    return dataclasses.field(default=field.default, metadata=field.metadata)


@dataclass(frozen=True)
class ChatConfig:
    """The settings of ``generate`` that a conversation has too."""

    model: str = _as_in_generate("model")
    base: str = _as_in_generate("base")
    adapter: str = setting("", "LoRA adapter of the model (PEFT or a run).")
    system: str = setting("", "System prompt of the conversation.")
    max_new_tokens: int = _as_in_generate("max_new_tokens")
    repetition_penalty: float = _as_in_generate("repetition_penalty")
    temperature: float = _as_in_generate("temperature")
    top_k: int = _as_in_generate("top_k")
    top_p: float = _as_in_generate("top_p")
    seed: int = setting(
        0,
        "Random seed of sampling. Given the seed, a sample depends only on the chat and the answer's number.",
    )
    mesh: str = setting(
        "1x1", "Devices as DxT: matrices are split over T; a conversation does not use all of D."
    )
    dtype: Literal["bfloat16", "float32"] = _as_in_generate("dtype")
    template: str = _as_in_generate("template")
    template_date: str = _as_in_generate("template_date")

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            UserError: naming the setting and what it accepts.
        """
        if self.max_new_tokens < 1:
            raise UserError(f"max_new_tokens must be at least 1, not {self.max_new_tokens}")
        self.sampling()
        parse_date(self.template_date)

    def sampling(self) -> SamplingParams:
        """How tokens are chosen.

        Raises:
            UserError: for a value that cannot work.
        """
        return SamplingParams(self.repetition_penalty, self.temperature, self.top_k, self.top_p)
