"""The responses of models: the line of ``responses.jsonl``, and reading it, AlpacaEval outputs and chat lists."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xltjax.common.errors import UserError
from xltjax.common.languages import language_code
from xltjax.data.rows import is_chat, iterate_rows


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


def read_responses(paths: Iterable[Path | str], language: str = "") -> list[Response]:
    """Every response of ``iterate_responses``, in a list."""
    return list(iterate_responses(paths, language))


def iterate_responses(paths: Iterable[Path | str], language: str = "") -> Iterator[Response]:
    """Stream the responses of several files; JSON Lines are read one line at a time.

    A row is recognized by its keys: ``id`` and ``response`` (our own files); ``instruction`` and ``output``
    (AlpacaEval; ``generator`` is the model); ``messages``, or a bare list of ``{role, content}``, which ends
    with the assistant's answer. A row without an ``id`` gets ``<file name>/<number>``, and a row without a
    model gets the name of the file.

    Args:
        paths: JSON Lines files, or JSON files that hold one list.
        language: the expected language of rows that do not name one.

    Raises:
        UserError: for a file or row that cannot be read as responses, or when one model has two responses
            with the same id.
    """
    default = language_code(language) if language else ""
    seen: set[tuple[str, str]] = set()
    for path in map(Path, paths):
        empty = True
        for number, (place, row) in enumerate(iterate_rows(path), start=1):
            empty = False
            response = _response(row, place, path.stem, number, default)
            if response.key in seen:
                raise UserError(
                    f"{place}: the id {response.id!r} comes twice for the model {response.model!r}; "
                    "ids must be unique within a model"
                )
            seen.add(response.key)
            yield response
        if empty:
            raise UserError(f"{path} holds no responses")


def _response(row: Any, place: str, stem: str, number: int, language: str) -> Response:
    given = _values(row, place)
    extra = {key: value for key, value in given.items() if key not in _FIELDS}
    values: dict[str, Any] = {"id": f"{stem}/{number}", "model": stem}
    values |= {key: value for key, value in given.items() if key in _FIELDS and value is not None}
    if isinstance(values["id"], int):
        values["id"] = str(values["id"])
    for key in _TEXT_FIELDS:
        if not isinstance(values.get(key, ""), str):
            raise UserError(f"{place}: {key} must be text, not {values[key]!r:.40}")
    for key in ("prompt_tokens", "response_tokens"):
        if not isinstance(values.get(key, 0), int):
            raise UserError(f"{place}: {key} must be a whole number, not {values[key]!r:.40}")
    modifier = values.get("modifier")
    if modifier is not None and not (isinstance(modifier, dict) and isinstance(modifier.get("name"), str)):
        raise UserError(f'{place}: modifier must be {{"name": ..., "params": {{...}}}}')
    try:
        values["language"] = language_code(values["language"]) if values.get("language") else language
    except UserError as problem:
        raise UserError(f"{place}: {problem}") from None
    return Response(**values, extra=extra)


def _values(row: Any, place: str) -> dict[str, Any]:
    """The values of the row under the names of the fields of ``Response``."""
    if is_chat(row):
        row = {"messages": row}
    if not isinstance(row, dict):
        raise UserError(f"{place}: a response is an object or a list of chat messages, not {row!r:.40}")
    if "response" in row:
        if row.get("id") in (None, ""):
            raise UserError(f"{place}: the response has no id")
        return row
    values = dict(row)
    if "output" in row and "instruction" in row:
        values["response"] = values.pop("output")
        values["model"] = values.pop("generator", None) or row.get("model")
    elif is_chat(row.get("messages")):
        *prompt, answer = values.pop("messages")
        if answer["role"] != "assistant":
            raise UserError(f"{place}: the chat does not end with an assistant's answer; generate one first")
        values["instruction"] = "\n".join(
            turn["content"] for turn in prompt if turn["role"] == "user" and isinstance(turn["content"], str)
        )
        values["response"] = answer["content"]
    else:
        raise UserError(
            f"{place}: keys {', '.join(sorted(map(str, row)))} are not a response; expected "
            "id and response, or instruction and output, or messages"
        )
    return values
