"""The checks that parse Markdown: for "list N options" and "use Markdown formatting"."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import regex
from markdown_it import MarkdownIt
from markdown_it.token import Token

from xltjax.eval.modifiers.verdict import Verdict, abstain, decided, failed
from xltjax.eval.text.segmentation import Span, trim

_PARSER = MarkdownIt("commonmark").enable("table")

# What looks like an ordered list with a larger first number is a sentence that happens to begin with a year.
_LARGEST_FIRST_NUMBER = 20

_LINE_END = regex.compile(r"\r\n?|\n")
_BLOCK_NAMES = {
    "heading_open": "heading",
    "fence": "code",
    "table_open": "table",
    "blockquote_open": "quote",
}
_INLINE_NAMES = {
    "strong_open": "strong",
    "em_open": "emphasis",
    "code_inline": "code",
    "link_open": "link",
    "image": "link",
}

# Numbers at the head of a section, which CommonMark does not parse as list items: "### 1. Paris",
# "**1. Paris**", "Option 1: Paris", "1️⃣ Paris". A list below such a line belongs to it.
_HEADED = {
    "headings": regex.compile(
        r"(?m)^(?:(?:\#{1,6}[ \t]+|\*\*|__)+(?:\p{L}+[ \t]+)?(?P<marker>\p{Nd}{1,3})[ \t]*[.):–—-]"
        r"|(?:\p{L}+[°º.]?[ \t]+|№[ \t]*)(?P<marker>\p{Nd}{1,3})[ \t]*[:.)–—]"
        r"|(?P<marker>\p{Nd})\uFE0F?\u20E3)[ \t*_]*(?P<text>.+)$"
    )
}
_MARKED = {
    "numbered lines": regex.compile(
        r"(?m)^[>\s]*\(?(?P<marker>\p{Nd}{1,3})(?:[ \t]*[.):][ \t]*|[ \t]+[–—-][ \t]+)(?P<text>.+)$"
    ),
    "lettered lines": regex.compile(r"(?mi)^[>\s]*\(?(?P<marker>[a-zа-я])[.)][ \t]+(?P<text>.+)$"),
    "bulleted lines": regex.compile(
        r"(?m)^[>\s]*(?P<marker>-{1,2}>|[–—]>|[-*+•·∙●○◦▪▫■□►▶‣⁃➢➤→✓✔✅★☆–—])[ \t]*(?P<text>.+)$"
    ),
}
_INLINE_NUMBER = regex.compile(r"(?<![^\s(:;,])\(?(?P<marker>\p{Nd}{1,2})[.)][ \t]+(?=\S)")
_SUCCESSORS = {
    first: second for alphabet in ("abcdefghijklmnopqrstuvwxyz", "абвгдежзиклмнопрст")
    for first, second in itertools.pairwise(alphabet)
}  # fmt: skip


class _List(NamedTuple):
    """One enumeration found in a response."""

    form: str
    items: tuple[str, ...]
    span: Span


def list_n(response: str, n: int) -> Verdict:
    """Whether ``response`` lists exactly ``n`` options.

    Strict: there is one list. It is a Markdown list at the top level (lists inside an item do not count, and
    numbered items with paragraphs between them are one list) or, without one, lines that begin with a number, a
    letter or a bullet. Loose: there may also be several lists with ``n`` items together, one numbered list of
    ``n`` beside others, or "1) … 2) …" within a line. In both, an item that is empty or repeats another is not an
    option. The program abstains without any enumeration ("red, blue and green"), and when there are ``n`` lists
    with another number of items in all, which may be the descriptions of the options.
    """
    if n < 1:
        return failed(f"n must be at least 1, not {n}")
    lists = _enumerated_lines(response, _HEADED) or _markdown_lists(response)
    if sum(len(each.items) for each in lists) < 2:
        # For CommonMark, "1. Red 2. Blue" is a list of one item.
        lists = _enumerated_lines(response, _MARKED) or _enumeration_in_a_line(response) or lists
    if not lists:
        return abstain("no list found: for the judge", wanted=n)
    items = [item for each in lists for item in each.items]
    numbers = {"wanted": n, "found": len(items), "distinct": _distinct(items), "lists": len(lists)}
    span = (lists[0].span[0], lists[-1].span[1])
    numbered = [each.items for each in lists if each.form == "numbers"]
    loose = len(items) == _distinct(items) == n
    loose |= len(numbered) == 1 and len(numbered[0]) == _distinct(numbered[0]) == n
    if not loose and len(lists) == n > 1:
        return abstain("as many lists as options were asked for: for the judge", span, **numbers)
    strict = loose and len(lists) == 1 and lists[0].form != "within a line"
    return decided(strict, loose, span, form=lists[0].form, **numbers)


def markdown(response: str) -> Verdict:
    """Whether ``response`` uses Markdown.

    Strict: it has at least one heading, strong or emphasized phrase, code span or fence, table, block quote, link
    or image. Loose: a list of two or more items is enough, which ordinary answers have too (see the placebo
    rate). Emphasis inside a word ("2*3=6 and 4*5=20") and indented code do not count, as nobody means them.

    The detail's ``grade`` is ``rich``, ``list-only`` or ``none``; ``features`` counts what was found.
    """
    tokens = _PARSER.parse(response)
    offsets = _line_offsets(response)
    features: dict[str, int] = {}
    first: Span | None = None
    for token in tokens:
        names = [_BLOCK_NAMES[token.type]] if token.type in _BLOCK_NAMES else []
        names += [_INLINE_NAMES[child.type] for child in _meant(token.children or [])]
        for name in names:
            features[name] = features.get(name, 0) + 1
        if names and first is None and token.map:
            first = _span_of_lines(response, offsets, token.map)
    if features:
        return decided(True, True, first, grade="rich", features=features)
    lists = [each for each in _markdown_lists(response) if len(each.items) >= 2]
    if lists:
        return decided(False, True, lists[0].span, grade="list-only", features={"list": len(lists)})
    return decided(False, False, grade="none", features={})


def _meant(children: Sequence[Token]) -> Iterator[Token]:
    """The inline markup of ``children``, without emphasis that begins inside a word."""
    before = ""
    for child in children:
        if child.type in _INLINE_NAMES and not (
            child.type in ("strong_open", "em_open") and before[-1:].isalnum()
        ):
            yield child
        if child.type in ("text", "code_inline"):
            before = child.content
        elif child.type in ("softbreak", "hardbreak"):
            before = ""


def _markdown_lists(response: str) -> list[_List]:
    """The top-level lists of ``response``.

    Numbered lists that continue the count are one list, and bullets under a number belong to it, even where
    CommonMark sees separate lists because there is no indentation.
    """
    # Indentation that all lines share would turn a list into code.
    tokens = _PARSER.parse(textwrap.dedent(response.replace("\t", "    ")))
    offsets = _line_offsets(response)
    lists: list[_List] = []
    bullets: list[_List] = []
    expected: int | None = None
    for position, token in enumerate(tokens):
        if token.level or token.type not in ("bullet_list_open", "ordered_list_open"):
            continue
        form = "bullets" if token.type == "bullet_list_open" else "numbers"
        span = _span_of_lines(response, offsets, token.map or [0, 0])
        each = _List(form, tuple(_items(tokens, position)), span)
        if form == "bullets":
            under_a_number = lists and response[lists[-1].span[1] : span[0]].count("\n") < 2
            if not under_a_number:
                bullets.append(each)
            continue
        number = int(token.attrs.get("start", 1))
        next_number = number + len(each.items)
        if number == expected:
            before = lists.pop()
            each = _List(form, before.items + each.items, (before.span[0], span[1]))
        elif number <= _LARGEST_FIRST_NUMBER:
            lists += bullets
        else:
            continue
        lists.append(each)
        bullets, expected = [], next_number
    return lists + bullets


def _items(tokens: Sequence[Token], position: int) -> Iterator[str]:
    """The text of each item of the list that opens at ``position``."""
    text: list[str] = []
    for token in itertools.islice(tokens, position + 1, None):
        if token.level == tokens[position].level:
            return
        if token.type in ("inline", "fence", "code_block", "html_block"):
            text.append(token.content)
        elif token.type == "list_item_close" and token.level == tokens[position].level + 1:
            yield "\n".join(text)
            text = []


def _enumerated_lines(response: str, forms: Mapping[str, regex.Pattern[str]]) -> list[_List]:
    """Runs of two or more lines with consecutive markers or the same bullet, in the first form that has any."""
    for form, pattern in forms.items():
        lists = [
            _List(form, tuple(line["text"] for line in run), (run[0].start(), run[-1].end()))
            for run in _runs(pattern.finditer(response))
            if len(run) > 1
        ]
        if lists:
            return lists
    return []


def _enumeration_in_a_line(response: str) -> list[_List]:
    """Enumerations within lines: "1) … 2) … 3) …"."""
    lists = []
    for run in _runs(_INLINE_NUMBER.finditer(response)):
        ends = [*(marker.start() for marker in run[1:]), len(response)]
        items = tuple(response[marker.end() : end] for marker, end in zip(run, ends, strict=True))
        if len(run) > 1:
            lists.append(
                _List("within a line", items, (run[0].start(), run[-1].end() + len(items[-1].rstrip())))
            )
    return lists


def _runs(lines: Iterable[regex.Match[str]]) -> list[list[regex.Match[str]]]:
    """The matches in groups of consecutive markers; a number or letter that follows none is left out."""
    runs: list[list[regex.Match[str]]] = []
    expected = ""
    for line in lines:
        marker = line["marker"].lower()
        starts = marker in ("1", "a", "а") or not marker.isalnum()
        if runs and marker == expected:
            runs[-1].append(line)
        elif starts:
            runs.append([line])
        else:
            continue
        expected = str(int(marker) + 1) if marker.isdecimal() else _SUCCESSORS.get(marker, marker)
    return runs


def _distinct(items: Iterable[str]) -> int:
    """How many of ``items`` differ in their letters and digits, or else in their symbols; empty ones do not count."""
    folded = {"".join(filter(str.isalnum, item.casefold())) or item.strip() for item in items}
    return len(folded - {""})


def _line_offsets(text: str) -> list[int]:
    """The offset at which each line of ``text`` starts, and the length of ``text``."""
    return [0, *(match.end() for match in _LINE_END.finditer(text)), len(text)]


def _span_of_lines(text: str, offsets: Sequence[int], lines: Sequence[int]) -> Span:
    """The span of lines [first, last), without blanks at its ends."""
    return trim(text, (offsets[lines[0]], offsets[min(lines[1], len(offsets) - 1)]))
