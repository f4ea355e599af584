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
_LARGE_UNITS = regex.compile(r"\p{Nd}\s*[万萬億亿兆만억천千百]|[lL]akh|[cC]rore")
_HAN = {sign: str(value) for value, sign in enumerate("一二三四五六七八九十", start=1)}
_VALUES = {"I": 1, "V": 5, "X": 10, "L": 50}

SEVERAL_SMALL = 3
SMALL = 12  # up to here numbers are often spelled out, and hours of the afternoon move by as many


def numbers(text: str) -> list[str]:
    """The numbers of ``text`` in order, as they are written."""
    return _NUMBER.findall(text)


def lost_numbers(source: str, output: str) -> list[str]:
    """The numbers of ``source`` that ``output`` does not have, as they are written in ``source``.

    Digits of every script are read, groups and decimals however separated, and times and dates part by part in any
    order. Tolerated are a Roman numeral for a number up to 89 ("20th century", "XXe siècle"), two digits for a year
    ("1990s", "90-е"), a century for its years ("1800s", "19. Jahrhundert"), Chinese digits up to ten, other units
    ("5,000", "5 mil"), and all numbers where the output counts in units of 10,000 or 100,000, as in East Asia and
    India. Numbers up to 12 are given only where three of them or more are missing, since they are often spelled out.
    """
    wanted = numbers(source)
    if not wanted or _LARGE_UNITS.search(output):
        return []
    written = numbers(output)
    found = {_digits(each) for number in written for each in (number, *_parts(number))}
    found |= {str(_roman(numeral)) for numeral in _ROMAN.findall(output)}
    found |= {_HAN[sign] for sign in _HAN.keys() & set(output)}
    rounded = {each.rstrip("0") for each in found}

    def has(number: str) -> bool:
        digits = _digits(number)
        # Units may differ between languages ("5,000", "5 mil", "5 тысяч"), and so may zeros behind a decimal mark.
        loosely = len(digits) > 3 or digits != number
        return digits in found or (loosely and digits.rstrip("0") in rounded) or _year(digits, found)

    missing = [
        number
        for number in wanted
        if not has(number) and not all(_digits(part) in found for part in _parts(number))
    ]
    small = sum(len(number) <= 2 and int(_digits(number)) <= SMALL for number in missing)
    return missing if small < len(missing) or small >= SEVERAL_SMALL else []


def _parts(number: str) -> list[str]:
    """The digits between the separators of a number, a date or a time."""
    return _SEPARATORS.sub(" ", number).split()


def _digits(number: str) -> str:
    """The digits of a number as 0 to 9, without separators and zeros in front."""
    return "".join(str(unicodedata.digit(each)) for each in _SEPARATORS.sub("", number)).lstrip("0") or "0"


def _year(digits: str, found: set[str]) -> bool:
    """Whether a year is among ``found`` with its other number of digits, "1990s" as "90-е", or as its century."""
    if len(digits) == 2:
        return any(len(each) == 4 and each.endswith(digits) for each in found)
    century = str(int(digits[:2]) + 1) if digits.endswith("00") else ""
    return len(digits) == 4 and (digits[2:] in found or century in found)


def _roman(numeral: str) -> int:
    values = [_VALUES[letter] for letter in numeral]
    return sum(-v if v < following else v for v, following in zip(values, [*values[1:], 0], strict=True))
