"""Spelling: the share of an answer's words that the Hunspell dictionaries of its language accept.

The share alone mixes three things, so every unknown word is also counted as a name, as a word of another
evaluated language (code-switching), or as a word of no language. The last two are the paper's explanations of low
spelling scores (section 4).
"""

from __future__ import annotations

import functools
import hashlib
import os
import unicodedata
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import regex

from xltjax.common.errors import UserError
from xltjax.common.files import read_text
from xltjax.eval.scores import Score, Unavailable, abstain
from xltjax.eval.text.markup import prose
from xltjax.eval.text.scripts import in_script_of, script_name, words_in_run
from xltjax.eval.text.segmentation import APOSTROPHES, says_nothing, without_cut_word
from xltjax.eval.text.segmentation import words as word_spans
from xltjax.eval.text.segmenters import UNSEGMENTED
from xltjax.eval.text.word_forms import Accepts, Token, is_measure, is_regular

# Raise it when a score of this module changes, also by a change in ``markup`` or ``segmentation``: the journal of
# ``surface`` then starts over.
SPELLING_VERSION = 4
SPELLING_METRICS = ("spelling", "spelling_name", "spelling_foreign", "spelling_nonword")

# Preferred dictionaries. Of those in ``_EITHER``, all count: English and Portuguese are correct in either spelling.
_FILES = {
    "en": ("en_US", "en_GB"),
    "fr": ("fr_FR", "fr"),
    "pt": ("pt_BR", "pt_PT"),
    "ru": ("ru_RU",),
    "de": ("de_DE",),
    "no": ("nb_NO", "no_NO"),
    "tl": ("tl_PH", "fil_PH", "tl"),
}
_EITHER = {"en", "pt"}
_PACKAGES = {
    "en": "hunspell-en-us hunspell-en-gb",
    "pt": "hunspell-pt-br hunspell-pt-pt",
    "de": "hunspell-de-de",
    "uk": "hunspell-uk",
}
SYSTEM_FOLDERS = (
    "/usr/share/hunspell",
    "/usr/share/myspell",
    "/usr/share/myspell/dicts",
    "/usr/local/share/hunspell",
    "/opt/homebrew/share/hunspell",
    "~/.local/share/hunspell",
    "~/Library/Spelling",
    "/Library/Spelling",
)

CAPITALIZED_NOUNS = frozenset(("de", "lb"))
LONGEST_WORD = 99  # characters; Hunspell accepts none longer
CACHED_WORDS = 1 << 18  # verdicts kept for each dictionary, about 40 MB when full
LISTED_WORDS = 50  # unknown words kept as evidence, the most frequent first

_NORMAL = str.maketrans(
    dict.fromkeys(APOSTROPHES, "'") | {"‐": "-", "‑": "-", "\u0301": None}  # stress marks
)
_NUMBER = regex.compile(r"\p{N}")
_LETTER = regex.compile(r"\p{L}")
_NOT_WORD = regex.compile(r"[\p{N}_]")
_PIECES = regex.compile(r"['\-]")
_INNER_CAPITAL = regex.compile(r"\p{L}.*\p{Lu}", regex.DOTALL)
_WITHIN_SENTENCE = regex.compile(r"[\p{Zs},]+")
_TO_UNIT = regex.compile(r"[\p{Zs}°/·]{0,2}")


@dataclass
class WordClasses:
    """The words of one text: how many there are, and those that the language's dictionary does not accept."""

    total: int = 0
    names: Counter[str] = field(default_factory=Counter)
    foreign: dict[str, Counter[str]] = field(default_factory=dict)
    nonwords: Counter[str] = field(default_factory=Counter)


def tokenize(text: str) -> Iterator[Token]:
    """The words of ``text`` for a dictionary.

    Apostrophes and hyphens inside a word stay ("l'homme", "peut-être") and become ' and -. Tokens with a digit
    are not words.
    """
    text = text.translate(_NORMAL)
    previous: int | None = None
    number = False
    for start, stop in word_spans(text):
        token = text[start:stop]
        between = None if previous is None else text[previous:start]
        number = between is not None and number and _TO_UNIT.fullmatch(between) is not None
        if token.isalpha() or (_LETTER.search(token) and not _NOT_WORD.search(token)):
            # One space stands between most words.
            within = between == " " or (
                between is not None and _WITHIN_SENTENCE.fullmatch(between) is not None
            )
            yield Token(token, within, number, text, start, stop)
        else:
            number = _NUMBER.match(token) is not None
        previous = stop


