"""The scripts of a text: how much it says, measured alike in every script, and which language could write so."""

from __future__ import annotations

import functools

import regex

from xltjax.common.languages import scripts

# How many letters of an alphabet say as much as one character. A translation from English into Chinese has about
# a third as many letters, one into Japanese or Korean about half as many. Where vowels are signs on consonants, as
# in Hindi, each is a letter.
_DENSE = regex.compile(
    r"(\p{Han})|([\p{Hiragana}\p{Katakana}\p{Hangul}\p{Ethiopic}])|([\p{M}--[\p{Inherited}\p{Common}]])",
    regex.V1,
)
# Between these no spaces stand, or (Hangul) few: each counts as a word where a few words are asked for.
_UNSPACED = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]")
_KANA = regex.compile(r"[\p{Hiragana}\p{Katakana}]")
_LETTERS_A_WORD = 5  # of an alphabet


def length(text: str) -> int:
    """The letters of ``text`` and its vowel signs.

    A Chinese letter counts as three, and a Japanese syllable, a Korean block or an Ethiopic one as two.
    """
    letters = sum(map(str.isalpha, text))
    if text.isascii():
        return letters
    han = syllables = signs = 0
    for match in _DENSE.finditer(text):
        if match[1] is not None:
            han += match[1].isalpha()
        elif match[2] is not None:
            syllables += match[2].isalpha()
        else:
            signs += 1
    return letters + 2 * han + syllables + signs


def unspaced(text: str) -> int:
    """How many characters of ``text`` are of a script that sets no spaces between words, or few of them."""
    return 0 if text.isascii() else sum(1 for _ in _UNSPACED.finditer(text))


def words_in_run(run: str) -> int:
    """How many words stand in a run of letters without spaces: 1, or in Chinese and the like as many as it says."""
    return 1 if not unspaced(run) else max(1, round(length(run) / _LETTERS_A_WORD))


@functools.lru_cache(maxsize=256)
def letters_of(language: str) -> regex.Pattern[str] | None:
    """Matches one letter or vowel sign of a script in which ``language`` is written; None if no script is known."""
    letters = _class_of(language)
    return None if letters is None else regex.compile(letters, regex.V1)


@functools.lru_cache(maxsize=256)
def other_words_than(language: str) -> regex.Pattern[str] | None:
    """Matches a run of words without a letter of a script of ``language``, within a line; None if none is known."""
    letters = _class_of(language)
    if letters is None:
        return None
    other = rf"[\p{{L}}--{letters}]"
    return regex.compile(rf"{other}(?:[^\n\p{{L}}]*+{other}++)*+", regex.V1)


def _class_of(language: str) -> str | None:
    """The letters of the scripts of ``language`` as a class of a regular expression (version 1)."""
    known = []
    for script in sorted(scripts(language)):
        try:
            regex.compile(rf"\p{{Script={script}}}")
        except regex.error:
            continue
        known.append(rf"\p{{Script={script}}}")
    return f"[[{''.join(known)}]&&[\\p{{L}}\\p{{M}}]]" if known else None


def in_script_of(text: str, language: str) -> bool | None:
    """Whether any letter of ``text`` is of a script in which ``language`` is written; None if that is unknown."""
    pattern = letters_of(language)
    return None if pattern is None else pattern.search(text) is not None


def mostly_in_script_of(text: str, language: str) -> bool | None:
    """Whether at least half of ``text``, by ``length``, is of a script of ``language``; None if that is unknown."""
    pattern = letters_of(language)
    return None if pattern is None else 2 * length("".join(pattern.findall(text))) >= length(text)


def has_kana(text: str) -> bool:
    """Whether ``text`` has a Japanese syllable, as every Japanese sentence has and no Chinese one."""
    return _KANA.search(text) is not None


def script_name(text: str) -> str:
    """The script of the first letter of ``text``, such as ``Cyrillic``; "other" for rare ones."""
    return next((name for name, pattern in _NAMED.items() if pattern.search(text)), "other")


_NAMED = {
    name: regex.compile(rf"^[^\p{{L}}]*\p{{{name}}}")
    for name in (
        "Latin", "Cyrillic", "Greek", "Arabic", "Hebrew", "Devanagari", "Bengali", "Tamil", "Thai", "Han", "Hiragana",
        "Katakana", "Hangul", "Armenian", "Georgian",
    )
}  # fmt: skip
