"""The responses of models: the line of ``responses.jsonl``, and reading it and the files of other tools."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xltjax.common.errors import UserError
from xltjax.common.languages import language_code
from xltjax.data.reading.answers import RowKeys, as_modifier, may_repeat, origin, read_answers
from xltjax.data.reading.report import BadRowError
from xltjax.data.reading.tables import DELIMITERS
from xltjax.data.rows import file_format, iterate_rows

log = logging.getLogger("xltjax")

NO_KEYS = RowKeys()


@dataclass(frozen=True, slots=True)
class Response:
    """One answer of one model to one instruction.

    Attributes:
        id: unique among the responses of one model; other models may answer the same prompts under the same ids.
        model: the name of the model that answered.
        language: the language the answer should be in, as an ISO 639-1 code; empty when not known.
        task: the category of the instruction.
        instruction: what was asked.
        response: what the model said; a null answer is read as empty text.
        finish_reason: ``stop``, ``length`` (cut off at the token limit), ``failed: <why>`` (the model was not
            asked), or empty when it is not known.
        modifier: ``{"name": ..., "params": {...}}`` when the instruction carries a task modifier.
        instruction_id: shared by the translations of one instruction and by its forms with a modifier.
        prompt_tokens: length of the prompt in the model's tokens.
        response_tokens: length of the answer in the model's tokens.
        extra: every other key of the row, unchanged.
    """

    id: str
    model: str = ""
    language: str = ""
    task: str = ""
    instruction: str = ""
    response: str = ""
    finish_reason: str = ""
    modifier: Mapping[str, Any] | None = None
    instruction_id: str = ""
    prompt_tokens: int | None = None
    response_tokens: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str]:
        """The model and the id, which no two responses share."""
        return self.model, self.id

    def row(self) -> dict[str, Any]:
        """The line of ``responses.jsonl`` that ``read_responses`` reads back to an equal response."""
        row = {name: getattr(self, name) for name in _ROW}
        for name in ("instruction_id", "modifier"):
            if getattr(self, name):
                row[name] = getattr(self, name)
        return row | dict(self.extra)

    @property
    def failure(self) -> str:
        """Why there is no answer to evaluate, from a ``finish_reason`` that says so; empty when there is one.

        >>> Response(id="a", finish_reason="failed: too long (900 tokens, room for 512)").failure
        'no answer (too long)'
        """
        verdict, _, why = self.finish_reason.partition(":")
        # Without the numbers, which would make every failure a kind of its own in the summary.
        return f"no answer ({why.split('(')[0].strip() or 'not said why'})" if verdict == "failed" else ""


_ROW = (
    "id", "model", "language", "task", "instruction", "response", "finish_reason", "prompt_tokens",
    "response_tokens",
)  # fmt: skip
_FIELDS = {f.name for f in dataclasses.fields(Response)} - {"extra"}
_TEXT_FIELDS = sorted(_FIELDS - {"modifier", "prompt_tokens", "response_tokens"})


def read_responses(
    paths: Iterable[Path | str], language: str = "", keys: RowKeys = NO_KEYS
) -> list[Response]:
    """Every response of ``iterate_responses``, in a list."""
    return list(iterate_responses(paths, language, keys))


def iterate_responses(
    paths: Iterable[Path | str], language: str = "", keys: RowKeys = NO_KEYS
) -> Iterator[Response]:
    """Stream the responses of several files; JSON Lines, CSV and TSV are read one line at a time.

    A row is recognized by its keys: ``id`` and ``response`` (our own files); ``instruction`` and ``output``
    (AlpacaEval; ``generator`` is the model), or ``output_1`` and ``output_2`` (its annotations of pairs); ``prompt``
    and ``completion``; ``resps`` (samples of lm-eval); ``messages``, ``conversations``, or a bare list of
    ``{role, content}``, which ends with the assistant's answer. A row without an ``id`` gets
    ``<file name>/<number>``, and a row without a model gets the name of the file. Names that are whole numbers are
    read as text.

    An answer that a file of pairs or of samples repeats for another pair or filter is one response.

    Args:
        paths: JSON Lines, CSV, TSV or Parquet files, or JSON files that hold one list; gzipped or not.
        language: the expected language of rows that do not name one.
        keys: the keys of rows in other formats.

    Raises:
        UserError: for a file or row that cannot be read as responses, or when one model has two responses
            with the same id.
    """
    default = language_code(language) if language else ""
    seen: dict[tuple[str, str], tuple[str, int]] = {}  # the place, and a hash of the answer
    for path in map(Path, paths):
        source, table = origin(path), file_format(path) in DELIMITERS
        count = repeated = 0
        for count, (place, row) in enumerate(iterate_rows(path), start=1):
            try:
                found = read_answers(_of_table(row) if table else row, count, source, keys)
                responses = [_response(values, default) for values in found]
            except (BadRowError, UserError) as problem:
                raise UserError(f"{place}: {problem}") from None
            for response in responses:
                first, answer = seen.get(response.key, ("", 0))
                if not first:
                    seen[response.key] = place, hash(response.response)
                    yield response
                elif may_repeat(row) and answer == hash(response.response):
                    repeated += 1
                else:
                    raise UserError(
                        f"{place}: the id {response.id!r} occurs twice for the model {response.model!r}, first in "
                        f"{first}; ids must be unique within a model (--id-key and --model-key name other keys)"
                    )
        if not count:
            raise UserError(f"{path} holds no responses")
        if repeated:
            log.info("notice: %s: %d answers are repeated, and count once", path, repeated)


def responses_of(rows: Iterable[Any], language: str = "", keys: RowKeys = NO_KEYS) -> list[Response]:
    """The responses in rows that are in memory, in the formats of ``iterate_responses``.

    A row without a model is one of the model ``model``.

    Raises:
        UserError: for a row that is not a response, or when one model has two responses with the same id.
    """
    default = language_code(language) if language else ""
    found: dict[tuple[str, str], Response] = {}
    for index, row in enumerate(rows):
        place = f"responses[{index}]"
        try:
            answers = read_answers(row, index + 1, origin(Path("model")), keys)
            responses = [_response(values, default) for values in answers]
        except (BadRowError, UserError) as problem:
            raise UserError(f"{place}: {problem}") from None
        for response in responses:
            if found.setdefault(response.key, response) is not response:
                raise UserError(
                    f"{place}: the id {response.id!r} occurs twice for the model {response.model!r}"
                )
    return list(found.values())


def _of_table(row: dict[str, Any]) -> dict[str, Any]:
    """The row of a CSV or TSV file, whose cells are texts, with the types of our fields; an empty cell is null."""
    values = {key: value or None for key, value in row.items()}
    for key in ("prompt_tokens", "response_tokens"):
        value = values.get(key)
        if value is not None and value.isdecimal():
            values[key] = int(value)
    if modifier := values.get("modifier"):
        with contextlib.suppress(ValueError, RecursionError):
            values["modifier"] = json.loads(modifier)
    return values


def _response(given: Mapping[str, Any], language: str) -> Response:
    """A response with the values of a row; other keys than those of the fields are ``extra``.

    Raises:
        BadRowError: for a value of the wrong type.
        UserError: for a language that is not known.
    """
    extra = {key: value for key, value in given.items() if key not in _FIELDS}
    values = {key: value for key, value in given.items() if key in _FIELDS and value is not None}
    for key in _TEXT_FIELDS:
        if not isinstance(values.get(key, ""), str):
            raise BadRowError(f"{key} must be text, not {values[key]!r:.40}")
    for key in ("prompt_tokens", "response_tokens"):
        if not isinstance(values.get(key, 0), int):
            raise BadRowError(f"{key} must be a whole number, not {values[key]!r:.40}")
    as_modifier(values.get("modifier"))
    values["language"] = language_code(values["language"]) if values.get("language") else language
    return Response(**values, extra=extra)
