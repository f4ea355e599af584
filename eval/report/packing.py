"""The answers as one text that a page can hold: JSON, compressed and in base64."""

from __future__ import annotations

import base64
import gzip
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from xltjax.eval.report.content import Answer, Judgment, UnknownWord
from xltjax.eval.report.lines import line_languages


def pack(
    answers: Sequence[Answer], model_colors: Mapping[str, str], language_colors: Mapping[str, str]
) -> str:
    """Base64 of the gzipped JSON of ``unpacked``; the same answers give the same text."""
    text = json.dumps(
        unpacked(answers, model_colors, language_colors),
        ensure_ascii=False,
        allow_nan=False,
        separators=(",", ":"),
    )
    # A lone surrogate has no place in UTF-8 and becomes a question mark.
    data = text.encode("utf-8", "replace")
    return base64.b64encode(gzip.compress(data, 9, mtime=0)).decode("ascii")


def unpacked(
    answers: Sequence[Answer], model_colors: Mapping[str, str], language_colors: Mapping[str, str]
) -> dict[str, Any]:
    """What the page's script reads.

    Answers to the same instruction with the same modifier in the same language belong to one prompt, so that they
    stand side by side. Keys without a value are left out.

    Returns:
        ``models``, ``languages``, ``tasks`` and ``modifiers``: names in the order in which they come;
        ``prompts`` and ``answers``, which name their prompt and model by number; ``colors``.
    """
    models = list(dict.fromkeys(answer.model for answer in answers))
    prompts: dict[tuple[str, ...], int] = {}
    described: list[dict[str, Any]] = []
    rows = []
    for answer in answers:
        what = answer.instruction or answer.instruction_id or answer.id
        key = (what, answer.instruction_id, answer.language, answer.modifier)
        if key not in prompts:
            prompts[key] = len(described)
            described.append(_prompt(answer))
        rows.append(_row(answer, prompts[key], models.index(answer.model)))
    return {
        "models": models,
        "languages": _names(answer.language for answer in answers),
        "tasks": _names(answer.task for answer in answers),
        "modifiers": _names(answer.modifier for answer in answers),
        "prompts": described,
        "answers": rows,
        "colors": {"models": dict(model_colors), "languages": dict(language_colors)},
    }


def _names(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _prompt(answer: Answer) -> dict[str, Any]:
    return _compact(
        id=answer.id,
        group=answer.instruction_id,
        language=answer.language,
        task=answer.task,
        modifier=answer.modifier,
        instruction=answer.instruction,
    )


def _row(answer: Answer, prompt: int, model: int) -> dict[str, Any]:
    lines = line_languages(answer.response, answer.passages)
    correct = answer.scores.get("language_correct")
    flags = {
        "wrong": correct is not None and correct == 0,
        "disagree": bool(answer.disagreement),
        "cut": answer.finish_reason not in ("", "stop"),
    }
    return _compact(
        prompt=prompt,
        model=model,
        id=answer.id,
        text=answer.response,
        finish="" if answer.finish_reason == "stop" else answer.finish_reason,
        found=answer.found_language,
        lines=lines if any(lines) else [],
        words=_words(answer.words),
        scores={metric: _number(value) for metric, value in answer.scores.items()},
        states=dict(answer.states),
        judgments=[_judgment(judgment) for judgment in answer.judgments],
        disagreement=answer.disagreement,
    ) | {name: 1 for name, holds in flags.items() if holds}


def _words(words: Iterable[UnknownWord]) -> dict[str, dict[str, list[str]]]:
    """The words by kind and language."""
    found: dict[str, dict[str, list[str]]] = {}
    for word in words:
        found.setdefault(word.kind, {}).setdefault(word.language, []).append(word.word)
    return found


def _judgment(judgment: Judgment) -> dict[str, Any]:
    return _compact(
        judge=judgment.judge,
        scores={criterion: _number(value) for criterion, value in judgment.scores.items()},
        outcome="" if judgment.outcome == "ok" else judgment.outcome,
        words=judgment.words,
    )


def _number(value: float | None) -> float | int | None:
    """Four digits behind the point are enough to look at; what is not a number is none."""
    if value is None or not math.isfinite(value):
        return None
    return int(value) if float(value).is_integer() else round(value, 4)


def _compact(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value not in ("", [], {})}
