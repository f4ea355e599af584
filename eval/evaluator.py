"""What the commands that score responses have in common: their settings and the path to the scores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from xltjax.common.cli import OTHER_FORMATS
from xltjax.common.errors import UserError
from xltjax.common.progress import progress
from xltjax.common.settings import setting
from xltjax.data.reading.answers import RowKeys, with_columns
from xltjax.data.responses import Response, iterate_responses
from xltjax.data.stored_responses import StoredResponses
from xltjax.eval.journal import Journal
from xltjax.eval.scores import Score


@dataclass(frozen=True)
class ResponsesConfig:
    """Settings of every command that reads responses: what is not in their rows, or under other keys."""

    language: str = setting("", "Expected language of responses that do not state one, such as fr or French.")
    id_key: tuple[str, ...] = setting(
        (), "Key of the id. Several keys form an id together: source,language,id.", section=OTHER_FORMATS
    )
    columns: tuple[str, ...] = setting(
        (), "Columns with other names: response=answer,instruction=question. Short for the flags below.",
        section=OTHER_FORMATS, mapping=True,
    )  # fmt: skip
    response_key: str = setting(
        "", "Key of the answer; may point into objects, as in message.content.", section=OTHER_FORMATS
    )
    language_key: str = setting("", "Key of the expected language.", section=OTHER_FORMATS)
    model_key: str = setting("", "Key of the model's name.", section=OTHER_FORMATS)
    instruction_key: str = setting("", "Key of the instruction, a text or a chat.", section=OTHER_FORMATS)
    task_key: str = setting("", "Key of the task, the category of the instruction.", section=OTHER_FORMATS)
    instruction_id_key: str = setting(
        "", "Key of the id that the translations of one instruction share.", section=OTHER_FORMATS
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
        "Files of responses (JSON, JSON Lines, CSV, TSV, Parquet): those of generate, AlpacaEval outputs and pairs, "
        "chats, prompts and completions, lm-eval samples. For other files, use --columns.",
        positional=True,
        paths=True,
    )
    out: str = setting("", "Directory for scores.jsonl and summary.{json,csv,md}.")

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
