"""What the lines of a list begin with: numbers in every form, Roman numerals, letters, bullets and emoji.

All patterns start at a line's beginning and take time that is linear in its length. They do not depend on the
language of the answer: "1ª opção:", "1-й вариант:" and "Option 1:" are read alike in every answer.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

import regex

from xltjax.eval.text.segmentation import Span


class Line(NamedTuple):
    """A line that begins with a marker.

    Attributes:
        series: what the marker belongs to: ``number``, ``roman``, an alphabet, or a bullet itself.
        order: the place of the marker in its series from 1; 0 for a bullet.
        indent: how many columns precede the marker.
        span: the line, from its marker.
        text: where the text behind the marker starts.
    """

    series: str
    order: int
    indent: int
    span: Span
    text: int


_TAGS = r"(?:<(?:p|b|br|div|h[1-6]|span|strong)\b[^<>\n]{0,99}>[ \t]*+){0,3}+"
_LEAD = rf"^(?P<indent>[ \t]*+)(?:>[ \t]*+)*+{_TAGS}"
_NUMBER = r"(?P<number>\p{Nd}{1,3})"
_CLOSE = r"[*_`]{0,3}+"
# U+2460 to U+2473 ①, U+2776 to U+2793 ❶ ➀ ➊, U+24F5 ⓵, with ⑴ and ⒈ between them.
_CIRCLED = "[\u2460-\u249b\u24eb-\u24fe\u2776-\u2793]|🔟|[一二三四五六七八九十](?=、)"
_ROMAN = (
    r"(?P<roman>x{0,3}(?:ix|iv|v?i{0,3})(?<=[ivx])|X{0,3}(?:IX|IV|V?I{0,3})(?<=[IVX])"
    r"|[\u2160-\u216b\u2170-\u217b])"
)
# A point, colon or dash before a digit belongs to a number: "1.5 kg", "1:30", "1 - 1 = 0".
_STOP = r"[ \t]?(?:\\?(?:\.?[)）]|、|[.:．：](?!\p{Nd}))|[-–—](?=[ \t]+[^\s\p{Nd}]|\p{Lu}|[«\"“„*_]))"
_SIGN = r"(?:\#|№|[Nn][°º]\.?|N[or]\.)"
_WORD = r"\p{L}[\p{L}\p{M}'’\-]*+"
_ORDINAL_END = (
    r"(?:\.?[ªº°]|st|nd|rd|th|[èe]re|er|re|nde?|i?[èe]me|e|[ao]|-?(?:[йяею]|[ыио]й|ая|ое|го|му))"
    r"(?![\p{L}\p{N}])"
)
# Behind "Option 1" a colon, a dash, the end of emphasis or of the line must follow.
_END = r"(?:[*_`]{0,3}+[ \t]*+(?:[:.)–—](?!\p{Nd})|-[ \t]|$)|[*_]{1,3}+[ \t])"

_ORDINALS = (
    r"first|premi(?:er|ère)|primeir[oa]|перв(?:ый|ая|ое)|erste[rs]?",
    r"second|deuxième|seconde|segund[oa]|втор(?:ой|ая|ое)|zweite[rs]?",
    r"third|troisième|terceir[oa]|трет(?:ий|ья|ье)|dritte[rs]?",
    r"fourth|quatrième|quart[oa]|четв[её]рт(?:ый|ая|ое)|vierte[rs]?",
    r"fifth|cinquième|quint[oa]|пят(?:ый|ая|ое)|fünfte[rs]?",
    r"sixth|sixième|sext[oa]|шест(?:ой|ая|ое)|sechste[rs]?",
    r"seventh|septième|sétim[oa]|седьм(?:ой|ая|ое)|sieb(?:en)?te[rs]?",
    r"eighth|huitième|oitav[oa]|восьм(?:ой|ая|ое)|achte[rs]?",
    r"ninth|neuvième|non[oa]|девят(?:ый|ая|ое)|neunte[rs]?",
    r"tenth|dixième|décim[oa]|десят(?:ый|ая|ое)|zehnte[rs]?",
)
_ORDINAL = "|".join(f"(?P<w{order}>{words})" for order, words in enumerate(_ORDINALS, start=1))

# "### 1. Paris", "**1. Paris**", "Option 1: Paris", "1ª opção:", "#1 Paris", "First option:", "Plan B –". A list
# below such a line belongs to it.
HEADS = regex.compile(
    rf"(?i:{_LEAD}(?:"
    rf"\#{{1,6}}[ \t]+[*_`]{{0,3}}+[(\[]?(?:{_NUMBER}|{_ROMAN}){_CLOSE}"
    r"(?:[ \t]*+\\?[.):/\]–—°ºª-]|[ \t]+(?=\S)|[ \t]*+$)"
    rf"|(?:\*\*|__)[(\[]?(?:{_NUMBER}|{_ROMAN}){_CLOSE}[ \t]*+\\?[.):/\]–—°ºª-](?!\p{{Nd}})"
    rf"|(?:\#{{1,6}}[ \t]+)?[*_`]{{0,3}}+(?:"
    rf"(?:{_WORD}[ \t]+){{1,2}}(?:{_SIGN}[ \t]*+)?{_NUMBER}{_END}"
    rf"|{_SIGN}[ \t]*+{_NUMBER}(?:{_END}|[ \t]+(?=\S))"
    rf"|{_NUMBER}{_ORDINAL_END}(?:[ \t]+{_WORD}){{0,3}}(?:{_CLOSE}[ \t]?(?:[:)–—]|-[ \t])|[*_]{{1,3}}+(?=[ \t]|$))"
    rf"|(?:\p{{L}}{{1,3}}[ \t]+)?(?:{_ORDINAL})[ \t]+{_WORD}[ \t]?{_END}"
    rf"|\p{{L}}{{3,}}[ \t]+(?-i:(?P<letter>[A-HА-З])){_END}"
    rf")))",
    regex.M,
)
ENUMERATED = regex.compile(
    rf"{_LEAD}[*_`]{{0,3}}+(?:"
    rf"[(\[]?{_NUMBER}{_CLOSE}(?:{_STOP}|\](?!\()|/(?=[ \t]|\p{{L}})|\.?[°ºª][.):]?(?=[ \t]+{_CLOSE}\p{{L}}{{2}}))"
    rf"|(?P<number>\p{{Nd}})\uFE0F?\u20E3|(?P<circled>{_CIRCLED})[.):、]?"
    rf"|[(\[]?{_ROMAN}{_CLOSE}(?:{_STOP}|\](?!\()|/(?=[ \t]))"
    rf"|\(?(?P<letter>[A-Za-zА-Яа-я]){_CLOSE}(?:\\?[.)][ \t]|\\?\)(?=\p{{L}})|/[ \t]|[ \t]?[-–—][ \t])"
    rf")",
    regex.M,
)
# A dash or plus sign before a digit may be a sign, which ``lists`` decides by the other lines; * and + need a space
# or, as in "*Paris", no second asterisk in the line.
BULLETED = regex.compile(
    rf"{_LEAD}\\?(?P<bullet>[-=]{{1,2}}>|[–—]>|--?(?=[^-])|[–—―‒−]"
    r"|(?P<symbol>[•·・∙●○◦▪▫■□◆◇❖►▶‣⁃➢➤→➔➜⇒✓✔✅★☆☐☑])(?![★☆]|(?P=symbol))\uFE0F?|»(?=[ \t])|\\item(?=[ \t])"
    r"|\*(?=[ \t]|[^*\s][^*\n]*$)|\+(?=[ \t]))[ \t]*+(?=\S)",
    regex.M,
)
_EMOJI = r"\p{Extended_Pictographic}[\uFE0F\p{EMod}]*+"
_PICTURE = rf"(?:\p{{RI}}{{2}}|(?![©®™]){_EMOJI}(?:\u200D{_EMOJI})*+)"
PICTURED = regex.compile(
    rf"{_LEAD}(?P<picture>{_PICTURE})[ \t]*+[*_`]{{0,3}}+(?=[\p{{L}}\p{{N}}«\"“„])", regex.M
)

_LATIN, _CYRILLIC = "abcdefghijklmnopqrstuvwxyz", "абвгдежзиклмнопрстуфхцчшщэюя"


def marked_lines(text: str, pattern: regex.Pattern[str]) -> Iterator[Line]:
    """The lines of ``text`` that begin with a marker of ``pattern``, in order.

    A line such as "i) Paris" is given twice: as a Roman numeral and as a letter.
    """
    for match in pattern.finditer(text):
        found = match.groupdict()
        end = text.find("\n", match.end())
        span = (match.end("indent"), len(text) if end < 0 else end)
        indent = len(match["indent"].expandtabs(4))
        for series, order in _places(found):
            yield Line(series, order, indent, span, match.end())


def _places(found: dict[str, str | None]) -> Iterator[tuple[str, int]]:
    """The series and the places in them of the marker in the groups ``found``."""
    if number := found.get("number"):
        yield "number", int(number)
    elif circled := found.get("circled"):
        yield "number", 10 if circled == "🔟" else int(unicodedata.numeric(circled))
    elif bullet := found.get("bullet") or found.get("picture"):
        yield bullet.rstrip("\ufe0f"), 0
    for order in range(1, len(_ORDINALS) + 1):
        if found.get(f"w{order}"):
            yield "number", order
    if roman := found.get("roman"):
        yield "roman", _roman(unicodedata.normalize("NFKC", roman).lower())
    letter = found.get("letter") or roman
    if letter and len(letter) == 1:
        for alphabet in (_LATIN, _CYRILLIC):
            if letter.lower() in alphabet:
                yield alphabet[0], alphabet.index(letter.lower()) + 1


def _roman(numeral: str) -> int:
    values = [{"i": 1, "v": 5, "x": 10}.get(letter, 0) for letter in numeral]
    return sum(-v if v < following else v for v, following in zip(values, [*values[1:], 0], strict=True))
