"""Chat templates: the special tokens and the text around the contents of a conversation.

A template is rendered with a mark in the place of each message's content, and never sees the content itself. So
it is rendered once for all conversations with the same roles, it is known by construction which tokens are
learned, and special tokens are recognized in the template's own text only.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from xltjax.common.errors import UserError

MARK = (
    0xF0000  # the private-use character in the place of the first message's content; the next ones follow it
)
Roles = tuple[str, ...]


@dataclass(frozen=True)
class Template:
    """How an exchange, one question and its answer, becomes text; further exchanges follow in the same way.

    ``{}`` stands for the content, ``{system}`` for the system prompt as ``system`` wraps it, and ``{bos}`` and
    ``{eos}`` for the tokenizer's special tokens.

    Attributes:
        user: the question; it ends where the answer begins.
        assistant: the answer. The space before an answer belongs to it, so that a prompt has the same tokens
            with and without an answer after it.
        system: the system prompt.
        start: what comes once, before all exchanges.
    """

    user: str
    assistant: str
    system: str = "{}\n\n"
    start: str = ""

    def render(self, bos: str, eos: str, roles: Roles, answer_next: bool) -> str:
        """The text of a conversation, with marks for contents.

        ``answer_next`` has no effect: here a prompt ends like a conversation, unlike in templates of tokenizers.
        """
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
    # Meta's format (paper, Appendix B; Meta's llama/generation.py): one space on each side of the answer.
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


class Layouts:
    """A chat template together with the special tokens of one tokenizer.

    Attributes:
        eos: the id of the token that ends an answer.
    """

    def __init__(self, tokenizer: Any, template: str, place: str):
        """Check that a template works with a tokenizer.

        Args:
            tokenizer: a Hugging Face tokenizer.
            template: a name in ``TEMPLATES``.
            place: where the tokenizer was found, for error messages.

        Raises:
            UserError: when the tokenizer lacks what the template needs.
        """
        self._tokenizer = tokenizer
        self._name = f"the chat template {template!r} with the tokenizer of {place}"
        self._bos, self._eos = tokenizer.bos_token or "", tokenizer.eos_token or ""
        form = TEMPLATES[template]
        self._render: Callable[[Roles, bool], str] = (
            partial(form.render, self._bos, self._eos) if form else self._render_own
        )
        self._special = {t.content: i for i, t in tokenizer.added_tokens_decoder.items() if t.special}
        longest_first = sorted(self._special, key=len, reverse=True)
        self._special_token = re.compile(f"({'|'.join(map(re.escape, longest_first)) or '(?!)'})")
        self._made: dict[Roles, list[tuple[int | str, bool]]] = {}
        end, _ = self.pieces(("user", "assistant"))[-1]
        assert isinstance(end, int)
        self.eos = end

    def pieces(self, roles: Roles) -> list[tuple[int | str, bool]]:
        """The pieces of a conversation with these roles.

        Returns:
            (piece, learned): the id of a special token or a text with marks, and whether it is learned.

        Raises:
            UserError: when the template cannot write such a conversation.
        """
        if roles not in self._made:
            self._made[roles] = [
                (self._special.get(piece, piece), learned)
                for text, learned in self._parts(roles)
                for piece in filter(None, self._special_token.split(text))
            ]
        return self._made[roles]

    def _parts(self, roles: Roles) -> list[tuple[str, bool]]:
        """Prompts, which are not learned, and answers with the token that ends them, which are learned."""
        if roles == ("text",):
            return [(self._bos, False), (chr(MARK) + self._eos, True)]
        parts, done = [], ""
        answers = [index for index, role in enumerate(roles) if role == "assistant"]
        for index in answers if roles[-1:] == ("assistant",) else [*answers, len(roles)]:
            prompt = self._render(roles[:index], True)
            text = self._render(roles[: index + 1], False) if index < len(roles) else prompt
            if not (prompt.startswith(done) and text.startswith(prompt)):
                raise UserError(f"{self._name} writes a prompt differently once it is answered; use another")
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
        """The text of a conversation in the tokenizer's own Jinja template, with marks for contents."""
        messages = [{"role": role, "content": chr(MARK + i)} for i, role in enumerate(roles)]
        options = {"tokenize": False, "add_generation_prompt": answer_next}
        try:
            return str(self._tokenizer.apply_chat_template(messages, **options))
        except Exception as problem:  # one of Jinja's, or whatever the template runs into
            reason = str(problem).split("\n", 1)[0]
            raise UserError(f"{self._name} cannot write {', '.join(roles)}: {reason}") from None
