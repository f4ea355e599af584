"""Chat templates and tokenizers: the one code path from messages to tokens, for training and generation.

The template is laid out first, as special tokens and texts, each learned or not; then the contents of the
messages are put in and encoded as plain text. So the loss mask is built and never searched for, and a literal
``</s>`` in a message never becomes the special token.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xltjax.common.errors import UserError
from xltjax.data.conversations import Message
from xltjax.data.templates import MARK, Layouts

# What ``tokenizer_config.json`` calls a tokenizer that is all in ``tokenizer.json``, and its class.
PLAIN_TOKENIZERS = {
    "PreTrainedTokenizerFast": "PreTrainedTokenizerFast",
    "TokenizersBackend": "PreTrainedTokenizerFast",
    "LlamaTokenizer": "LlamaTokenizer",
    "LlamaTokenizerFast": "LlamaTokenizer",
}


@dataclass(frozen=True)
class Tokens:
    """Token ids [n] int32 of one conversation, and which of them are learned [n] bool."""

    ids: np.ndarray
    loss_mask: np.ndarray


class ChatTokenizer:
    """A Hugging Face tokenizer together with a template.

    Attributes:
        eos: id of the token that ends an answer in this template.
    """

    def __init__(self, directory: str | Path, template: str = "llama-2"):
        """Load the tokenizer of a model directory (or Hugging Face id).

        Raises:
            UserError: when there is no usable tokenizer, or it lacks what the template needs.
        """
        self._tokenizer = _load_tokenizer(directory)
        self._layouts = Layouts(self._tokenizer, template, str(directory))
        self.eos = self._layouts.eos

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """Token ids after which the model writes the answer to the last user message."""
        return self.prompts([messages])[0]

    def prompts(self, conversations: Sequence[Sequence[Message]]) -> list[list[int]]:
        """``prompt`` of many conversations; the tokenizer runs once."""
        return [[token for piece, _ in pieces for token in piece] for pieces in self._pieces(conversations)]

    def examples(self, conversations: Sequence[Sequence[Message]]) -> list[Tokens]:
        """Training tokens of many conversations; every answer and the token that ends it are learned."""
        return [
            Tokens(
                np.array([token for piece, _ in pieces for token in piece], np.int32),
                np.array([learned for piece, learned in pieces for _ in piece], bool),
            )
            for pieces in self._pieces(conversations)
        ]

    def decode(self, ids: Sequence[int]) -> str:
        """The answer's text, without special tokens and surrounding blanks."""
        # Some tokenizers would "clean up" the space that French puts before a question mark.
        options = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}
        return str(self._tokenizer.decode(list(ids), **options)).strip()

    def _pieces(self, conversations: Sequence[Sequence[Message]]) -> list[list[tuple[list[int], bool]]]:
        """Each conversation as (token ids, learned) pieces."""
        plans = [self._plan(conversation) for conversation in conversations]
        encoded = self._encode(
            text for plan in plans for head, piece, _ in plan if isinstance(piece, str)
            for text in (head, head + piece)
        )  # fmt: skip

        def ids(head: str, piece: int | str) -> list[int]:
            if isinstance(piece, int):
                return [piece]
            before, whole = encoded[head], encoded[head + piece]
            # A tokenizer that merges across the border leaves the piece to be encoded by itself.
            return whole[len(before) :] if whole[: len(before)] == before else self._encode([piece])[piece]

        return [[(ids(head, piece), learned) for head, piece, learned in plan] for plan in plans]

    def _plan(self, conversation: Sequence[Message]) -> list[tuple[str, int | str, bool]]:
        """(head, special token or text, learned) in order.

        A text that goes on where another ended is encoded behind the last character of that one, its head,
        so that its first word is cut as in running text.
        """
        contents = {
            MARK + index: message.content if message.role == "text" else message.content.strip()
            for index, message in enumerate(conversation)
        }
        plan: list[tuple[str, int | str, bool]] = []
        head = ""
        for piece, learned in self._layouts.of(tuple(message.role for message in conversation)):
            filled = piece.translate(contents) if isinstance(piece, str) else piece
            if filled != "":
                plan.append((head, filled, learned))
                head = filled[-1] if isinstance(filled, str) else ""
        return plan

    def _encode(self, texts: Iterable[str]) -> dict[str, list[int]]:
        """Ids of each text; a literal ``</s>`` in it stays text."""
        unique = list(dict.fromkeys(filter(None, texts)))
        for text in unique:
            try:
                text.encode()
            except UnicodeEncodeError as problem:
                near = text[max(0, problem.start - 20) : problem.end + 20]
                raise UserError(f"a text holds half of a surrogate pair, at {near!r}; mend it") from None
        encoded: dict[str, list[int]] = {"": []}
        if unique:
            ids = self._tokenizer(unique, add_special_tokens=False, split_special_tokens=True)["input_ids"]
            encoded |= dict(zip(unique, ids, strict=True))
        return encoded


def _load_tokenizer(directory: str | Path) -> Any:
    path = Path(directory)
    files = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json")
    if path.is_dir() and not any((path / file).is_file() for file in files):
        raise UserError(f"{path} has no tokenizer (none of {', '.join(files)})")
    # Tokenizers need no PyTorch; transformers would advise to install it.
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    import transformers

    try:
        return getattr(transformers, _tokenizer_class(path)).from_pretrained(str(directory))
    except Exception as problem:  # a damaged file raises whatever its reader stumbles over
        raise UserError(f"no tokenizer could be loaded from {directory}: {problem!r:.300}") from None


def _tokenizer_class(directory: Path) -> str:
    """The class of transformers that reads a LLaMA's ``tokenizer.json``, or ``AutoTokenizer`` for anything else.

    ``AutoTokenizer`` comes to the same class, but imports PyTorch where it is installed, which takes seconds.
    """
    try:
        named = json.loads((directory / "tokenizer_config.json").read_text(encoding="utf-8"))
        model = directory / "config.json"
        model_type = (
            json.loads(model.read_text(encoding="utf-8"))["model_type"] if model.is_file() else "llama"
        )
        data = (directory / "tokenizer.json").read_text(encoding="utf-8")
    except (OSError, ValueError, KeyError):
        return "AutoTokenizer"
    # With byte-level pieces AutoTokenizer does not believe a configuration that names LLaMA's class.
    if "auto_map" in named or model_type != "llama" or '"ByteLevel"' in data:
        return "AutoTokenizer"
    return PLAIN_TOKENIZERS.get(named.get("tokenizer_class"), "AutoTokenizer")
