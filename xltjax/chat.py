"""Chat templates and tokenizers: the one code path from messages to tokens, for training and generation.

A template never sees the contents of messages, only marks in their place. It is laid out as special tokens
and texts, each learned or not; then the contents are put in and encoded as plain text. So the loss mask is
built and never searched for, and a literal ``</s>`` in a message never becomes the special token.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from xltjax.errors import UserError

MARK = 0xF0000  # the private-use character that stands for the first message's content, and so on


@dataclass(frozen=True)
class Message:
    """One turn of a conversation; ``role`` is ``system``, ``user``, ``assistant`` or ``text``.

    ``text`` is plain text without a template, learned token by token (pretraining).
    """

    role: str
    content: str


Conversation = tuple[Message, ...]
Roles = tuple[str, ...]


@dataclass(frozen=True)
class Template:
    """How one exchange becomes text, repeated for further exchanges.

    ``{}`` holds the content, ``{system}`` the system prompt wrapped by ``system``, ``{bos}`` and ``{eos}``
    the tokenizer's tokens. ``user`` ends where an answer begins. The space before an answer belongs to
    ``assistant``, so that a prompt tokenizes alike with and without an answer after it.
    """

    user: str
    assistant: str
    system: str = "{}\n\n"
    start: str = ""

    def render(self, bos: str, eos: str, roles: Roles, answer_next: bool) -> str:
        """The text of a conversation, with marks for contents; a prompt needs nothing more at its end."""
        text, system = self.start.format(bos=bos), ""
        for index, role in enumerate(roles):
            mark = chr(MARK + index)
            if role == "system":
                system = self.system.format(mark)
            elif role == "user":
                text += self.user.format(mark, system=system, bos=bos)
                system = ""
            else:
                text += self.assistant.format(mark, eos=eos)
        return text


TEMPLATES: dict[str, Template | None] = {
    # Meta's form (paper, Appendix B; reference: llama/generation.py): one space on each side of the answer.
    "llama-2": Template("{bos}[INST] {system}{} [/INST]", " {} {eos}", "<<SYS>>\n{}\n<</SYS>>\n\n"),
    "alpaca": Template(
        "{bos}Below is an instruction that describes a task. Write a response that appropriately completes "
        "the request.\n\n### Instruction:\n{system}{}\n\n### Response:\n",
        "{}{eos}",
    ),
    "chatml": Template(
        "{system}<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n",
        "{}<|im_end|>\n",
        "<|im_start|>system\n{}<|im_end|>\n",
        start="{bos}",
    ),
    "plain": Template("{bos}{system}{}\n", "{}{eos}"),
    "tokenizer": None,  # the Jinja template that comes with the tokenizer
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
        tokenizer = _load_tokenizer(directory)
        self._tokenizer = tokenizer
        self._name = f"the chat template {template!r} with the tokenizer of {directory}"
        self._bos, self._eos = tokenizer.bos_token or "", tokenizer.eos_token or ""
        form = TEMPLATES[template]
        self._render: Callable[[Roles, bool], str] = (
            partial(form.render, self._bos, self._eos) if form else self._render_own
        )
        self._special = {t.content: i for i, t in tokenizer.added_tokens_decoder.items() if t.special}
        longest_first = sorted(self._special, key=len, reverse=True)
        self._special_token = re.compile(f"({'|'.join(map(re.escape, longest_first)) or '(?!)'})")
        self._layouts: dict[Roles, list[tuple[int | str, bool]]] = {}
        end, _ = self._layout(("user", "assistant"))[-1]
        assert isinstance(end, int)
        self.eos = end

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
        for piece, learned in self._layout(tuple(message.role for message in conversation)):
            filled = piece.translate(contents) if isinstance(piece, str) else piece
            if filled != "":
                plan.append((head, filled, learned))
                head = filled[-1] if isinstance(filled, str) else ""
        return plan

    def _layout(self, roles: Roles) -> list[tuple[int | str, bool]]:
        """The special tokens, and texts with marks, of a conversation with these roles; learned or not."""
        if roles not in self._layouts:
            self._layouts[roles] = [
                (self._special.get(piece, piece), learned)
                for text, learned in self._parts(roles)
                for piece in filter(None, self._special_token.split(text))
            ]
        return self._layouts[roles]

    def _parts(self, roles: Roles) -> list[tuple[str, bool]]:
        """Prompts (not learned) and answers up to the token that ends them (learned), as text with marks."""
        if roles == ("text",):
            return [(self._bos, False), (chr(MARK) + self._eos, True)]
        parts, done = [], ""
        answers = [index for index, role in enumerate(roles) if role == "assistant"]
        for index in answers if roles[-1:] == ("assistant",) else [*answers, len(roles)]:
            prompt = self._render(roles[:index], True)
            text = self._render(roles[: index + 1], False) if index < len(roles) else prompt
            if not (prompt.startswith(done) and text.startswith(prompt)):
                raise UserError(f"{self._name} writes a prompt otherwise once it is answered; use another")
            parts.append((prompt[len(done) :], False))
            if index < len(roles):
                mark = text.find(chr(MARK + index), len(prompt))
                end = self._special_token.search(text, mark)
                if mark < 0 or end is None:
                    raise UserError(f"{self._name} has no special token to end an answer with; use another")
                done = text[: end.end()]
                parts.append((done[len(prompt) :], True))
        return parts

    def _render_own(self, roles: Roles, answer_next: bool) -> str:
        """The text of a conversation in the tokenizer's own template, with marks for contents."""
        messages = [{"role": role, "content": chr(MARK + i)} for i, role in enumerate(roles)]
        options = {"tokenize": False, "add_generation_prompt": answer_next}
        try:
            return str(self._tokenizer.apply_chat_template(messages, **options))
        except Exception as problem:  # of Jinja's types, which may not be installed
            reason = str(problem).split("\n", 1)[0]
            raise UserError(f"{self._name} cannot write {', '.join(roles)}: {reason}") from None

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
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(str(directory))
    except Exception as problem:  # a damaged file raises whatever its reader stumbles over
        raise UserError(f"no tokenizer could be loaded from {directory}: {problem!r:.300}") from None
