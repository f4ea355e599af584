"""``xltjax.evaluate``: score responses from Python."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from xltjax.common.errors import UserError, did_you_mean, for_python
from xltjax.common.settings import build
from xltjax.data.reading.answers import RowKeys, with_columns
from xltjax.data.reading.memory import rows_of_frame, without_nan
from xltjax.data.responses import NO_KEYS, Response, read_responses, responses_of
from xltjax.eval.modifiers import command as modifiers
from xltjax.eval.scores import Score
from xltjax.eval.surface import METRICS, SurfaceConfig, SurfaceMetrics

GROUPS: dict[str, Sequence[str]] = {"surface": METRICS, "modifiers": modifiers.METRICS}
NAMES = (*GROUPS, *METRICS, *modifiers.METRICS)
TOOLS = (
    "languages",
    "lid_model",
    "dictionaries",
    "word_list",
    "english_words",
)  # settings that concern scores


@for_python
def evaluate(
    responses: str | Path | Iterable[str | Path | Mapping[str, Any] | Response],
    metrics: str | Sequence[str] = "surface",
    *,
    language: str = "",
    columns: Mapping[str, str] | None = None,
    **settings: Any,
) -> list[Score]:
    """Score responses with metrics that need no language model.

    Args:
        responses: one or more files in any format that ``python -m xltjax.eval surface`` reads, or their rows, such
            as ``{"id": "1", "language": "fr", "response": "Bonjour."}``, in a list or data frame.
        metrics: ``"surface"`` (language and spelling), ``"modifiers"``, or names of single metrics, such as
            ``"language_correct"``, in a list or separated by commas.
        language: the expected language of responses that do not state one.
        columns: columns or keys with other names, as a mapping from our names to theirs:
            ``{"response": "answer", "instruction": "question"}``.
        **settings: ``languages``, ``lid_model``, ``dictionaries``, ``word_list`` and ``english_words``, as in
            ``python -m xltjax.eval surface --help``.

    Returns:
        The scores, in the order of the responses; ``score.row()`` is a dict. A score whose ``state`` is not ``ok``
        has no value.

    Raises:
        UserError: for an invalid argument or a file that cannot be read, which the message names.
    """
    wanted = _names(metrics)
    if not isinstance(language, str):
        raise UserError(f"language is not a string such as 'fr' but {language!r:.40}")
    if columns is not None and not isinstance(columns, Mapping):
        raise UserError(f'columns is not a mapping such as {{"response": "answer"}} but {columns!r:.40}')
    keys = with_columns(NO_KEYS, [f"{ours}={theirs}" for ours, theirs in (columns or {}).items()])
    found = _responses(responses, language, keys)
    for key in settings.keys() - TOOLS:
        raise UserError(f"unknown setting {key!r}; {did_you_mean(key, TOOLS)}")
    config = build(SurfaceConfig, settings)
    scores: list[Score] = []
    for response, each in _scored(found, wanted, config):
        scores += [
            replace(score, model=response.model, language=response.language)
            for score in each
            if score.metric in wanted
        ]
    return scores


def _scored(
    responses: Sequence[Response], wanted: frozenset[str], config: SurfaceConfig
) -> Iterator[tuple[Response, list[Score]]]:
    surface = SurfaceMetrics(config) if wanted & frozenset(METRICS) else None
    checks = modifiers.Checks(responses, config.lid_model) if wanted & frozenset(modifiers.METRICS) else None
    if surface and not any(response.language for response in responses):
        raise UserError("the responses do not say which language is expected; give language=")
    for response in responses:
        yield response, surface(response) if surface else []
        if checks and response.modifier is not None:
            yield checks.asked(response), checks(response)


def _names(metrics: str | Sequence[str]) -> frozenset[str]:
    names: set[str] = set()
    given = [name.strip() for name in metrics.split(",")] if isinstance(metrics, str) else metrics
    if not isinstance(given, (list, tuple, set, frozenset)) or not given:
        raise UserError(f"metrics is neither a name nor a list of names but {metrics!r:.40}")
    for name in given:
        if name == "relevance":
            raise UserError("metrics: relevance asks a chat model; python -m xltjax.eval relevance gives it")
        if name not in NAMES:
            raise UserError(f"metrics: {name!r} is not known; {did_you_mean(str(name), NAMES)}")
        names |= set(GROUPS.get(name, (name,)))
    return frozenset(names)


def _responses(given: Any, language: str, keys: RowKeys) -> list[Response]:
    if not isinstance(given, (str, Path, Mapping, Iterable)):
        raise UserError(f"responses is neither a file, nor a list of files or of rows, but {given!r:.40}")
    given = rows_of_frame(given)
    items: list[Any] = [given] if isinstance(given, (str, Path, Mapping)) else list(given)
    if not items:
        raise UserError("responses is empty")
    if all(isinstance(item, Response) for item in items):
        return items
    if all(isinstance(item, (str, Path)) for item in items):
        for item in items:
            if not os.path.exists(item):
                raise UserError(
                    f"responses: {item!s:.200} does not exist; answers that are no files are rows, "
                    'such as [{"response": answer} for answer in answers]'
                )
        return read_responses(items, language, keys)
    return responses_of((_numbered(row, number) for number, row in enumerate(items, start=1)), language, keys)


def _numbered(row: Any, number: int) -> Any:
    """A row of ours, with its number in its id where nothing says what it answers."""
    row = without_nan(row)
    if isinstance(row, dict) and "response" in row and not row.keys() & {"id", "instruction", "prompt"}:
        return {"id": f"model/{number}", **row}
    return row
