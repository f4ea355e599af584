"""Chat templates and tokenizers: the one code path from messages to tokens, for training and generation.

The loss mask is built, never searched for: prompt and answer are tokenized apart and joined, so every
answer token, and EOS, is known to be one, and padding never is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xltjax.errors import UserError


@dataclass(frozen=True)
class Message:
    """One turn of a conversation; ``role`` is ``system``, ``user``, ``assistant`` or ``text``.

    ``text`` is plain text without a template, learned token by token (pretraining).
    """

    role: str
    content: str


Conversation = tuple[Message, ...]


@dataclass(frozen=True)
class Template:
    """How one exchange becomes text: BOS + user + assistant + EOS, repeated for further exchanges.

    ``user`` and ``assistant`` hold ``{}`` for the content; ``system`` wraps the system prompt that is put
    before the first user's content. The space before the answer belongs to ``assistant``, so that a
    prompt tokenizes alike with and without an answer after it.
    """

    user: str
    assistant: str
    system: str = "{}\n\n"


TEMPLATES = {
    # Meta's form (paper, Appendix B; reference: llama/generation.py): one space on each side of the answer.
    "llama-2": Template("[INST] {} [/INST]", " {} ", "<<SYS>>\n{}\n<</SYS>>\n\n"),
    "alpaca": Template(
        "Below is an instruction that describes a task. Write a response that appropriately completes "
        "the request.\n\n### Instruction:\n{}\n\n### Response:\n",
        "{}",
    ),
    "plain": Template("{}\n", "{}"),
}


@dataclass(frozen=True)
class Tokens:
    """Token ids [n] int32 of one conversation, and which of them are learned [n] bool."""

    ids: np.ndarray
    loss_mask: np.ndarray


class ChatTokenizer:
    """A Hugging Face tokenizer together with a template.

    Attributes:
        bos: id of the beginning-of-sequence token, or None where the tokenizer has none.
        eos: id of the end-of-sequence token.
    """

    def __init__(self, directory: str | Path, template: str = "llama-2"):
        """Load the tokenizer of a model directory (or Hugging Face id).

        Raises:
            UserError: when there is no usable tokenizer.
        """
        self.template = TEMPLATES[template]
        self._tokenizer = _load_tokenizer(directory)
        self.bos: int | None = self._tokenizer.bos_token_id
        if self._tokenizer.eos_token_id is None:
            raise UserError(f"the tokenizer of {directory} has no end-of-sequence token")
        self.eos: int = self._tokenizer.eos_token_id
        # An answer is tokenized behind the prompt's last character, as it stands in the template, so that
        # its first word is cut as in running text.
        self._anchor = self.template.user[-1]
        self._anchor_ids = self._encode([self._anchor])[0]

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """Token ids after which the model writes the answer to the last user message."""
        return self.prompts([messages])[0]

    def prompts(self, conversations: Sequence[Sequence[Message]]) -> list[list[int]]:
        """``prompt`` of many conversations; the tokenizer runs once."""
        return [[token for piece, _ in pieces for token in piece] for pieces in self._pieces(conversations)]

    def examples(self, conversations: Sequence[Sequence[Message]]) -> list[Tokens]:
        """Training tokens of many conversations; every assistant turn and its EOS are learned."""
        return [
            Tokens(
                np.array([token for piece, _ in pieces for token in piece], np.int32),
                np.array([learned for piece, learned in pieces for _ in piece], bool),
            )
            for pieces in self._pieces(conversations)
        ]

    def decode(self, ids: Sequence[int]) -> str:
        """The answer's text, without special tokens and surrounding blanks."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True)).strip()

    def _pieces(self, conversations: Sequence[Sequence[Message]]) -> list[list[tuple[list[int], bool]]]:
        """Each conversation as (token ids, learned) pieces."""
        texts: list[str] = []
        plans: list[list[tuple[int, bool, bool]]] = []  # index into texts, learned, continues a prompt
        for conversation in conversations:
            plan = []
            system = ""
            for message in conversation:
                content = message.content.strip()
                if message.role == "system":
                    system = self.template.system.format(content)
                    continue
                if message.role == "user":
                    text, learned, continues = self.template.user.format(system + content), False, False
                    system = ""
                elif message.role == "assistant":
                    text, learned, continues = self.template.assistant.format(content), True, True
                else:
                    text, learned, continues = message.content, True, False
                plan.append((len(texts), learned, continues))
                texts.append(self._anchor + text if continues else text)
            plans.append(plan)
        encoded = self._encode(texts)
        return [[self._piece(encoded[i], *flags) for i, *flags in plan] for plan in plans]

    def _piece(self, ids: list[int], learned: bool, continues: bool) -> tuple[list[int], bool]:
        if continues:
            ids = ids[len(self._anchor_ids) :]
        elif self.bos is not None:
            ids = [self.bos, *ids]
        return ([*ids, self.eos] if learned else ids), learned

    def _encode(self, texts: list[str]) -> list[list[int]]:
        """Ids of each text; a literal ``</s>`` in it stays text and never becomes the special token."""
        if not texts:
            return []
        encoded = self._tokenizer(texts, add_special_tokens=False, split_special_tokens=True)
        return encoded["input_ids"]  # type: ignore[no-any-return]


def _load_tokenizer(directory: str | Path) -> Any:
    path = Path(directory)
    files = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json")
    if path.is_dir() and not any((path / file).is_file() for file in files):
        raise UserError(f"{path} has no tokenizer (none of {', '.join(files)})")
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(str(directory))
    except (OSError, ValueError) as problem:
        raise UserError(f"no tokenizer could be loaded from {directory}: {problem}") from None
