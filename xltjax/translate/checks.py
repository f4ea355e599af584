"""What is doubtful in a translated segment, seen without a reference.

The limits were set on true translations: the 113 instructions that xltjax ships in five languages and the 113 that
the paper's authors released in four, each into each other language (3,616 pairs, of one to some twenty sentences),
and on the same pairs broken on purpose (``benchmarks/translation_checks.py``). Doubted are, in percent:

======================================================  ==========
true translations ("in their 20s", spelled out)           0.1
the source instead of a translation                      99.5
a translation into a third language                      98.9
the last word four more times; the last two              88; 99.8
the last three words six more times; five ten times      100; 100
a number above 12 left out; a digit of one changed       98.7; 97.5
the second half left out: of 2 sentences or more         53
the second half left out: of 4 sentences or more         98.4
the last sentence left out: of 2 or more                 28
"Here is the translation:" and an empty line before it  100
======================================================  ==========

One lost sentence of a few is thus rarely seen: what prevents it is that segments are short.
"""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Callable

import regex

from xltjax.eval.language import MIN_LETTERS, Guess, line_language
from xltjax.eval.modifiers.lists import find_lists
from xltjax.eval.text.scripts import in_script_of, length
from xltjax.eval.text.segmentation import says_nothing
from xltjax.translate.numbers import lost_numbers
from xltjax.translate.sentences import sentences

Identify = Callable[[str], Guess]

# Languages that an identifier cannot tell apart, or that are names for one.
_SAME = [
    frozenset(group.split())
    for group in (
        "no nb nn",
        "hr bs sr sh",
        "id ms",
        "zh yue wuu",
        "ar arz",
        "fa prs",
        "az azb",
        "ku ckb",
        "tl ceb",
    )
]

_LEAST_SHARE = 0.5  # of the prose in the right language
_LONGER, _SHORT = 1.35, 4.0  # see ``length_limit``
_SEVERAL, _KEPT = 3, 0.6  # sentences, and the share of them that a translation keeps
_WITHOUT_MARKS = frozenset(("th", "lo"))  # sentences of these end with a space or nothing
_COMPRESSED, _MORE_COMPRESSED = 2.0, 1.5
_LEAST_COMPRESSIBLE = 60  # characters, below which compression says nothing
_READ = 4000  # characters of a segment that are searched for loops
_COPIED_WORDS = 5  # of a segment that is a copy of its source; names are shorter
_CAPITALS = 0.8  # share of the words of a list of names
_COPIED_SHARE = 0.6  # of the source's runs of four words that stand in the output

_LOOP = regex.compile(r"(\p{L}.{1,60}?)\1{3,}", regex.DOTALL)
_WORD = regex.compile(r"\p{L}[\p{L}\p{M}]++")
_LINE_END = regex.compile(r"[\n\r\u2028\u2029]")
_UNKNOWN = ("<unk>", "⁇", "\ufffd")
_EMPHASIS = regex.compile(r"\*\*|~~")
_MARKER = r"(?:\p{Nd}{1,2}|[a-h])[.)]"
_MANY_MARKERS = regex.compile(rf"[\n\r]|(?:[(\s]|^){_MARKER}.*[(\s]{_MARKER}|[\u2460-\u2473]")


def doubts(source: str, output: str, *, target: str, identify: Identify | None) -> list[str]:
    """The names of what is doubtful about ``output`` as a translation of ``source``, in a fixed order.

    * ``empty``: no letter, digit or picture; nothing else is said then.
    * ``wrong_language``: less than half of it is in ``target``, by the measure ``line_language`` of the evaluators,
      which does not judge less than 20 letters and 5 words unless the script tells.
    * ``length_ratio``: much longer or shorter than the source (``length_limit``), in letters of any script.
    * ``sentences``: three sentences or more in the source, and at most six in ten of them in the output.
    * ``repetition``: something said four times in a row, or a text that compresses far better than its source.
    * ``copied``: the source itself, or most of it.
    * ``numbers``: a number of the source is missing (``lost_numbers`` says what is tolerated).
    * ``list_items``: fewer items than in the source, for a segment that holds a list.
    * ``line_breaks``: more lines than the source has, as of an engine that explains itself.
    * ``markup``: marks of emphasis that are lost or added.
    * ``unknown``: characters that the engine's vocabulary lacks.

    Args:
        source: the segment.
        output: its translation.
        target: the code of the language that it should be in.
        identify: gives the most probable language of a text and its probability, such as ``LanguageIdentifier``;
            None where there is none. One that says in ``languages`` which it knows is asked about no other.
    """
    if says_nothing(output) and not says_nothing(source):
        return ["empty"]
    found = {
        "wrong_language": identify is not None and _wrong_language(output, target, identify),
        "length_ratio": not within_length(source, output),
        "sentences": _drops_sentences(source, output, target),
        "repetition": _repeats(source, output),
        "copied": _is_copy(source, output, target),
        "numbers": bool(lost_numbers(source, output)),
        "list_items": _list_items(output) < _list_items(source),
        "line_breaks": len(_LINE_END.findall(output)) > len(_LINE_END.findall(source)),
        "markup": Counter(_EMPHASIS.findall(output)) != Counter(_EMPHASIS.findall(source)),
        "unknown": any(mark in output and mark not in source for mark in _UNKNOWN),
    }
    return [name for name, doubtful in found.items() if doubtful]


