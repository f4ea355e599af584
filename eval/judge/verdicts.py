"""What a judge answered: scores, or the outcome that says why there are none.

A failure is never a score. An answer is read only when it scores every criterion of the rubric, with a number of
its scale; the tables below say which other spellings of names and numbers are taken for the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from xltjax.eval.judge.rubric_files import normal_name
from xltjax.eval.judge.rubrics import Criterion, Rubric

OUTCOMES = ("ok", "refusal", "truncated", "invalid_json", "missing_key", "out_of_range", "http_error")

# --- the table of spellings ---
# Names: compared without case, marks and underscores, and with the aliases of the rubric's file, the criteria's
# titles in all languages and these words left out at the end.
NAME_ENDINGS = ("score", "rating", "stars")
# The key under which an object around the scores, or a list of them, may stand.
WRAPPERS = ("scores", "score", "ratings", "rating", "evaluation", "result", "results", "criteria", "grades")
# The keys for the number and the name of a criterion, where each criterion has an object of its own.
NUMBERS = ("score", "rating", "stars", "star", "value", "level", "grade")
NAMES = ("criterion", "name", "aspect", "key")
# Units after a number, and stars themselves.
UNITS = r"stars?|points?|étoiles?|estrelas?|pontos?|зв[её]зд\w*|балл\w*|sterne?n?|punkte?"
STARS, EMPTY_STARS = "★⭐🌟", "☆"
# A scale from 0 to 1 may be answered by yes or no.
YES = ("yes", "true", "oui", "vrai", "sim", "да", "ja", "wahr")
NO = ("no", "false", "non", "faux", "não", "nao", "нет", "nein", "falsch")
# How answers without JSON begin in which a judge refuses.
REFUSALS = (
    "i'm sorry", "i am sorry", "sorry", "i cannot", "i can't", "i can not", "i'm unable", "i am unable",
    "i apologize", "as an ai", "je suis désolé", "désolé", "je ne peux pas", "desculpe", "sinto muito", "lamento",
    "não posso", "извините", "простите", "к сожалению", "я не могу", "es tut mir leid", "tut mir leid",
    "ich kann nicht", "ich kann das nicht",
)  # fmt: skip

_NUMBER = re.compile(
    rf"(?:level\s*)?(\d{{1,3}})(?:[.,]0+)?\s*(?:{UNITS})?\s*(?:(?:/|of|out of)\s*(\d{{1,3}})\s*(?:{UNITS})?)?"
    r"\s*(?:[.:;,=(–—-][^\d]*)?",
    re.IGNORECASE | re.DOTALL,
)
_THINKING = r"(?:think|thinking|thought|thoughts|reasoning)>"
_THOUGHT = re.compile(rf"\A.*</{_THINKING}", re.DOTALL | re.IGNORECASE)
_UNFINISHED = re.compile(rf"\A\s*<{_THINKING}.*", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True)
class Verdict:
    """How one call ended.

    Attributes:
        outcome: one of ``OUTCOMES``.
        values: the reported value of every criterion when ``outcome`` is ``ok``, otherwise empty.
        detail: what is wrong; empty when ``outcome`` is ``ok``.
    """

    outcome: str
    values: Mapping[str, int] = field(default_factory=dict)
    detail: str = ""


class _ContradictionError(ValueError):
    """A criterion has two values."""


_TWO = object()  # what an object holds under a key that it gives twice, with different values


def read_verdict(
    rubric: Rubric, text: str | None, *, finish_reason: str | None, refusal: str | None
) -> Verdict:
    """Read a judge's answer.

    The object may stand in a fence or among prose, and thoughts, which end with ``</think>`` or never, are not
    looked at. Of several objects the last one counts that names a criterion. An answer that ended at the token limit
    is ``truncated`` unless the object was complete before. One criterion with two values is ``invalid_json``, no JSON
    at all too, unless the answer begins as refusals do (``REFUSALS``).

    Args:
        rubric: what was asked.
        text: the content of the message.
        finish_reason: why the answer ended, as Chat Completions says it.
        refusal: the message's own field for refusals.
    """
    if refusal or finish_reason == "content_filter":
        return Verdict("refusal", detail=refusal or "content filter")
    content = _UNFINISHED.sub("", _THOUGHT.sub("", text or "")).strip()
    cut = finish_reason == "length"
    if not content:
        return Verdict("truncated" if cut else "invalid_json", detail="empty answer")
    if rubric.reading == "digit":
        return _last_digit(rubric, content, cut)
    try:
        found = _last_scores(rubric, content)
    except _ContradictionError as problem:
        return Verdict("invalid_json", detail=str(problem))
    if found is None:
        if cut:
            return Verdict("truncated", detail="no complete object")
        if normal_quotes(content).casefold().startswith(REFUSALS):
            return Verdict("refusal", detail=content[:200])
        return Verdict("invalid_json", detail=f"no object with a criterion: {content[:200]}")
    scores, rest = found
    missing = [each.name for each in rubric.criteria if scores.get(each.name) is None]
    if cut and (missing or "{" in rest):
        return Verdict("truncated", detail="the object is not complete")
    if missing:
        return Verdict("missing_key", detail=", ".join(missing))
    return _values(rubric, scores)


def normal_quotes(text: str) -> str:
    """``text`` with straight apostrophes, and without marks before its first letter."""
    return text.replace("’", "'").lstrip("*_\"'«“ \n")


def _last_digit(rubric: Rubric, content: str, cut: bool) -> Verdict:
    criterion = rubric.criteria[0]
    digits = re.findall("[01]", content)
    if not digits and normal_quotes(content).casefold().startswith(REFUSALS):
        return Verdict("refusal", detail=content[:200])
    if not digits:
        return Verdict("truncated" if cut else "missing_key", detail=f"no 0 or 1: {content[:200]}")
    return Verdict("ok", {criterion.name: int(digits[-1]) - criterion.scale[0] + criterion.lowest})


def _values(rubric: Rubric, scores: Mapping[str, Any]) -> Verdict:
    values, wrong = {}, []
    for criterion in rubric.criteria:
        level = read_level(scores[criterion.name], criterion)
        if level is None:
            wrong.append(f"{criterion.name}: {json.dumps(scores[criterion.name], ensure_ascii=False)[:60]}")
        else:
            values[criterion.name] = level - criterion.scale[0] + criterion.lowest
    return Verdict("out_of_range", detail=", ".join(wrong)) if wrong else Verdict("ok", values)


def read_level(value: Any, criterion: Criterion) -> int | None:
    """The level of the scale that ``value`` means; None when it is none of them.

    >>> read_level("2 stars", Criterion("fluency", (1, 3), 0, True))
    2
    """
    low, high = criterion.scale
    binary = criterion.scale == (0, 1)
    level: int | None = None
    if isinstance(value, bool):
        level = int(value) if binary else None
    elif isinstance(value, int | float):
        level = int(value) if value == value and abs(value) < 1e6 and value == int(value) else None
    elif isinstance(value, str):
        text = value.strip().strip("*_\"'. ").casefold()
        if binary and text in (*YES, *NO):
            level = int(text in YES)
        elif text and not text.strip(STARS + EMPTY_STARS + "\ufe0f "):
            level = sum(text.count(star) for star in STARS)
            if any(star in text for star in EMPTY_STARS) and len(text.replace("\ufe0f", "")) != high:
                level = None
        elif (number := _NUMBER.fullmatch(text)) and number[2] in (None, str(high)):
            level = int(number[1])
    return level if level is not None and low <= level <= high else None


def _last_scores(rubric: Rubric, content: str) -> tuple[dict[str, Any], str] | None:
    """The scores in the last object that names a criterion, by name, and the text after it."""
    found = [(scores, rest) for value, rest in _objects(content) if (scores := _scores(rubric, value))]
    return found[-1] if found else None


def _objects(text: str) -> Iterator[tuple[Any, str]]:
    """Every outermost JSON object and list in ``text``, with the text after it."""
    decoder = json.JSONDecoder(object_pairs_hook=_unique)
    position = 0
    while (start := re.compile(r"[{\[]").search(text, position)) is not None:
        try:
            value, position = decoder.raw_decode(text, start.start())
        except RecursionError:
            return  # no verdict is nested that deeply, and trying each level would take long
        except ValueError:
            position = start.end()
            continue
        yield value, text[position:]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in pairs:
        values[key] = _TWO if key in values and values[key] != value else value
    return values


def _scores(rubric: Rubric, value: Any) -> dict[str, Any]:
    """The raw scores that an object or list gives, by the names of the criteria; empty when it names none."""
    names = {normal_name(name): each.name for each in rubric.criteria for name in (each.name, *each.aliases)}
    if isinstance(value, list):
        pairs = [pair for item in value if (pair := _named_number(item)) is not None]
        value = value[0] if len(value) == 1 and not pairs else dict(pairs)
    if not isinstance(value, dict):
        return {}
    scores: dict[str, Any] = {}
    for key, raw in value.items():
        name = names.get(normal_name(key)) or names.get(_without_ending(normal_name(key)))
        if name is None:
            continue
        number = _number_of(raw)
        if number is _TWO or (name in scores and scores[name] != number):
            raise _ContradictionError(f"{name} has two values")
        scores[name] = number
    if not scores:
        for key, inner in value.items():
            if normal_name(key) in WRAPPERS and isinstance(inner, dict | list):
                return _scores(rubric, inner)
    return scores


def _without_ending(name: str) -> str:
    for ending in NAME_ENDINGS:
        name = name.removesuffix(f" {ending}")
    return name


def _named_number(item: Any) -> tuple[str, Any] | None:
    """The name and the number of a criterion that has an object of its own in a list."""
    if not isinstance(item, dict):
        return None
    by_name = {normal_name(key): value for key, value in item.items()}
    name = next((by_name[key] for key in NAMES if isinstance(by_name.get(key), str)), None)
    if name is not None:
        return name, _number_of(item)
    return next(iter(item.items())) if len(item) == 1 else None


def _number_of(value: Any) -> Any:
    """The number in an object of one criterion, and any other value as it is."""
    if not isinstance(value, dict):
        return value
    by_name = {normal_name(key): each for key, each in value.items()}
    return next((by_name[key] for key in NUMBERS if key in by_name), None)
