"""Random models and tokenized prompts for the benchmarks of generation: nothing is downloaded."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers

from xltjax.data.conversations import Message
from xltjax.data.prompt_sets import load_set
from xltjax.data.tokenizer import ChatTokenizer
from xltjax.miniature.tokenizer import train_tokenizer, write_hf_tokenizer

VOCABULARY, HEAD_DIM = 32_000, 64  # of ``random_llama``


def make_tokenizer(directory: Path, model_file: Path | None, prompts: str) -> ChatTokenizer:
    """The tokenizer of ``model_file`` (such as LLaMA-2's), or one of 3,000 pieces trained on the prompts."""
    if model_file is None:
        model_file = directory / "trained.model"
        texts = [instruction.instruction for instruction in load_set(prompts, None, modifiers=True)]
        model_file.write_bytes(train_tokenizer(texts, 3000, "[]/INST"))
    write_hf_tokenizer(model_file, directory / "tokenizer")
    return ChatTokenizer(directory / "tokenizer")


def tokenized(tokenizer: ChatTokenizer, prompts: str, subset: int | None) -> list[list[int]]:
    """Token ids of the set's prompts; of ``subset`` of them, evenly spread, when given."""
    instructions = load_set(prompts)
    if subset:
        instructions = [instructions[index * len(instructions) // subset] for index in range(subset)]
    return tokenizer.prompts([(Message("user", each.instruction),) for each in instructions])


def random_model(directory: Path, family: str, deviation: float, seed: int = 0, **shape: Any) -> Any:
    """A ``transformers`` model of ``family`` (Llama, Mistral) in float32, saved in ``directory``.

    Matrices are normal with ``deviation`` times one over the root of their inputs, so that attention and
    the next token depend on what was read.
    """
    config = getattr(transformers, f"{family}Config")(bos_token_id=1, eos_token_id=2, **shape)
    torch.manual_seed(seed)
    model = getattr(transformers, f"{family}ForCausalLM")(config)
    for name, parameter in model.named_parameters():
        noise = torch.randn_like(parameter)
        spread = deviation * parameter.shape[-1] ** -0.5
        parameter.data = 1 + 0.1 * noise if "norm" in name else noise * (1.0 if "embed" in name else spread)
    model.eval().save_pretrained(directory)
    return model


def random_llama(directory: Path, *, layers: int, width: int) -> Any:
    """A random LLaMA with the vocabulary and proportions of LLaMA-2, heads of 64, saved in ``directory``."""
    return random_model(
        directory, "Llama", 1.0, vocab_size=VOCABULARY, hidden_size=width, num_hidden_layers=layers,
        intermediate_size=round(width * 8 / 3 / 16) * 16, num_attention_heads=width // HEAD_DIM,
        num_key_value_heads=width // HEAD_DIM, max_position_embeddings=2048,
    )  # fmt: skip


def tiny_chat_model(root: Path) -> Path:
    """A random model of 1.6 million parameters with a tokenizer, for runs that are killed; its directory."""
    make_tokenizer(root, None, "xlt113")
    shape = {"hidden_size": 128, "intermediate_size": 352, "num_hidden_layers": 4, "num_attention_heads": 4}
    random_model(root / "model", "Llama", 1.0, vocab_size=3_000, max_position_embeddings=2048, **shape)
    shutil.copytree(root / "tokenizer", root / "model", dirs_exist_ok=True)
    return root / "model"


def hf_answers(
    model: Any, prompts: Sequence[Sequence[int]], *, new_tokens: int, penalty: float, eos: Sequence[int],
    batch_size: int = 1,
) -> list[list[int]]:  # fmt: skip
    """Greedy answers of ``transformers.generate``, EOS excluded; batches hold prompts of like length."""
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    answers: dict[int, list[int]] = {}
    for start in range(0, len(order), batch_size):
        taken = order[start : start + batch_size]
        width = max(len(prompts[index]) for index in taken)
        # Left padding, and masked: transformers leaves it out of the penalty.
        ids = torch.tensor([[0] * (width - len(prompts[i])) + list(prompts[i]) for i in taken])
        mask = torch.tensor([[0] * (width - len(prompts[i])) + [1] * len(prompts[i]) for i in taken])
        with torch.inference_mode():
            out = model.generate(
                ids, attention_mask=mask, max_new_tokens=new_tokens, do_sample=False,
                repetition_penalty=penalty, eos_token_id=list(eos), pad_token_id=0,
            )  # fmt: skip
        for index, row in zip(taken, out[:, width:].tolist(), strict=True):
            ends = [place for place, token in enumerate(row) if token in eos]
            answers[index] = row[: ends[0]] if ends else row
    return [answers[index] for index in range(len(prompts))]
