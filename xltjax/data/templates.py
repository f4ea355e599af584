"""Chat templates: the special tokens and the text around the contents of a conversation.

A template is rendered with a mark in the place of each message's content, and never sees the content itself. So
it is rendered once for all conversations with the same roles, it is known by construction which tokens are
learned, and special tokens are recognized in the template's own text only.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Any

from xltjax.common.errors import UserError, first_line

# The private-use character in the place of the first message's content; the next ones follow it.
MARK = 0xF0000
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

        Raises:
            ValueError: for a role other than system, user and assistant.
        """
        text, system = self.start.format(bos=bos), ""
        for index, role in enumerate(roles):
            mark = chr(MARK + index)
            if role == "system":
                system = self.system.format(mark)
            elif role == "user":
                text += self.user.format(mark, system=system, bos=bos)
                system = ""
            elif role == "assistant":
                text += self.assistant.format(mark, eos=eos)
            else:
                raise ValueError(f"it has no form for a turn of the role {role}")
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


def parse_date(text: str) -> date | None:
    """The date that the setting ``template_date`` gives; None when it is not given.

    Raises:
        UserError: when it is not a date.
    """
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise UserError(f"template_date must be a date such as 2024-07-26, not {text!r:.40}") from None


def with_date(jinja: str, day: date) -> str:
    """A Jinja template whose ``strftime_now`` writes ``day`` at midnight; unchanged when it does not call it.

    It is defined in the template itself, as ``transformers`` passes no functions to templates.
    """
    if "strftime_now" not in jinja:
        return jinja
    written = {
        code: day.strftime(f"%{code}") for code in (*_DATE_CODES, *(f"-{code}" for code in _DATE_CODES))
    }
    return (
        "{%- macro strftime_now(format) -%}{%- set ns = namespace(text=format | replace('%%', '\x00')) -%}"
        f"{{%- for code, value in {json.dumps(written)}.items() -%}}"
        "{%- set ns.text = ns.text | replace('%' ~ code, value) -%}{%- endfor -%}"
        "{{- ns.text | replace('\x00', '%') -}}{%- endmacro -%}" + jinja
    )


_DATE_CODES = "aAbBcdDeFHIjmMpSTuUVwWxXyY"

# A tool by which it is found out whether a template writes tools.
_EXAMPLE_TOOL = {
    "type": "function",
    "function": {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}},
}
Piece = tuple[int | str, int | None]


class Layouts:
    """A chat template together with the special tokens of one tokenizer.

    Attributes:
        eos: the id of the token that ends an answer.
    """

    def __init__(self, tokenizer: Any, template: str, place: str, today: date | None = None):
        """Check that a template works with a tokenizer.

        Args:
            tokenizer: a Hugging Face tokenizer.
            template: a name in ``TEMPLATES``.
            place: where the tokenizer was found, for error messages.
            today: the date that the template ``tokenizer`` may write; that of the computer when not given.

        Raises:
            UserError: when the tokenizer lacks what the template needs.
        """
        self._tokenizer = tokenizer
        self._name = f"the chat template {template!r} with the tokenizer of {place}"
        self._today = today or date.today()
        self._bos, self._eos = tokenizer.bos_token or "", tokenizer.eos_token or ""
        self._form = TEMPLATES[template]
        self._special = {t.content: i for i, t in tokenizer.added_tokens_decoder.items() if t.special}
        longest_first = sorted(self._special, key=len, reverse=True)
        self._special_token = re.compile(f"({'|'.join(map(re.escape, longest_first)) or '(?!)'})")
        self._made: dict[Roles, list[Piece]] = {}
        end, _ = self.pieces(("user", "assistant"))[-1]
        assert isinstance(end, int)
        self.eos = end

    @cached_property
    def writes_tools(self) -> bool:
        """Whether the template writes the tools that an assistant may call."""
        if self._form is not None:
            return False
        try:
            return self._render(("user",), True, [_EXAMPLE_TOOL]) != self._render(("user",), True)
        except UserError:
            return False

    def pieces(self, roles: Roles, tools: str = "") -> list[Piece]:
        """The pieces of a conversation with these roles.

        Args:
            roles: the role of each turn.
            tools: a JSON list of the tools that the assistant may call; only where ``writes_tools``.

        Returns:
            (piece, answer): the id of a special token or a text with marks, and the number of the turn that it is
            the answer of, counted from 0; None outside of answers. The pieces of answers are learned.

        Raises:
            UserError: when the template cannot write such a conversation.
        """
        if tools:
            literal = self._special_token.search(tools)
            if literal:
                raise UserError(f"the description of a tool contains the special token {literal[0]!r}")
            return self._split(roles, json.loads(tools))
        if roles not in self._made:
            self._made[roles] = self._split(roles, None)
        return self._made[roles]

    def _split(self, roles: Roles, tools: Any) -> list[Piece]:
        return [
            (self._special.get(piece, piece), answer)
            for text, answer in self._parts(roles, tools)
            for piece in filter(None, self._special_token.split(text))
        ]

    def _parts(self, roles: Roles, tools: Any) -> list[tuple[str, int | None]]:
        """Prompts, with None, and answers with the token that ends them, each with the number of its turn."""
        if roles == ("text",):
            return [(self._bos, None), (chr(MARK) + self._eos, 0)]
        parts: list[tuple[str, int | None]] = []
        done = ""
        answers = [index for index, role in enumerate(roles) if role == "assistant"]
        for index in answers if roles[-1:] == ("assistant",) else [*answers, len(roles)]:
            prompt = self._render(roles[:index], True, tools)
            text = self._render(roles[: index + 1], False, tools) if index < len(roles) else prompt
            if not (prompt.startswith(done) and text.startswith(prompt)):
                raise UserError(f"{self._name} writes a prompt differently once it is answered; use another")
            parts.append((prompt[len(done) :], None))
            if index < len(roles):
                mark = text.find(chr(MARK + index), len(prompt))
                end = self._special_token.search(text, mark)
                if mark < 0 or end is None:
                    raise UserError(f"{self._name} has no special token to end an answer with; use another")
                done = text[: end.end()]
                parts.append((done[len(prompt) :], index))
        whole = "".join(text for text, _ in parts)
        for index, role in enumerate(roles):
            if chr(MARK + index) not in whole:
                raise UserError(f"{self._name} does not write the {role} turn {index + 1}; use another")
        return parts

    def _render(self, roles: Roles, answer_next: bool, tools: Any = None) -> str:
        """The text of a conversation, with marks for contents.

        Raises:
            UserError: when the template cannot write it.
        """
        try:
            if self._form is not None:
                return self._form.render(self._bos, self._eos, roles, answer_next)
            return str(
                self._tokenizer.apply_chat_template(
                    [{"role": role, "content": chr(MARK + i)} for i, role in enumerate(roles)],
                    tools=tools,
                    # Otherwise the same row would have other tokens tomorrow.
                    chat_template=with_date(self._tokenizer.get_chat_template(tools=tools), self._today),
                    tokenize=False,
                    add_generation_prompt=answer_next,
                )
            )
        except Exception as problem:  # one of Jinja's, or whatever the template runs into
            reason = first_line(problem)
            raise UserError(f"{self._name} cannot write {', '.join(roles[:8])}: {reason}") from None
