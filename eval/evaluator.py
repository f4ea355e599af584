"""What the commands that score responses have in common: their settings and the path to the scores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from xltjax.common.errors import UserError
from xltjax.common.progress import progress
from xltjax.common.settings import setting
from xltjax.data.reading.answers import RowKeys, with_columns
from xltjax.data.responses import Response, iterate_responses
from xltjax.data.stored_responses import StoredResponses
from xltjax.eval.journal import Journal
from xltjax.eval.scores import Score

KEYS = "Keys of rows (of files that are not recognized)"


@dataclass(frozen=True)
class ResponsesConfig:
    """Settings of every command that reads responses: what is not in their rows, or under other keys."""

    language: str = setting("", "Expected language of responses that do not name one, such as fr or French.")
    id_key: tuple[str, ...] = setting(
        (), "Key of the id; several keys, as in source,language,id, make an id together.", section=KEYS
    )
    columns: tuple[str, ...] = setting(
        (), "Columns by what they hold, such as response=answer,instruction=question; the same as the keys below.",
        section=KEYS, mapping=True,
    )  # fmt: skip
    response_key: str = setting(
        "", "Key of the answer; leads into objects as in message.content.", section=KEYS
    )
    language_key: str = setting("", "Key of the expected language.", section=KEYS)
    model_key: str = setting("", "Key of the model's name.", section=KEYS)
    instruction_key: str = setting("", "Key of the instruction, a text or a chat.", section=KEYS)
    task_key: str = setting("", "Key of the task, the category of the instruction.", section=KEYS)
    instruction_id_key: str = setting(
        "", "Key of what the translations of one instruction share.", section=KEYS
    )

    def read_files(self, paths: Iterable[str]) -> StoredResponses:
        """Every response of every file, so that each mistake in them comes up before the work begins.

        Raises:
            UserError: as ``iterate_responses`` does.
        """
        keys = RowKeys(
            self.id_key, self.response_key, self.language_key, self.model_key, self.instruction_key,
            self.task_key, self.instruction_id_key,
        )  # fmt: skip
        return StoredResponses(iterate_responses(paths, self.language, with_columns(keys, self.columns)))


@dataclass(frozen=True)
class EvaluatorConfig(ResponsesConfig):
    """Settings of every command that scores responses."""

    responses: tuple[str, ...] = setting(
        (),
        "Files of responses (JSON, JSON Lines, CSV, TSV, Parquet): our own, AlpacaEval outputs and pairs, chats, "
        "prompts and completions, samples of lm-eval; others with --columns.",
        positional=True,
        paths=True,
    )
    out: str = setting("", "Folder for scores.jsonl and summary.{json,csv,md}.")

    def check_files(self, command: str) -> None:
        """Refuse to start without responses or without a folder for the scores.

        Raises:
            UserError: which says how ``command`` is called.
        """
        if not self.responses:
            raise UserError(f"no responses given: python -m xltjax.eval {command} RESPONSES... --out FOLDER")
        if not self.out:
            raise UserError("give --out FOLDER for the scores")

    def read(self) -> StoredResponses:
        """The responses of ``read_files``."""
        return self.read_files(self.responses)


def score_missing(
    journal: Journal,
    responses: StoredResponses,
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
    missing = responses.where(lambda response: response not in journal)
    with progress(title, len(responses), len(responses) - len(missing)) as advance:
        for response, scores in score(missing):
            journal.add(response, [replace(each, model=response.model) for each in scores])
            advance()
