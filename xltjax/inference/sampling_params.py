"""How tokens are sampled: what a caller chooses, without the arithmetic (``sampling.py``)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from xltjax.common.errors import UserError


@dataclass(frozen=True)
class SamplingParams:
    """How tokens are sampled; temperature 0 is greedy.

    The steps are applied in the order of ``transformers``: penalty, temperature, top-k, top-p.

    Attributes:
        repetition_penalty: on every distinct id of prompt and answer so far; 1 is none.
        temperature: divides the logits before a draw; 0 takes the likeliest token.
        top_k: draw among the k likeliest; 0 is all.
        top_p: draw among the fewest likeliest tokens that hold this share of probability; 1 is all.
    """

    repetition_penalty: float = 1.0
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            UserError: naming the setting and what it accepts.
        """
        if not 0 < self.repetition_penalty < math.inf:
            raise UserError(f"repetition_penalty must be positive, not {self.repetition_penalty}")
        if not 0 <= self.temperature < math.inf:
            raise UserError(f"temperature must be 0 (greedy) or a positive number, not {self.temperature}")
        if self.top_k < 0:
            raise UserError(f"top_k must not be negative, not {self.top_k}; 0 is all tokens")
        if not 0 < self.top_p <= 1:
            raise UserError(f"top_p must be above 0 and at most 1, not {self.top_p}")
        if not self.temperature and (self.top_k or self.top_p < 1):
            raise UserError("top_k and top_p need a temperature above 0")
