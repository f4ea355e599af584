"""What is asked of whom: answerers, the requests to them, and the prompts that requests become."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xltjax.data.prompt_sets import Instruction
from xltjax.data.responses import Response
from xltjax.data.tokenizer import ChatTokenizer


@dataclass(frozen=True)
class Answerer:
    """What answers all prompts: the model, or an adapter upon it.

    Attributes:
        name: its name in the responses.
        adapter: the directory of the adapter; None for the model alone.
        template: the chat template of its prompts.
        date: the date that the template may write; empty for templates that do not.
    """

    name: str
    adapter: Path | None
    template: str
    date: str


@dataclass(frozen=True)
class Request:
    """One answer to be generated: by whom, and to which instruction."""

    id: str
    answerer: Answerer
    instruction: Instruction

    def response(self, text: str, finish_reason: str, prompt_tokens: int, response_tokens: int) -> Response:
        """The response to this request."""
        asked = self.instruction
        extra: dict[str, Any] = {"human": True} if asked.human else {}
        if asked.messages:
            extra["messages"] = list(asked.messages)
        return Response(
            self.id,
            self.answerer.name,
            asked.language,
            asked.task,
            asked.instruction,
            text,
            finish_reason,
            asked.modifier,
            asked.instruction_id,
            prompt_tokens,
            response_tokens,
            extra,
        )


@dataclass(frozen=True)
class Prompt:
    """A request, its token ids, and the tokenizer that they come from."""

    request: Request
    ids: list[int]
    tokenizer: ChatTokenizer
