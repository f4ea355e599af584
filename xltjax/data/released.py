"""The modifier files that the authors released: their type names, and parameters that instructions state.

``modifiers.<language>.types`` names the modifier of the same line of ``modifiers.<language>.jsonl``
(naver/pasero, examples/zero-shot-transfer-inst-tuning): ``short``, ``num_items_9``, ``lang_pt``, ...
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import regex

from xltjax.common.errors import UserError, did_you_mean
from xltjax.common.files import read_text
from xltjax.data.modifier_phrases import (
    BETWEEN,
    LANGUAGE_NAMES,
    LANGUAGE_PREPOSITIONS,
    LIST_VERBS,
    NUMBERS,
    RANGES,
)

TYPE_NAMES = {
    "short": "briefly",
    "long": "detailed",
    "num_items": "list_n",
    "lang": "answer_in",
    "markdown": "markdown",
    "html": "html_page",
    "arrow": "arrow",
    "cap": "capitalise",
    "scientific": "scientific",
    "simple": "simple",
    "complex": "two_hop",
}
_TYPE = regex.compile(
    r"(?P<type>num_items|[a-z]+)(?:_(?:template|style|inst|(?P<n>\d+)|(?P<language>[a-z]{2})))?"
)


def released_modifier(type_name: str) -> dict[str, Any]:
    """``{"name": ..., "params": {...}}`` for a type of the released files.

    >>> released_modifier("num_items_9")
    {'name': 'list_n', 'params': {'n': 9}}

    Raises:
        UserError: for a type that is not in the release.
    """
    match = _TYPE.fullmatch(type_name.strip())
    if match is None or match["type"] not in TYPE_NAMES:
        raise UserError(f"unknown modifier type {type_name!r}; {did_you_mean(type_name, TYPE_NAMES)}")
    params: dict[str, Any] = {}
    if match["n"]:
        params["n"] = int(match["n"])
    if match["language"]:
        params["language"] = match["language"]
    return {"name": TYPE_NAMES[match["type"]], "params": params}


def read_types(path: Path) -> list[dict[str, Any]]:
    """The modifier of each line of a ``.types`` file, whose last line need not end in a line break.

    Raises:
        UserError: naming the line whose type is unknown.
    """
    modifiers = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        try:
            modifiers.append(released_modifier(line))
        except UserError as problem:
            raise UserError(f"{path}, line {number}: {problem}") from None
    return modifiers


def params_from_instruction(name: str, instruction: str, language: str) -> dict[str, Any] | None:
    """The parameters that the text of a modified instruction states, for prompts that do not carry them.

    The modifier stands at the end, so the last place counts: "translate this into English. Answer in French."

    Args:
        name: the name of the modifier; only ``list_n`` and ``answer_in`` have parameters.
        instruction: the instruction with its modifier.
        language: ISO 639-1 code of the instruction: en, fr, pt, ru or de.

    Returns:
        ``{"n": N}``, with ``most`` for a range such as "3 to 5", ``{"language": code}``, or {} for a modifier
        without parameters; None when the text states no parameter or the language is not one of the five.
    """
    if name not in ("list_n", "answer_in"):
        return {}
    if language not in NUMBERS:
        return None
    found = list(_pattern(name, language).finditer(instruction))
    if not found:
        return None
    if name == "list_n":
        n = _value(found[-1]["number"], language)
        if found[-1]["most"] is None:
            return {"n": n}
        most = _value(found[-1]["most"], language)
        return {"n": n, "most": most} if n < most else {"n": n}
    return {"language": next(code for code, value in found[-1].groupdict().items() if value)}


def _value(number: str, language: str) -> int:
    if number.isdecimal():
        return int(number)
    words = regex.sub(r"[\s-]+", " ", number.casefold())
    return next(value for form, value in NUMBERS[language].items() if form.casefold() == words)


@cache
def _pattern(name: str, language: str) -> regex.Pattern[str]:
    if name == "list_n":
        forms = sorted(NUMBERS[language], key=len, reverse=True)
        numbers = "|".join(form.replace(" ", r"[\s-]+") for form in forms)
        # Up to three words may stand between verb and number: "list exactly 5", "nennen Sie mir bitte 5". A number
        # of more words than are known, such as "one hundred twenty", is left out.
        before, between = BETWEEN[language]
        one, other = rf"(?P<number>\d{{1,3}}|{numbers})", rf"(?P<most>\d{{1,3}}|{numbers})"
        text = (
            rf"(?:{LIST_VERBS[language]})(?:[\s,-]+(?!(?:{numbers}|{before})\b)\p{{L}}+){{0,3}}?[\s,]+"
            rf"(?:{before}\s+{one}\s+{between}\s+{other}"
            rf"|{one}(?:\s*[-–—]\s*(?P<most>\d{{1,3}})|\s+(?:{RANGES[language]})\s+{other})?)"
            rf"(?!-|\s+(?:(?:et|e|and)\s+)?(?:{numbers})\b)"
        )
    else:
        names = "|".join(rf"(?P<{code}>{name})" for code, name in LANGUAGE_NAMES[language].items())
        text = rf"(?:{LANGUAGE_PREPOSITIONS[language]})(?:{names})"
    return regex.compile(rf"(?i)(?<![\p{{L}}\p{{N}}])(?:{text})(?![\p{{L}}\p{{N}}])")
