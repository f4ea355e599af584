"""The numbers of a text, in a form that does not depend on how a language writes them."""

from __future__ import annotations

import unicodedata

import regex

# "1,000.5", "1 000,5", "1'000.5", "12,34,567", "٣٫١٤" are one number each; after "2010 200" another one begins.
_NUMBER = regex.compile(
    r"(?<![\p{Nd}])(?:\p{Nd}{1,3}(?:[ \u00a0\u2009\u202f]\p{Nd}{3})+(?!\p{Nd})(?:[.,٫]\p{Nd}+)?"
    r"|\p{Nd}+(?:[.,'’٫٬]\p{Nd}+)*+)"
)
_SEPARATORS = regex.compile(r"\P{Nd}+")
_ROMAN = regex.compile(r"(?<!\p{L})[IVXL]{1,7}(?=\p{Ll}{0,2}(?!\p{L}))")
_MYRIADS = regex.compile(r"\p{Nd}\s*[万萬億亿兆만억천千百]|[lL]akh|[cC]rore")
_VALUES = {"I": 1, "V": 5, "X": 10, "L": 50}

SMALL = 12  # up to here numbers are often spelled out, and hours of the afternoon move by as many


def digits(number: str) -> str:
    """The digits of a number as 0 to 9, without separators and the zeros at its ends: "1,200,000" and "1,2" alike.

    Units may differ between languages ("5,000", "5 mil", "5 тысяч"), and so may zeros behind a decimal mark.
    """
    plain = "".join(str(unicodedata.digit(each)) for each in _SEPARATORS.sub("", number))
    return plain.strip("0") or "0"


def numbers(text: str) -> list[str]:
    """The numbers of ``text`` in order, as they are written."""
    return _NUMBER.findall(text)


def lost_numbers(source: str, output: str) -> list[str]:
    """The numbers of ``source`` that ``output`` does not have, as they are written in ``source``.

    Digits of every script are read, groups and decimals however separated, and times and dates part by part in any
    order. Tolerated are a Roman numeral for a number up to 89 ("20th century", "XXe siècle"), two digits for a year ("1990s",
    "90-е"), and numbers of East Asia and India in units of 10,000 or 100,000. Numbers up to 12 are given only where
    three of them or more are missing, since they are often spelled out.
    """
    wanted = numbers(source)
    if not wanted:
        return []
    written = numbers(output)
    have = [digits(number) for number in written] + [str(_roman(each)) for each in _ROMAN.findall(output)]
    have += [digits(part) for number in written for part in regex.split(r"[.,'’٫٬\s]", number)]
    found = set(have)
    joined = {digits(number)[-2:] for number in written}
    missing = []
    for number in wanted:
        parts = [part for part in regex.split(r"[.,'’٫٬\s]", number) if part]
        if digits(number) in found or all(digits(part) in found for part in parts):
            continue
        if len(_SEPARATORS.sub("", number)) in (2, 4) and (
            digits(number) in joined or digits(number)[-2:] in found
        ):
            continue
        missing.append(number)
    if missing and _MYRIADS.search(output):
        return []
    small = [number for number in missing if len(number) <= 2 and int(digits_of(number)) <= SMALL]
    large = [number for number in missing if number not in small]
    return missing if large or len(small) >= 3 else []


def digits_of(number: str) -> str:
    """The digits of a number as 0 to 9."""
    return "".join(str(unicodedata.digit(each)) for each in _SEPARATORS.sub("", number))


def _roman(numeral: str) -> int:
    values = [_VALUES[letter] for letter in numeral]
    return sum(-v if v < following else v for v, following in zip(values, [*values[1:], 0], strict=True))