def classify_words(
    text: str, language: str, dictionaries: Mapping[str, Accepts], known: Container[str] = ()
) -> WordClasses:
    """Sort the words of ``text`` into accepted ones, names, foreign words and non-words.

    Words that are right although the dictionary does not have them are accepted: those of ``known``, and the
    abbreviations, units, numerals and parts of compounds of ``word_forms``. Another unknown word is
    judged by its longest unknown piece between apostrophes and hyphens ("Macron's", "l'email"). In this order it is

    1. a name, if a capital stands after its first letter ("NASA", "iPhone");
    2. a name, if it begins with a capital inside a sentence ("Larry Page"), here or elsewhere in the text, and
       no lower-case foreign word is beside it (as in "The Lord of the Rings");
    3. foreign, if another dictionary accepts it in lower case; a name, if it accepts it with its capital only
       ("London"), but foreign where that language writes its nouns so ("Haus");
    4. foreign, if none of its letters is of a script of the language; it then counts under the name of its script,
       and where that sets no spaces ("今天天气很好"), as many words as it says;
    5. a non-word.

    Capitals do not make names (1 and 2) in a text where at least half of the words begin with one, and rule 2 does
    not hold in languages that capitalize nouns.

    Args:
        text: prose, without markup.
        language: the language whose dictionary must accept the words.
        dictionaries: dictionaries by language; those of other languages tell foreign words, in their order.
        known: further words that are right, in lower case.
    """
    own = dictionaries[language]

    def accepts(word: str) -> bool:
        return own(word) or _is_known(word, own, known)

    others = {name: other for name, other in dictionaries.items() if name != language}
    tokens = list(tokenize(text))
    words = [token.word for token in tokens]
    weights = [words_in_run(word) for word in words]
    classes = WordClasses(total=sum(weights))
    titled = 2 * sum(word[0].isupper() for word in words) >= len(words)
    unknown = {
        n: _core(token.word, accepts)
        for n, token in enumerate(tokens)
        if not accepts(token.word) and not is_regular(token, language, accepts)
    }
    foreign = {n: _foreign_language(core, language, others) for n, core in unknown.items()}
    switched = {n for n, core in unknown.items() if foreign[n] and core[0].islower()}
    alone = {n: core for n, core in unknown.items() if not {n - 1, n + 1} & switched}
    named = {core for n, core in alone.items() if core[0].isupper() and tokens[n].within}
    if titled or language in CAPITALIZED_NOUNS:
        named = set()
    for n, core in unknown.items():
        word, origin = words[n], foreign[n]
        if origin == "" or (n in alone and core in named) or (not titled and _INNER_CAPITAL.match(core)):
            classes.names[word] += weights[n]
        elif origin is not None:
            classes.foreign.setdefault(origin, Counter())[word] += weights[n]
        elif not is_measure(tokens[n]):
            classes.nonwords[word] += weights[n]
    return classes


def _is_known(word: str, own: Accepts, known: Container[str]) -> bool:
    """Whether ``word`` is in ``known``, also with an elided or an ending piece ("l'e-mail", "Zorglub's")."""
    if word.lower() in known:
        return True
    pieces = _PIECES.split(word)
    return (
        len(pieces) > 1
        and any(piece.lower() in known for piece in pieces)
        and all(len(piece) < 3 or piece.lower() in known or own(piece) for piece in pieces)
    )


def _core(word: str, accepts: Accepts) -> str:
    pieces = [piece for piece in _PIECES.split(word) if not accepts(piece)]
    return max(pieces, key=len, default=word)


def _foreign_language(word: str, language: str, others: Mapping[str, Accepts]) -> str | None:
    """The language or script that has this word, "" for a name that some language knows, None otherwise."""
    lower = word.lower()
    for other, accepts in others.items():
        if accepts(lower) or (other in CAPITALIZED_NOUNS and accepts(word)):
            return other
    if any(accepts(word) for accepts in others.values()):
        return ""
    return script_name(word) if in_script_of(word, language) is False else None


