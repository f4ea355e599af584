"""The cases by name: real shapes, random weights, bfloat16 throughout, and what each must reach.

Precision policy of every case: weights, gradients and AdamW's two moments in bfloat16, rounded to nearest;
norms, softmax, logits and the arithmetic of an update in float32. That is 8 bytes per trained parameter, so
that 13B (104 GB) is fully tuned on one device of 141 GB. A frozen base is bfloat16 too.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from xltjax.common.hardware import WantedKernel
from xltjax.converters.models import KNOWN
from xltjax.llama import LlamaConfig

MODELS = {
    "7b": KNOWN["meta-llama/Llama-2-7b-hf"],
    "13b": KNOWN["meta-llama/Llama-2-13b-hf"],
    "tiny": LlamaConfig(4096, 64, 160, 2, 4, 4, 16, 4096),
}
LORA_RANK, LORA_ALPHA, PENALTY = 16, 8.0, 1.1
OURS, BASELINE = "ours", "transformers"


@dataclass(frozen=True)
class Case:
    """One measurement.

    Attributes:
        seconds: what it takes with nothing compiled before; it is stopped after three times that.
        least_seconds: what it takes at least; it is not begun when less of the budget is left.
        sides: who is measured.
        least: what a measure must reach.
        least_ratio: what the first measure must be of the baseline's.
    """

    seconds: int = 120
    least_seconds: int = 25
    sides: tuple[str, ...] = (OURS, BASELINE)
    least: dict[str, float] = field(default_factory=dict)
    least_ratio: float | None = None


@dataclass(frozen=True)
class Ceilings(Case):
    """A large copy and a large product."""

    gigabytes: float = 8
    width: int = 8192


@dataclass(frozen=True)
class Kernels(Case):
    """Every attention kernel on packed rows: time, error, and that nothing crosses a boundary."""

    rows: int = 4
    length: int = 2048
    heads: int = 32
    kv_heads: int = 32
    head_dim: int = 128


@dataclass(frozen=True)
class FewRows(Case):
    """The products of a decoding step of few answers: as a product, and as a reduction over the inputs."""

    rows: tuple[int, ...] = (1, 2, 4)
    width: int = 4096
    hidden: int = 11008


@dataclass(frozen=True)
class Training(Case):
    """Updates of ``rows`` packed rows of ``length`` tokens."""

    model: str = "7b"
    length: int = 2048
    rows: int = 8
    lora: bool = False
    remat: str = "dots"
    kernel: WantedKernel = "auto"
    optimization: str = "UNKNOWN"  # jax's default, as in ``xltjax.train``


@dataclass(frozen=True)
class Decoding(Case):
    """``batch`` answers of ``new_tokens`` tokens to prompts of ``prompt`` tokens."""

    model: str = "7b"
    batch: int = 1
    prompt: int = 960
    new_tokens: int = 128


@dataclass(frozen=True)
class PromptSet(Case):
    """xlt113 in its four languages; one id in 128 ends an answer, so that lengths vary."""

    model: str = "7b"
    slots: int = 64
    new_tokens: int = 512
    subset: int | None = None


@dataclass(frozen=True)
class Loading(Case):
    """A sharded checkpoint from disk (from the page cache: it has just been written)."""

    model: str = "7b"


_ALONE: dict[str, Any] = {"sides": (OURS,)}
# What is measured when there is little time.
QUICK = ("train-7b-full", "train-7b-lora", "decode-7b-1", "decode-7b-64")
# In the order of importance: what the budget leaves out is at the end.
CASES: dict[str, Case] = {
    "train-7b-full": Training(least={"tokens/s": 14000}, least_ratio=1.15),
    "train-7b-lora": Training(lora=True, least={"tokens/s": 18500}, least_ratio=1.15),
    "decode-7b-1": Decoding(batch=1, least={"tokens/s": 250}, least_ratio=1.15),
    "decode-7b-64": Decoding(batch=64, least={"tokens/s": 4700}, least_ratio=1.15),
    "ceilings": Ceilings(**_ALONE),
    "few-rows": FewRows(**_ALONE),
    "attention-2048": Kernels(**_ALONE),
    "train-13b-full": Training(model="13b", rows=4, remat="block"),
    "train-13b-lora": Training(model="13b", lora=True, rows=4, least={"tokens/s": 7500}),
    "prompts-7b": PromptSet(seconds=150, least_ratio=5),
    "train-7b-full-4096": Training(length=4096, rows=4, least={"MFU %": 65}, least_ratio=1.15),
    "train-7b-lora-4096": Training(length=4096, rows=4, lora=True, least_ratio=1.15),
    "load-7b": Loading(),
    "decode-7b-16": Decoding(batch=16),
    # 256 caches of 1,000 tokens would be 137 GB; these are of 384.
    "decode-7b-256": Decoding(batch=256, prompt=120, new_tokens=256),
    "attention-4096": Kernels(rows=2, length=4096, **_ALONE),
    "attention-grouped": Kernels(kv_heads=8, **_ALONE),
    "train-7b-full-no-remat": Training(rows=4, remat="none", **_ALONE),
    "train-7b-full-remat-block": Training(remat="block", **_ALONE),
    "train-7b-full-O1": Training(optimization="O1", **_ALONE),
    "train-7b-full-O0": Training(optimization="O0", **_ALONE),
    "train-7b-full-portable": Training(kernel="portable", **_ALONE),
    "train-7b-full-cudnn": Training(kernel="cudnn", **_ALONE),
    "train-7b-full-tokamax": Training(kernel="tokamax", **_ALONE),
    "train-7b-full-remat-attention": Training(remat="attention", **_ALONE),
    "train-7b-lora-no-remat": Training(lora=True, rows=4, remat="none", **_ALONE),
}


def small(case: Case) -> Case:
    """The same case in a size for any machine."""
    sizes: dict[type[Case], dict[str, Any]] = {
        Ceilings: {"gigabytes": 0.001, "width": 64},
        Kernels: {"rows": 2, "length": 64, "heads": 4, "kv_heads": 2, "head_dim": 16},
        FewRows: {"width": 64, "hidden": 160},
        Training: {"model": "tiny", "length": 64, "rows": 2},
        Decoding: {"model": "tiny", "batch": 2, "prompt": 24, "new_tokens": 8},
        PromptSet: {"model": "tiny", "slots": 2, "new_tokens": 8, "subset": 4},
        Loading: {"model": "tiny"},
    }
    return replace(case, **sizes[type(case)])


def packed_rows(rows: int, length: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Segment ids from 1 and positions, both [rows, length] int32: full rows of 40 to 400 tokens a segment."""
    draw = np.random.default_rng(seed)
    segment_ids = np.zeros((rows, length), np.int32)
    positions = np.zeros((rows, length), np.int32)
    shortest, longest = (40, 400) if length >= 1024 else (5, 20)
    for row in range(rows):
        start, segment = 0, 1
        while start < length:
            end = min(start + int(draw.integers(shortest, longest)), length)
            segment_ids[row, start:end] = segment
            positions[row, start:end] = np.arange(end - start)
            start, segment = end, segment + 1
    return segment_ids, positions


def random_ids(vocab: int, *shape: int) -> np.ndarray:
    """Token ids above the special ones."""
    return np.random.default_rng(1).integers(3, vocab, shape).astype(np.int32)


def ending_ids(vocab: int) -> list[int]:
    """The ids that end an answer in ``PromptSet``."""
    return [2, *range(128, vocab, 128)]
