"""From messages to tokens: the one code path for training and generation.

The chat template first gives special tokens and texts, and says which of them are learned. Then the contents of
the messages are inserted and encoded as plain text. So the loss mask needs no search for the answers, and a
literal ``</s>`` in a message never becomes the special token.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from xltjax.common.errors import UserError
from xltjax.common.files import read_json_object, read_text
from xltjax.data.conversations import Message, half_surrogate
from xltjax.data.templates import MARK, Layouts, parse_date, with_date

log = logging.getLogger("xltjax")

DEFAULT_TEMPLATE = "llama-2"

_BYTE = re.compile("<0x[0-9A-F]{2}>")  # a token of SentencePiece that is a single byte

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

    def __init__(
        self,
        directory: str | Path,
        template: str = DEFAULT_TEMPLATE,
        *,
        vocab_size: int | None = None,
        date: str = "",
    ):
        """Load a tokenizer.

        Args:
            directory: a model directory, or an id on the Hugging Face Hub.
            template: a name in ``templates.TEMPLATES``.
            vocab_size: the size of the model's vocabulary, below which all token ids must be; None for any.
            date: the ISO date that a template of the tokenizer may write into prompts; today when not given.

        Raises:
            UserError: when there is no usable tokenizer, or it lacks what the template needs, or the template has
                a token that the model's vocabulary lacks.
        """
        self.directory = Path(directory)
        self.hf = _load_tokenizer(directory)
        self.template = template
        self._place, self._vocab_size = str(directory), vocab_size
        self._date = parse_date(date)
        self._layouts = Layouts(self.hf, template, str(directory), self._date)
        self.eos = self._layouts.eos
        if vocab_size is not None:
            self.examples([(Message("user", "a"), Message("assistant", "a"))])
        if template == DEFAULT_TEMPLATE and self.hf.chat_template:
            _notice_own_template(self._place, _own_form(self._layouts, self.hf, self._place))

    @property
    def own_jinja(self) -> str:
        """The tokenizer's own chat template, which writes the date that was given, if one was."""
        own = str(self.hf.get_chat_template())
        return with_date(own, self._date) if self._date else own

    @property
    def writes_tools(self) -> bool:
        """Whether the template writes the tools that an assistant may call."""
        return self._layouts.writes_tools

    @property
    def ends(self) -> set[int]:
        """The ids that end what is learned: the template's, and the tokenizer's after plain text."""
        return {self.eos} | ({self.hf.eos_token_id} - {None})

    def token_text(self, token: int) -> str:
        """The text of one token, with the space before it where it has one."""
        piece = self.hf.convert_ids_to_tokens(token)
        if piece is None or "\u2581" in piece:  # SentencePiece's space, which decoding would drop
            return (piece or "").replace("\u2581", " ")
        return str(self.hf.decode([token], clean_up_tokenization_spaces=False)) or piece

    def check(self, conversation: Sequence[Message]) -> None:
        """Check that the template can write a conversation.

        Raises:
            UserError: saying why not.
        """
        self._plan(conversation)

    @property
    def size(self) -> int:
        """How many rows an embedding needs for all tokens."""
        return int(max(self.hf.get_vocab().values())) + 1

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """The token ids after which the model writes the answer to the last user message."""
        return self.prompts([messages])[0]

    def prompts(self, conversations: Sequence[Sequence[Message]]) -> list[list[int]]:
        """The ``prompt`` of each of many conversations; faster than one by one, as the tokenizer runs once."""
        prompts = [
            [token for piece, _ in pieces for token in piece] for pieces in self._pieces(conversations)
        ]
        self._check_vocabulary(prompts)
        return prompts

    def examples(self, conversations: Sequence[Sequence[Message]]) -> list[Tokens]:
        """The tokens of conversations for training.

        Every answer and the token that ends it are learned, except answers that say that they are not.
        """
        examples = [
            Tokens(
                np.array([token for piece, _ in pieces for token in piece], np.int32),
                np.array([learned for piece, learned in pieces for _ in piece], bool),
            )
            for pieces in self._pieces(conversations)
        ]
        self._check_vocabulary([example.ids for example in examples])
        return examples

    def _check_vocabulary(self, sequences: Sequence[Sequence[int] | np.ndarray]) -> None:
        """Refuse token ids that the model has no embedding for.

        Raises:
            UserError: naming the tokenizer, the ids and the vocabulary.
        """
        size = self._vocab_size
        if size is None:
            return
        over = sorted(
            {int(i) for ids in sequences if len(ids) and np.max(ids) >= size for i in ids if i >= size}
        )
        if over:
            names = ", ".join(f"{i} ({self.hf.convert_ids_to_tokens(i)!r})" for i in over[:8])
            raise UserError(
                f"the tokenizer of {self._place} gives the token ids {names}{', ...' if len(over) > 8 else ''} with "
                f"the chat template {self.template!r}, but the model's vocabulary has only the ids 0 to {size - 1} "
                f"(vocab_size {size}); use another template, or the tokenizer that belongs to the model, "
                "or train with --resize-vocabulary"
            )

    def decode(self, ids: Sequence[int]) -> str:
        """The text of an answer, without special tokens and surrounding whitespace."""
        # Some tokenizers would "clean up" the space that French puts before a question mark.
        options = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}
        return str(self.hf.decode(list(ids), **options)).strip()

    def settled(self, ids: Sequence[int]) -> str:
        """What the text of an answer begins with that has these tokens so far, whatever tokens follow.

        Tokens of single bytes in a row are only read together: one that does not fit makes all of them unreadable.
        """
        end = len(ids)
        while end and _BYTE.fullmatch(self.hf.convert_ids_to_tokens(int(ids[end - 1])) or ""):
            end -= 1
        return self.decode(ids[:end]).rstrip("\ufffd")  # which stands for the first bytes of a character

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
        tools = ""
        if conversation and conversation[0].role == "tools":
            tools, conversation = conversation[0].content, conversation[1:]
        contents = {
            MARK + index: message.content if message.role == "text" else message.content.strip()
            for index, message in enumerate(conversation)
        }
        plan: list[tuple[str, int | str, bool]] = []
        head = ""
        for piece, answer in self._layouts.pieces(tuple(message.role for message in conversation), tools):
            filled = piece.translate(contents) if isinstance(piece, str) else piece
            if filled != "":
                plan.append((head, filled, answer is not None and conversation[answer].learned))
                head = filled[-1] if isinstance(filled, str) else ""
        return plan

    def _encode(self, texts: Iterable[str]) -> dict[str, list[int]]:
        """The token ids of each text; a literal ``</s>`` in it stays text."""
        unique = list(dict.fromkeys(filter(None, texts)))
        for text in unique:
            if near := half_surrogate(text):
                raise UserError(f"a text contains half of a surrogate pair, at {near!r}; correct it")
        encoded: dict[str, list[int]] = {"": []}
        if unique:
            ids = self.hf(unique, add_special_tokens=False, split_special_tokens=True)["input_ids"]
            encoded |= dict(zip(unique, ids, strict=True))
        return encoded


def _own_form(layouts: Layouts, tokenizer: Any, place: str) -> bool:
    """Whether the tokenizer's own chat template can be used, and writes an exchange otherwise than ``layouts``."""
    exchange = ("user", "assistant")
    try:
        return Layouts(tokenizer, "tokenizer", place).pieces(exchange) != layouts.pieces(exchange)
    except UserError:
        return False


@cache
def _notice_own_template(place: str, own: bool) -> None:
    """Say, once for each tokenizer, that it has a chat template of its own that is not used."""
    if own:
        log.warning(
            "notice: the tokenizer of %s has a chat template of its own, and %s is used; --template tokenizer uses "
            "its own",
            place,
            DEFAULT_TEMPLATE,
        )


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
