"""From messages to tokens: the one code path for training and generation.

The chat template first gives special tokens and texts, and says which of them are learned. Then the contents of
the messages are inserted and encoded as plain text. So the loss mask needs no search for the answers, and a
literal ``</s>`` in a message never becomes the special token.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xltjax.common.errors import UserError
from xltjax.common.files import read_json_object, read_text
from xltjax.data.conversations import Message
from xltjax.data.templates import MARK, Layouts

# Names in ``tokenizer_config.json`` of tokenizers that ``tokenizer.json`` describes fully, and their classes.
PLAIN_TOKENIZERS = {
    "PreTrainedTokenizerFast": "PreTrainedTokenizerFast",
    "TokenizersBackend": "PreTrainedTokenizerFast",
    "LlamaTokenizer": "LlamaTokenizer",
    "LlamaTokenizerFast": "LlamaTokenizer",
}


@dataclass(frozen=True)
class Tokens:
    """The tokens of one conversation.

    Attributes:
        ids: int32 [n], the token ids.
        loss_mask: bool [n], whether each token is learned.
    """

    ids: np.ndarray
    loss_mask: np.ndarray


class ChatTokenizer:
    """A Hugging Face tokenizer together with a chat template.

    Attributes:
        directory: where it was loaded from.
        hf: the Hugging Face tokenizer.
        template: the name of the template.
        eos: the id of the token that ends an answer in this template.
    """

    def __init__(self, directory: str | Path, template: str = "llama-2"):
        """Load a tokenizer.

        Args:
            directory: a model directory, or an id on the Hugging Face Hub.
            template: a name in ``templates.TEMPLATES``.

        Raises:
            UserError: when there is no usable tokenizer, or it lacks what the template needs.
        """
        self.directory = Path(directory)
        self.hf = _load_tokenizer(directory)
        self.template = template
        self._layouts = Layouts(self.hf, template, str(directory))
        self.eos = self._layouts.eos

    @property
    def size(self) -> int:
        """How many rows an embedding needs for all tokens."""
        return int(max(self.hf.get_vocab().values())) + 1

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """The token ids after which the model writes the answer to the last user message."""
        return self.prompts([messages])[0]

    def prompts(self, conversations: Sequence[Sequence[Message]]) -> list[list[int]]:
        """The ``prompt`` of each of many conversations; faster than one by one, as the tokenizer runs once."""
        return [[token for piece, _ in pieces for token in piece] for pieces in self._pieces(conversations)]

    def examples(self, conversations: Sequence[Sequence[Message]]) -> list[Tokens]:
        """The tokens of conversations for training: every answer and the token that ends it are learned."""
        return [
            Tokens(
                np.array([token for piece, _ in pieces for token in piece], np.int32),
                np.array([learned for piece, learned in pieces for _ in piece], bool),
            )
            for pieces in self._pieces(conversations)
        ]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of an answer, without special tokens and surrounding whitespace."""
        # Some tokenizers would "clean up" the space that French puts before a question mark.
        options = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}
        return str(self.hf.decode(list(ids), **options)).strip()

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
            # When the tokenizer merges characters of head and piece, the piece is encoded by itself.
            return whole[len(before) :] if whole[: len(before)] == before else self._encode([piece])[piece]

        return [[(ids(head, piece), learned) for head, piece, learned in plan] for plan in plans]

    def _plan(self, conversation: Sequence[Message]) -> list[tuple[str, int | str, bool]]:
        """The pieces of a conversation in order, as (head, id of a special token or text, learned).

        A text that follows another is encoded together with the last character of that one, its head, so
        that its first word is split into the same tokens as within a text.
        """
        contents = {
            MARK + index: message.content if message.role == "text" else message.content.strip()
            for index, message in enumerate(conversation)
        }
        plan: list[tuple[str, int | str, bool]] = []
        head = ""
        for piece, learned in self._layouts.pieces(tuple(message.role for message in conversation)):
            filled = piece.translate(contents) if isinstance(piece, str) else piece
            if filled != "":
                plan.append((head, filled, learned))
                head = filled[-1] if isinstance(filled, str) else ""
        return plan

    def _encode(self, texts: Iterable[str]) -> dict[str, list[int]]:
        """The token ids of each text; a literal ``</s>`` in it stays text."""
        unique = list(dict.fromkeys(filter(None, texts)))
        for text in unique:
            try:
                text.encode()
            except UnicodeEncodeError as problem:
                near = text[max(0, problem.start - 20) : problem.end + 20]
                raise UserError(
                    f"a text contains half of a surrogate pair, at {near!r}; correct it"
                ) from None
        encoded: dict[str, list[int]] = {"": []}
        if unique:
            ids = self.hf(unique, add_special_tokens=False, split_special_tokens=True)["input_ids"]
            encoded |= dict(zip(unique, ids, strict=True))
        return encoded


def _load_tokenizer(directory: str | Path) -> Any:
    path = Path(directory)
    files = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json")
    if path.is_dir() and not any((path / file).is_file() for file in files):
        raise UserError(f"{path} has no tokenizer (none of {', '.join(files)})")
    for name in ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "config.json"):
        if (path / name).is_file():
            read_json_object(path / name)  # which names the file that is damaged
    # Tokenizers do not need PyTorch, which transformers would advise to install.
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    import transformers

    try:
        # Without the argument, transformers would ask on the terminal whether to run the code of a directory.
        return getattr(transformers, _tokenizer_class(path)).from_pretrained(
            str(directory), trust_remote_code=False
        )
    except Exception as problem:  # a damaged file can raise anything
        if "trust_remote_code" in str(problem):
            raise UserError(
                f"the tokenizer of {directory} brings its own code (auto_map), which is never run; remove auto_map "
                "from its tokenizer_config.json, or use a tokenizer that transformers knows"
            ) from None
        raise UserError(f"no tokenizer could be loaded from {directory}: {problem!r:.300}") from None


def _tokenizer_class(directory: Path) -> str:
    """The class of transformers that reads the ``tokenizer.json`` of a LLaMA, or else ``AutoTokenizer``.

    ``AutoTokenizer`` would choose the same class, but it imports PyTorch if that is installed, which takes
    seconds.
    """
    settings, model, tokenizer = (
        directory / name for name in ("tokenizer_config.json", "config.json", "tokenizer.json")
    )
    if not (settings.is_file() and tokenizer.is_file()):
        return "AutoTokenizer"
    named = read_json_object(settings)
    model_type = read_json_object(model).get("model_type") if model.is_file() else "llama"
    data = read_text(tokenizer)
    # For a byte-level tokenizer, AutoTokenizer ignores that the configuration names LLaMA's class.
    if "auto_map" in named or model_type != "llama" or '"ByteLevel"' in data:
        return "AutoTokenizer"
    return PLAIN_TOKENIZERS.get(str(named.get("tokenizer_class")), "AutoTokenizer")
