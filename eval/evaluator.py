"""What the commands that score responses have in common."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from xltjax.common.errors import UserError
from xltjax.common.settings import setting
from xltjax.data.responses import Response, iterate_responses


@dataclass(frozen=True)
class EvaluatorConfig:
    """Settings of every such command."""

    responses: tuple[str, ...] = setting(
        (), "files of responses: ours, AlpacaEval, chats", positional=True, paths=True
    )
    out: str = setting("", "folder for scores.jsonl and summary.{json,csv,md}")
    language: str = setting("", "expected language of answers that name none (ISO 639-1)")

    def check_files(self, command: str) -> None:
        """Refuse to start without responses or without a folder for the scores.

        Raises:
            UserError: saying how ``command`` is called.
        """
        if not self.responses:
            raise UserError(f"no responses given: python -m xltjax.eval {command} RESPONSES... --out FOLDER")
        if not self.out:
            raise UserError("give --out FOLDER for the scores")

    def iterate(self) -> Iterator[Response]:
        """Stream the responses.

        Raises:
            UserError: as ``iterate_responses``.
        """
        return iterate_responses(self.responses, self.language)
