"""Sample answers during training."""

from __future__ import annotations

import math
from pathlib import Path

from jax.sharding import Mesh

from xltjax.common.errors import UserError
from xltjax.common.files import append, json_line
from xltjax.data.model_files import end_ids
from xltjax.data.prompt_sets import Instruction, load_set
from xltjax.data.tokenizer import ChatTokenizer
from xltjax.inference.engine import Engine
from xltjax.inference.sampling_params import SamplingParams
from xltjax.llama import Llama
from xltjax.mesh import batch_size

NEW_TOKENS = 128
PENALTY = 1.1


class Samples:
    """The first prompt of each language in a set of prompts, answered again and again during training."""

    def __init__(self, prompts: str, tokenizer: ChatTokenizer, mesh: Mesh, context: int):
        """Choose the first prompt of each language that leaves room for an answer.

        Args:
            prompts: a set, file or folder as ``load_set`` takes it.
            tokenizer: the tokenizer with its chat template.
            mesh: the devices.
            context: the longest prompt with its answer, in tokens.

        Raises:
            UserError: when no prompt leaves room for an answer.
        """
        instructions = load_set(prompts)
        ids = tokenizer.prompts([each.conversation for each in instructions])
        first: dict[str, tuple[Instruction, list[int]]] = {}
        for instruction, prompt in zip(instructions, ids, strict=True):
            if len(prompt) + NEW_TOKENS <= context:
                first.setdefault(instruction.language, (instruction, prompt))
        if not first:
            raise UserError(f"no prompt of {prompts} leaves room for {NEW_TOKENS} tokens in {context}")
        self._asked = [instruction for instruction, _ in first.values()]
        self._prompts = [prompt for _, prompt in first.values()]
        self._tokenizer, self._mesh = tokenizer, mesh

    def write(self, path: Path, step: int, model: Llama) -> list[tuple[str, str]]:
        """Answer greedily with ``model``, append the answers to ``path``, and return (language, answer) pairs."""
        parts = batch_size(self._mesh)
        engine = Engine(
            model,
            self._mesh,
            slots=math.ceil(len(self._prompts) / parts) * parts,
            max_new_tokens=NEW_TOKENS,
            sampling=SamplingParams(PENALTY),
            eos=end_ids(self._tokenizer),
        )
        answers = dict(engine.generate(enumerate(self._prompts)))
        rows = [
            {
                "step": step,
                "id": asked.id,
                "language": asked.language,
                "instruction": asked.instruction,
                "response": self._tokenizer.decode(answers[index].ids),
                "finish_reason": answers[index].finish_reason,
            }
            for index, asked in enumerate(self._asked)
        ]
        append(path, "".join(map(json_line, rows)))
        return [(str(row["language"]), str(row["response"])) for row in rows]
