"""Tokens against ``transformers.generate`` at batch size 1, float32: a set of prompts x 48 new tokens.

    python benchmarks/parity_vs_hf.py [--prompts DIR] [--tokenizer tokenizer.model] [--subset N]

Three random models of two layers: LLaMA with as many key-value heads as heads, LLaMA with grouped-query
attention, Mistral with a sliding window of 64 tokens. Decoding runs 16 answers at a time, with refill. For
each answer that differs, ``transformers`` reads the common beginning once more, and the two logits that
compete at the first difference are printed, after the penalty: only a gap of float rounding is a tie.
Exits with 1 when any difference is not.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import jax.numpy as jnp
import torch
from random_models import hf_answers, make_tokenizer, random_model, tokenized

from xltjax.converters import load_hf
from xltjax.inference.engine import Engine
from xltjax.inference.sampling import SamplingParams
from xltjax.mesh import make_mesh

TIE = 1e-4  # twice the largest difference that float32 logits may have, relative to their size
SHAPE = {
    "hidden_size": 128, "intermediate_size": 352, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 2048,
}  # fmt: skip
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "LLaMA, all heads": ("Llama", {"num_key_value_heads": 4}),
    "LLaMA, grouped queries": ("Llama", {"num_key_value_heads": 2}),
    "Mistral, window 64": ("Mistral", {"num_key_value_heads": 2, "sliding_window": 64}),
}


def main() -> None:
    """Compare the three models."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--prompts", default="xlt113", help="set, file or folder of prompts")
    parser.add_argument("--tokenizer", type=Path, help="SentencePiece model; trained on the spot by default")
    parser.add_argument("--subset", type=int, help="only this many of the prompts")
    parser.add_argument("--new-tokens", type=int, default=48)
    parser.add_argument("--penalty", type=float, default=1.1)
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # models this small are slower with more
    proved = True
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        tokenizer = make_tokenizer(root, arguments.tokenizer, arguments.prompts)
        prompts = tokenized(tokenizer, arguments.prompts, arguments.subset)
        vocabulary = 32_000 if arguments.tokenizer else 3_000
        for name, (family, changes) in MODELS.items():
            began = time.perf_counter()
            model = random_model(root / name, family, 1.0, vocab_size=vocabulary, **SHAPE, **changes)
            options = {"new_tokens": arguments.new_tokens, "penalty": arguments.penalty}
            expected = hf_answers(model, prompts, eos=[2], **options)
            got = _decode(root / name, prompts, **options)
            pairs = list(zip(prompts, expected, got, strict=True))
            different = [pair for pair in pairs if pair[1] != pair[2]]
            tokens = sum(map(len, expected))
            print(
                f"{name}: {len(pairs) - len(different)} of {len(pairs)} answers identical, {tokens} tokens, "
                f"{time.perf_counter() - began:.0f} s",
                flush=True,
            )
            for pair in different:
                proved &= _explain(model, *pair, penalty=arguments.penalty)
    sys.exit(0 if proved else 1)


def _decode(
    directory: Path, prompts: Sequence[Sequence[int]], *, new_tokens: int, penalty: float
) -> list[list[int]]:
    mesh = make_mesh("1x1")
    model = load_hf(directory, mesh, dtype=jnp.float32)
    engine = Engine(
        model, mesh, slots=16, max_new_tokens=new_tokens, sampling=SamplingParams(penalty), eos=[2]
    )
    answers = {key: answer.ids for key, answer in engine.generate(enumerate(prompts))}
    return [answers[index] for index in range(len(prompts))]


def _explain(
    model: Any, prompt: Sequence[int], expected: Sequence[int], got: Sequence[int], *, penalty: float
) -> bool:
    """Print the first difference and its two logits; whether they are a tie."""
    ours, theirs = [*got, 2], [*expected, 2]
    place = next(i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b)
    begun = [*prompt, *expected[:place]]
    with torch.inference_mode():
        logits = model(torch.tensor([begun])).logits[0, -1].float()
    seen = torch.tensor(sorted(set(begun)))
    logits[seen] = torch.where(logits[seen] < 0, logits[seen] * penalty, logits[seen] / penalty)
    first, second = float(logits[theirs[place]]), float(logits[ours[place]])
    tie = abs(first - second) <= TIE * max(1.0, abs(first))
    print(
        f"  token {place}: transformers {theirs[place]} at {first:.7f}, ours {ours[place]} at {second:.7f}, "
        f"gap {first - second:.2e}: {'a tie' if tie else 'NOT A TIE'}"
    )
    return tie


if __name__ == "__main__":
    main()
