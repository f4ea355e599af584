"""What the commands that score responses have in common: their settings and the path to the scores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from xltjax.common.errors import UserError
from xltjax.common.progress import progress
from xltjax.common.settings import setting
from xltjax.data.responses import Response, read_responses
from xltjax.eval.journal import Journal
from xltjax.eval.scores import Score


@dataclass(frozen=True)
class EvaluatorConfig:
    """Settings of every command that scores responses."""

    responses: tuple[str, ...] = setting(
        (), "Files of responses: our own, AlpacaEval outputs or chats.", positional=True, paths=True
    )
    out: str = setting("", "Folder for scores.jsonl and summary.{json,csv,md}.")
    language: str = setting("", "Expected language of responses that do not name one (ISO 639-1).")

    def check_files(self, command: str) -> None:
        """Refuse to start without responses or without a folder for the scores.

        Raises:
            UserError: which says how ``command`` is called.
        """
        if not self.responses:
            raise UserError(f"no responses given: python -m xltjax.eval {command} RESPONSES... --out FOLDER")
        if not self.out:
            raise UserError("give --out FOLDER for the scores")

    def read(self) -> list[Response]:
        """Every response of every file, so that each mistake in them comes up before the work begins.

        Raises:
            UserError: as ``read_responses`` does.
        """
        return read_responses(self.responses, self.language)


def score_missing(
    journal: Journal,
    responses: Sequence[Response],
    score: Callable[[Sequence[Response]], Iterable[tuple[Response, list[Score]]]],
    title: str,
) -> None:
    """Score the responses whose scores ``journal`` does not hold yet, and show the progress.

    A metric knows only the text, so this is where every score gets the model of its response.

    Args:
        journal: where the scores are kept, one response at a time.
        responses: all responses.
        score: gives the responses that it gets with their scores, in any order.
        title: what the progress is called.
    """
    missing = [response for response in responses if response not in journal]
    with progress(title, len(responses), len(responses) - len(missing)) as advance:
        for response, scores in score(missing):
            journal.add(response, [replace(each, model=response.model) for each in scores])
            advance()
