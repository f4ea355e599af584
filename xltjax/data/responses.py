"""Responses of any model, read from ``responses.jsonl``, AlpacaEval output files or chat lists."""

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
        id: unique among everything evaluated together.
        model: who answered.
        language: the language the answer should be in, as an ISO 639-1 code; empty when not known.
        task: the category of the instruction.
        instruction: what was asked.
        response: what the model said; a null answer is read as empty text.
        finish_reason: ``stop``, ``length`` (cut at the token limit), ``failed: <why>`` (the model was not asked),
            or empty when not known.
        modifier: ``{"name": ..., "params": {...}}`` when the instruction carries a task modifier.
        instruction_id: shared by the translations of one instruction.
        prompt_tokens: length of the prompt in the model's tokens.
        response_tokens: length of the answer in the model's tokens.
        extra: every other key of the row, as it stood.
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
    def failure(self) -> str:
        """Why there is no answer to evaluate, from a ``finish_reason`` that says so; empty when there is one.

        >>> Response(id="a", finish_reason="failed: too long (900 tokens, room for 512)").failure
        'no answer (too long)'
        """
        verdict, _, why = self.finish_reason.partition(":")
        # Without the numbers, which would make every failure a kind of its own in the summary.
        return f"no answer ({why.split('(')[0].strip() or 'not said why'})" if verdict == "failed" else ""


_FIELDS = {f.name for f in dataclasses.fields(Response)} - {"extra"}
_TEXT_FIELDS = sorted(_FIELDS - {"modifier", "prompt_tokens", "response_tokens"})


def read_responses(paths: Iterable[Path | str], language: str = "") -> list[Response]:
    """Every response of ``iterate_responses``."""
    return list(iterate_responses(paths, language))


def iterate_responses(paths: Iterable[Path | str], language: str = "") -> Iterator[Response]:
    """Stream the responses of several files; JSON Lines are read one line at a time.

    A row is recognised by its keys: ``id`` and ``response`` (ours); ``instruction`` and ``output``
    (AlpacaEval; ``generator`` is the model); ``messages``, or a bare list of ``{role, content}``, ending
    with the assistant's answer. Rows without an ``id`` get ``<file name>/<number>``, without a model the
    file name.

    Args:
        paths: JSON Lines, or JSON files that hold one list.
        language: the expected language of rows that name none.

    Raises:
        UserError: for a file or row that cannot be read as responses, or an id that comes twice.
    """
    default = language_code(language) if language else ""
    seen: set[str] = set()
    for path in map(Path, paths):
        empty = True
        for number, (place, row) in enumerate(iterate_rows(path), start=1):
            empty = False
            response = _response(row, place, path.stem, number, default)
            if response.id in seen:
                raise UserError(f"{place}: the id {response.id!r} comes twice; ids must be unique")
            seen.add(response.id)
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
    """The row under our names."""
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