class Dictionary:
    """The Hunspell dictionaries of one language; a word is accepted when any of them accepts it.

    Attributes:
        paths: the ``.dic`` files.

    Raises:
        Unavailable: when the module ``hunspell`` or the dictionary is not installed, or the file is not a
            Hunspell dictionary.
    """

    def __init__(self, language: str, folders: Sequence[Path]) -> None:
        self.paths = find_dictionaries(language, folders)
        spellers = [_open(path) for path in self.paths]

        @functools.lru_cache(maxsize=CACHED_WORDS)
        def accepts(word: str) -> bool:
            return len(word) <= LONGEST_WORD and any(_spell(speller, word) for speller in spellers)

        self.accepts: Accepts = accepts

    def provenance(self) -> list[dict[str, str]]:
        """What the verdicts depend on."""
        return [
            {
                "path": str(path),
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                "affix_sha256": hashlib.sha256(path.with_suffix(".aff").read_bytes()).hexdigest(),
            }
            for path in self.paths
        ]


def _open(path: Path) -> Any:
    """A Hunspell object, made by whichever package has installed a module named ``hunspell``."""
    try:
        import hunspell
    except ImportError:
        raise Unavailable("no module hunspell: pip install chunspell") from None
    _check_dictionary(path)
    stamp = tuple(each.stat().st_mtime_ns for each in (path, path.with_suffix(".aff")) if each.is_file())
    return _read(getattr(hunspell, "HunSpell", None) or hunspell.Hunspell, path, stamp)


@functools.lru_cache(maxsize=16)
def _read(reader: type[Any], path: Path, stamp: tuple[int, ...]) -> Any:
    """The Hunspell object of a dictionary, made once by a process that scores the answers of many models.

    Args:
        reader: the class of the module.
        path: the ``.dic`` file.
        stamp: what tells files that have changed from those before.
    """
    if reader.__name__ == "HunSpell":  # pyhunspell
        return reader(str(path), str(path.with_suffix(".aff")))
    return reader(path.stem, hunspell_data_dir=str(path.parent))


def _check_dictionary(path: Path) -> None:
    """Refuse a file that Hunspell would silently load as a dictionary that accepts nothing.

    A dictionary begins with its number of entries, unlike a pointer file or a web page that was saved in its place.
    """
    with path.open("rb") as file:
        head = file.readline(100).removeprefix(b"\xef\xbb\xbf").split()
    if not (head and head[0].isdigit() and int(head[0]) > 0):
        raise Unavailable(f"{path} is not a Hunspell dictionary")


def _spell(speller: Any, word: str) -> bool:
    try:
        return bool(speller.spell(word))
    except UnicodeEncodeError:  # a letter that the dictionary's 8-bit encoding does not have
        return False


def find_dictionaries(language: str, folders: Sequence[Path]) -> list[Path]:
    """The ``.dic`` files of ``language`` in the first of ``folders`` that has any.

    Of a language that is correct in either of two spellings, the other one is taken from a later folder where the
    first has only one.

    Raises:
        Unavailable: when there are none; it names the Debian package.
    """
    preferred = _FILES.get(language, ())
    for n, folder in enumerate(folders):
        if language in _EITHER:
            named = {
                name: next(
                    (path for place in folders[n:] if _is_complete(path := place / f"{name}.dic")), None
                )
                for name in preferred
            }
            found = [path for path in named.values() if path is not None]
            if any(path.parent == folder for path in found):
                return found
        names = (*preferred, language)
        others = sorted(folder.glob(f"{language}_*.dic"))
        for path in (*(folder / f"{name}.dic" for name in names), *others):
            if _is_complete(path):
                return [path]
    if language in UNSEGMENTED:
        raise Unavailable(
            f"there is no Hunspell dictionary for {language}, which is not written in separate words"
        )
    package = _PACKAGES.get(language, f"hunspell-{language}")
    example = (*preferred, language)[0]
    raise Unavailable(
        f"no dictionary for {language}: apt install {package}, "
        f"or --dictionaries FOLDER with {example}.dic and {example}.aff"
    )


def missing_spelling(language: str, paths: Sequence[Path]) -> str | None:
    """What is missing when only one dictionary of a language that is correct in either of two spellings is there."""
    if language not in _EITHER or len(paths) == len(_FILES[language]):
        return None
    names = " or ".join(_FILES[language])
    return f"words that only the missing of {names} has count as wrong: apt install {_PACKAGES[language]}"


def _is_complete(path: Path) -> bool:
    return path.is_file() and path.with_suffix(".aff").is_file()