def _wrong_language(output: str, target: str, identify: Identify) -> bool:
    if target not in getattr(identify, "languages", (target,)):
        return False
    same = next((group for group in _SAME if target in group), frozenset((target,)))

    def nearest(text: str) -> Guess:
        guess, probability = identify(text)
        return (target if guess in same else guess), probability

    share = line_language("", output, target, nearest).value
    return share is not None and share < _LEAST_SHARE


def length_limit(letters: float) -> float:
    """How many times longer or shorter than a source of so many ``letters`` its translation may be.

    The shorter a text, the more its translations differ: 2.6 times for 20 letters, 1.9 for 100, 1.6 for 500.
    """
    return _LONGER * (1 + _SHORT / math.sqrt(max(1, letters)))


def within_length(source: str, output: str) -> bool:
    """Whether the lengths of a segment and its translation agree."""
    before, after = length(source), length(output)
    limit = length_limit(before)
    return before <= limit * after and after <= limit * max(before, 1)


def _drops_sentences(source: str, output: str, target: str) -> bool:
    if target in _WITHOUT_MARKS:
        return False
    # The rules of English do for the source, whose language is not asked for here.
    before = _count_sentences(source, "en")
    return before >= _SEVERAL and _count_sentences(output, target) <= _KEPT * before


def _count_sentences(text: str, language: str) -> int:
    return sum(any(map(str.isalpha, text[start:stop])) for start, stop in sentences(text, language))


def _repeats(source: str, output: str) -> bool:
    if _LOOP.search(output[:_READ]) is not None and _LOOP.search(source[:_READ]) is None:
        return True
    if len(output) < _LEAST_COMPRESSIBLE:
        return False
    ratio = _compression(output)
    return ratio > _COMPRESSED or ratio > _MORE_COMPRESSED * _compression(source)


def _compression(text: str) -> float:
    """How many characters of ``text`` go into one compressed byte, which is about 1 for prose in any script."""
    # Two bytes a character in every script, and without the 8 bytes that zlib adds to a text.
    packed = zlib.compress(text.encode("utf-16-le", "surrogatepass"), 9)
    return len(text) / max(1, len(packed) - 8)


def _is_copy(source: str, output: str, target: str) -> bool:
    before, after = _words(source), _words(output)
    if before == after:
        # What is in no script of the target is no translation, except a name.
        foreign = in_script_of(output, target) is False and length(output) >= MIN_LETTERS
        return (len(before) >= _COPIED_WORDS and not _names(source)) or foreign
    runs = _runs(before)
    return len(runs) >= _COPIED_WORDS and len(runs & _runs(after)) >= _COPIED_SHARE * len(runs)


def _names(text: str) -> bool:
    """Whether ``text`` is a list of names, such as those of bands: all its words but a few begin with a capital."""
    words = _WORD.findall(text)
    return "," in text and sum(word[0].isupper() for word in words) > _CAPITALS * len(words)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _runs(words: list[str]) -> set[tuple[str, ...]]:
    return {tuple(words[start : start + 4]) for start in range(len(words) - 3)}


def _list_items(text: str) -> int:
    # To parse Markdown takes time, and a segment is rarely more than a line.
    return sum(len(each.items) for each in find_lists(text)) if _MANY_MARKERS.search(text) else 0
