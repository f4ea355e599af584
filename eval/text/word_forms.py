"""Forms that are right although no dictionary has them: abbreviations, units, numerals and parts of compounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import regex

from xltjax.eval.text.abbreviations import ABBREVIATIONS, BEFORE_NUMBERS, ENDING_SENTENCES
from xltjax.eval.text.scripts import in_script_of

Accepts = Callable[[str], bool]

LONGEST_ABBREVIATION = 5  # letters of one that no list has: a sentence continues after its period
LONGEST_UNIT = 4  # letters of a unit after a number


@dataclass(frozen=True, slots=True)
class Token:
    """A word of a text, and what is beside it.

    Attributes:
        word: the word, with ' and - for apostrophes and hyphens of any kind.
        within: whether it stands inside a sentence: only spaces or commas separate it from the token before.
        after_number: whether it follows a number, or a unit of one, as "km" and "h" do in "90 km/h".
        text: the whole text, in which the word begins at ``start`` and ends before ``stop``.
    """

    word: str
    within: bool
    after_number: bool
    text: str
    start: int
    stop: int

    def stands_before(self, mark: str) -> bool:
        """Whether ``mark`` follows the word at once."""
        return self.text.startswith(mark, self.stop)

    def stands_after(self, mark: str) -> bool:
        """Whether ``mark``, a single character, is right before the word."""
        return self.start > 0 and self.text[self.start - 1] == mark


# Many stand without a number too ("en km", "par kg").
_LATIN_UNITS = (
    "km hm dm cm mm nm kg mg hl cl ml dl kW MW GW kWh MWh Hz kHz MHz GHz kB MB GB TB PB mAh dB hPa kPa mmHg "
    "kcal kJ nº Nº"
)
_CYRILLIC_UNITS = (
    "км см мм кг мг мл кВт МВт кВтч Гц кГц МГц ГГц Мб Гб Кб Тб руб ккал кДж дБ млн млрд трлн тыс шт"
)
_UNITS = frozenset((*_LATIN_UNITS.split(), *_CYRILLIC_UNITS.split()))
_ROMAN = regex.compile(r"(?=[IVXLCDM])M{0,3}(?:CM|CD|D?C{0,3})(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})")
_ROMAN_ORDINAL = regex.compile(
    r"([IVXLCDM]+)(?:-\p{L}{1,3}|ers?|ère|res?|n?des?|i?èmes?|es?|os?|as?|ª|º|ᵉʳ?)"
)
_GOES_ON = regex.compile(r"\.[\p{Zs},;:)]*[\p{Ll}\p{N}]")
_SUSPENDED = regex.compile(r"-(?:[\p{Zs},/)]|$)")


def is_regular(token: Token, language: str, accepts: Accepts) -> bool:
    """Whether a word that the dictionary of ``language`` does not accept is right as it is.

    It is

    * an abbreviation: a single letter beside a period ("z. B.", "т. е."), a word of the language's list of
      abbreviations, a word that the dictionary accepts with its period, or one of at most five letters after
      whose period the sentence continues in lower case or with a number ("pág. 5");
    * a unit ("km"), in a script of the language or in Latin letters;
    * a Roman numeral ("XIV"), also with an ordinal's ending ("XIXe", "XXI-го");
    * a German word with a contracted "es" ("geht's");
    * a part of a compound whose other part stands at another word: before a hyphen and a space
      ("Gesundheits- und Sozialpolitik", "pré- e pós-"), or after a hyphen ("Ein- und -ausgang").
    """
    word = token.word
    return (
        (token.stands_before(".") and _is_abbreviation(token, language, accepts))
        or (len(word) == 1 and token.stands_after("."))
        or (word in _UNITS and (word.isascii() or in_script_of(word, language) is True))
        or _is_numeral(word)
        or (language == "de" and word.endswith("'s") and accepts(word[:-2]))
        or (token.stands_before("-") and _SUSPENDED.match(token.text, token.stop) is not None)
        or (token.stands_after("-") and accepts(word.capitalize()))
    )


def is_measure(token: Token) -> bool:
    """Whether a word that no dictionary has is taken for a unit: at most four letters after a number ("5 kgf")."""
    return token.after_number and len(token.word) <= LONGEST_UNIT


def _is_abbreviation(token: Token, language: str, accepts: Accepts) -> bool:
    word = token.word
    if len(word) == 1 or accepts(f"{word}.") or word.casefold() in _listed(language):
        return True
    return len(word) <= LONGEST_ABBREVIATION and _GOES_ON.match(token.text, token.stop) is not None


def _is_numeral(word: str) -> bool:
    if _ROMAN.fullmatch(word):
        return True
    ordinal = _ROMAN_ORDINAL.fullmatch(word)
    return ordinal is not None and _ROMAN.fullmatch(ordinal[1]) is not None


def _listed(language: str) -> frozenset[str]:
    return _PIECES.get(language, frozenset())


_PIECES = {
    language: frozenset(
        piece
        for names in (ABBREVIATIONS[language], BEFORE_NUMBERS[language], ENDING_SENTENCES[language])
        for name in names
        for piece in (name, *name.replace("-", ".").split("."))
        if piece
    )
    for language in ABBREVIATIONS
}