def dictionary_folders(first: Sequence[Path | str] = ()) -> list[Path]:
    """The folders that are searched for dictionaries: ``first``, then ``$DICPATH``, then the system's folders.

    Raises:
        UserError: when a folder of ``first`` does not exist.
    """
    for folder in map(Path, first):
        if not folder.is_dir():
            raise UserError(f"--dictionaries {folder}: no such folder")
    path = [part for part in os.environ.get("DICPATH", "").split(os.pathsep) if part]
    return [Path(part).expanduser() for part in (*first, *path, *SYSTEM_FOLDERS)]


class Dictionaries:
    """The dictionaries in ``folders``, each of which is loaded when it is first needed."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = folders
        self._known: dict[str, Dictionary | Unavailable] = {}

    def find(self, language: str) -> Dictionary | Unavailable:
        """The dictionary of ``language``, or why there is none."""
        if language not in self._known:
            try:
                self._known[language] = Dictionary(language, self.folders)
            except Unavailable as reason:
                self._known[language] = reason
        return self._known[language]


def spelling_scores(
    id: str,
    text: str,
    language: str,
    dictionaries: Dictionaries,
    languages: Sequence[str],
    *,
    truncated: bool = False,
    known: Container[str] = (),
) -> list[Score]:
    """The shares of the answer's words that are accepted, names, foreign and non-words; they sum to 1.

    Code, tags, addresses and formulas are removed first. All four abstain on an answer without words or in a
    language without a dictionary. The last three need the dictionaries of all ``languages`` and abstain when one
    of them is missing. An answer without any letter, digit or picture has no word that is accepted: ``spelling`` is
    0, as in all metrics, and the others abstain.

    Args:
        id: the id of the response.
        text: the whole answer.
        language: the expected language, as an ISO 639-1 code.
        dictionaries: the dictionaries in which words are looked up.
        languages: the evaluated languages, whose dictionaries tell foreign words.
        truncated: whether generation stopped at the token limit; the word that was cut is then no word.
        known: further words that are right, in lower case.
    """
    own = dictionaries.find(language)
    if isinstance(own, Unavailable):
        return [abstain(id, metric, str(own)) for metric in SPELLING_METRICS]
    found = {other: dictionaries.find(other) for other in languages}
    present = {other: it.accepts for other, it in found.items() if isinstance(it, Dictionary)}
    read = prose(without_cut_word(text) if truncated else text)
    classes = classify_words(read, language, present | {language: own.accepts}, known)
    if classes.total == 0:
        others = [abstain(id, metric, "no words") for metric in SPELLING_METRICS]
        empty = Score(id, "spelling", 0.0, detail={"reason": "empty", "words": 0})
        return [empty, *others[1:]] if says_nothing(text) else others
    foreign = sum(counts.total() for counts in classes.foreign.values())
    unknown = foreign + classes.names.total() + classes.nonwords.total()
    spelling = Score(id, "spelling", 1 - unknown / classes.total, detail={"words": classes.total})
    missing = next((str(it) for it in found.values() if isinstance(it, Unavailable)), None)
    if missing is not None:
        return [spelling, *(abstain(id, metric, missing) for metric in SPELLING_METRICS[1:])]
    by_language = {name: _listed(counts) for name, counts in sorted(classes.foreign.items())}
    shares = (
        ("spelling_name", classes.names.total(), _listed(classes.names)),
        ("spelling_foreign", foreign, by_language),
        ("spelling_nonword", classes.nonwords.total(), _listed(classes.nonwords)),
    )
    return [
        spelling,
        *(Score(id, name, n / classes.total, detail={"words": listed}) for name, n, listed in shares),
    ]


def read_word_list(path: Path) -> frozenset[str]:
    """The words of a list of names and neologisms, in lower case, as ``spelling_scores`` takes them.

    Raises:
        UserError: when the file cannot be read or holds no words.
    """
    text = unicodedata.normalize("NFC", read_text(path)).translate(_NORMAL).lower()
    words = frozenset(word for start, stop in word_spans(text) if _LETTER.search(word := text[start:stop]))
    if not words:
        raise UserError(f"{path} holds no words; expected one word per line")
    return words


def _listed(counts: Counter[str]) -> dict[str, int]:
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return dict(ranked[:LISTED_WORDS])
