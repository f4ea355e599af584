"""The lists of an answer: of Markdown and HTML, lines that begin with a marker, rows of a table."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import regex
from markdown_it import MarkdownIt
from markdown_it.token import Token

from xltjax.eval.modifiers.dialogue import is_dialogue
from xltjax.eval.modifiers.markers import BULLETED, ENUMERATED, HEADS, PICTURED, Line, marked_lines
from xltjax.eval.text.segmentation import Span, trim

PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])

# What looks like an ordered list with a larger first number is a sentence that happens to begin with a year.
_LARGEST_FIRST_NUMBER = 20
# How many open runs of markers a line may continue; without a bound, "1. 1. 1." would cost quadratic time.
_OPEN_RUNS = 20

_LINE_END = regex.compile(r"\r\n?|\n")
_CODE_FENCE = regex.compile(
    r"(?ms)^ {0,3}(```+|~~~+)[ \t]*(?!(?:text|txt|plaintext|markdown|md|html)\b)\w.*?(?:^ {0,3}\1|\Z)"
)
_INLINE_MARKER = regex.compile(
    r"(?<![^\s(:;,])(?:\(?(?P<number>\p{Nd}{1,2})(?:[.):]|\.?[°ºª]|[-/](?=[ \t]))[ \t]+"
    r"|\[(?P<number>\p{Nd}{1,2})\][ \t]*+|(?P<number>\p{Nd})\uFE0F?\u20E3[ \t]*+|(?P<circled>[\u2460-\u2473])[ \t]*+"
    r"|\(?(?P<letter>[a-hа-з])\)[ \t]+)(?=\S)"
)
_DIRECTION = regex.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")  # marks of writing direction
_HTML_TAG = regex.compile(r"(?i)<(?P<end>/?)(?P<name>ol|ul|li|table|tr|td)\b[^<>]*>")
_ANY_TAG = regex.compile(r"<[^<>]*>")
_DASHES = frozenset("-–—―‒−")
_SIGNED = regex.compile(r"[\p{Nd}.,]+")


class Listing(NamedTuple):
    """One list found in a response.

    Attributes:
        form: what kind of list it is.
        items: the text of each item.
        span: where the list stands.
    """

    form: str
    items: tuple[str, ...]
    span: Span


def find_lists(response: str) -> list[Listing]:
    """The lists of ``response`` at the top level, in the first form that holds any.

    A list inside an item belongs to the item: what is indented, what stands below a numbered heading or a line
    such as "Option 1:", and of two kinds of markers the one that comes later. A single item is a list only in
    Markdown and HTML.
    """
    if lists := html_lists(response):
        return lists
    response = _DIRECTION.sub(" ", response)
    text = _LINE_END.sub(lambda end: " " * (len(end.group()) - 1) + "\n", response)
    text = _CODE_FENCE.sub(lambda code: regex.sub(r"[^\n]", " ", code.group()), text)
    if lists := _numbered(text, HEADS, "headings"):
        return lists
    parsed = markdown_lists(response)
    parsed = [each for each in parsed if each.form == "numbers" or not is_dialogue(each.items)]
    several = sum(len(each.items) for each in parsed) > 1
    enumerated = _numbered(text, ENUMERATED, "numbered lines")
    if enumerated and not (several and parsed[0].span[0] <= enumerated[0].span[0]):
        return enumerated
    if several:
        return parsed
    return (
        _bulleted(text)
        or _pictured(text)
        or _tables(response)
        or _within_a_line(text)
        or parsed
    )  # fmt: skip


# --- Markdown ---


def markdown_lists(response: str) -> list[Listing]:
    """The top-level lists of ``response`` that CommonMark sees.

    Numbered lists that continue the count are one list, and bullets under a number belong to it, even where
    CommonMark sees separate lists because there is no indentation.
    """
    # Indentation that all lines share would turn a list into code.
    tokens = PARSER.parse(textwrap.dedent(response.replace("\t", "    ")))
    offsets = line_offsets(response)
    lists: list[Listing] = []
    bullets: list[Listing] = []
    expected: int | None = None
    for position, token in enumerate(tokens):
        if token.level or token.type not in ("bullet_list_open", "ordered_list_open"):
            continue
        form = "bullets" if token.type == "bullet_list_open" else "numbers"
        span = span_of_lines(response, offsets, token.map or [0, 0])
        each = Listing(form, tuple(_items(tokens, position)), span)
        if form == "bullets":
            under_a_number = lists and response[lists[-1].span[1] : span[0]].count("\n") < 2
            if not under_a_number:
                bullets.append(each)
            continue
        number = int(token.attrs.get("start", 1))
        next_number = number + len(each.items)
        if number == expected:
            before = lists.pop()
            each = Listing(form, before.items + each.items, (before.span[0], span[1]))
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


def _tables(response: str) -> list[Listing]:
    """The tables of ``response``; each row but the header is an item."""
    lists = []
    offsets = line_offsets(response)
    tokens = PARSER.parse(response)
    for position, token in enumerate(tokens):
        if token.type != "tbody_open":
            continue
        rows: list[str] = []
        for inner in itertools.islice(tokens, position + 1, None):
            if inner.type == "tbody_close":
                break
            if inner.type == "tr_open":
                rows.append("")
            elif inner.type == "inline":
                rows[-1] += f" {inner.content}"
        lists.append(Listing("table", tuple(rows), span_of_lines(response, offsets, token.map or [0, 0])))
    return lists


# --- HTML ---


def html_lists(response: str) -> list[Listing]:
    """The lists of HTML elements in ``response``, and its tables where there are no lists.

    End tags are optional, and the elements inside an item or a cell belong to it.
    """
    tags = list(_HTML_TAG.finditer(response))
    return _elements(response, tags, ("ol", "ul"), "li") or _elements(response, tags, ("table",), "tr")


def _elements(
    response: str, tags: Sequence[regex.Match[str]], containers: tuple[str, ...], item: str
) -> list[Listing]:
    lists: list[Listing] = []
    starts: list[int] = []
    depth = first = 0

    def close(end: int) -> None:
        if starts:
            items = [response[start:stop] for start, stop in zip(starts, [*starts[1:], end], strict=True)]
            # A row of header cells is no item.
            kept = [_ANY_TAG.sub(" ", each) for each in items if item == "li" or "<td" in each.lower()]
            lists.append(Listing(f"<{item}>", tuple(kept), (first, end)))
            starts.clear()

    for tag in tags:
        name, ends = tag["name"].lower(), bool(tag["end"])
        if name in containers:
            if ends:
                depth = max(0, depth - 1)
            if depth == 0:
                close(tag.end() if ends else tag.start())
                first = tag.start()
            if not ends:
                depth += 1
        elif name == item and not ends and depth <= 1:
            if not starts and depth == 0:
                first = tag.start()
            starts.append(tag.end())
    close(len(response.rstrip()))
    return [each for each in lists if each.items]


# --- lines ---


def _numbered(text: str, pattern: regex.Pattern[str], form: str) -> list[Listing]:
    """The runs of lines with consecutive markers of the series that begins first."""
    runs = [run for run in _runs(marked_lines(text, pattern)) if len(run) > 1]
    series = min(runs, key=lambda run: run[0].span[0])[0].series if runs else ""
    return [_listing(text, form, run) for run in runs if run[0].series == series]


def _runs(lines: Iterable[Line]) -> list[list[Line]]:
    """``lines`` in runs of consecutive markers; what stands between the lines of a run belongs to its items."""
    runs: list[list[Line]] = []
    for line in lines:
        continued = [
            run
            for run in runs[-_OPEN_RUNS:]
            if run[-1].series == line.series and run[-1].order + 1 == line.order
        ]
        same_indent = [run for run in continued if run[-1].indent == line.indent]
        if continued and line.order > 1:
            run = (same_indent or continued)[-1]
            # The runs of the same series that have begun since are nested.
            at = next(i for i in reversed(range(len(runs))) if runs[i] is run)
            runs[at + 1 :] = [later for later in runs[at + 1 :] if later[0].series != line.series]
            run.append(line)
        elif line.order == 1:
            runs.append([line])
    return runs


def _bulleted(text: str) -> list[Listing]:
    runs: list[list[Line]] = []
    for line in marked_lines(text, BULLETED):
        at = next(
            (
                i
                for i in reversed(range(max(0, len(runs) - _OPEN_RUNS), len(runs)))
                if runs[i][0].series == line.series
                and (i == len(runs) - 1 or runs[i][0].indent == line.indent)
            ),
            None,
        )
        if at is None:
            runs.append([line])
        else:
            del runs[at + 1 :]
            runs[at].append(line)
    lists = [
        _listing(text, "bulleted lines", run) for run in runs if len(run) > 1 and not _are_signs(text, run)
    ]
    return [each for each in lists if not is_dialogue(each.items, dashes=text[each.span[0]] in "–—―‒−")]


def _are_signs(text: str, run: Sequence[Line]) -> bool:
    """Whether the dashes of ``run`` are the signs of numbers: "-5 °C", "-10 °C", but not "-2 eggs", "-1 onion"."""
    if run[0].series not in _DASHES:
        return False
    rest = [text[line.text : line.span[1]] for line in run]
    glued = all(
        text[line.text - 1] in _DASHES and each[0].isdigit() for line, each in zip(run, rest, strict=True)
    )
    return glued and len({_SIGNED.sub("", each).strip() for each in rest}) == 1


def _pictured(text: str) -> list[Listing]:
    """Lines that begin with emoji, be they the same or not.

    Lines next to each other are a list; where no two are, all are one. So a last line "😊 Enjoy!" is no item.
    """
    blocks: list[list[Line]] = []
    for line in marked_lines(text, PICTURED):
        introduces = not blocks and text[: line.span[1]].rstrip().endswith(":")
        if blocks and text[blocks[-1][-1].span[1] : line.span[0]].strip(" \t") == "\n":
            blocks[-1].append(line)
        elif not introduces:
            blocks.append([line])
    several = [block for block in blocks if len(block) > 1]
    if not several and len(blocks) > 1:
        several = [list(itertools.chain.from_iterable(blocks))]
    return [_listing(text, "emoji", block) for block in several]


def _listing(text: str, form: str, run: Sequence[Line]) -> Listing:
    """The list of a run; an item without a text in its line has that of the lines below."""
    items = []
    for line, following in itertools.zip_longest(run, run[1:]):
        item = text[line.text : line.span[1]]
        if not any(map(str.isalnum, item)):
            below = text[line.span[1] : following.span[0] if following else len(text)].strip()
            item = (below if following else below.split("\n\n")[0]) or item
        items.append(item)
    return Listing(form, tuple(items), trim(text, (run[0].span[0], run[-1].span[1])))


def _within_a_line(text: str) -> list[Listing]:
    """Enumerations within lines: "1) … 2) … 3) …"."""
    lists = []
    runs: list[list[regex.Match[str]]] = []
    expected: tuple[str, int] | None = None
    for marker in _INLINE_MARKER.finditer(text):
        place = _inline_place(marker)
        if place == expected:
            runs[-1].append(marker)
        elif place[1] == 1:
            runs.append([marker])
        else:
            continue
        expected = (place[0], place[1] + 1)
    for run in runs:
        if len(run) > 1:
            ends = [*(marker.start() for marker in run[1:]), len(text)]
            items = tuple(text[marker.end() : end] for marker, end in zip(run, ends, strict=True))
            span = (run[0].start(), run[-1].end() + len(items[-1].rstrip()))
            lists.append(Listing("within a line", items, span))
    return lists


def _inline_place(marker: regex.Match[str]) -> tuple[str, int]:
    if marker["number"]:
        return "number", int(marker["number"])
    if marker["circled"]:
        return "number", ord(marker["circled"]) - 0x245F
    alphabet = "abcdefgh" if marker["letter"] < "а" else "абвгдежз"
    return alphabet[0], alphabet.index(marker["letter"]) + 1


# --- offsets ---


def line_offsets(text: str) -> list[int]:
    """The offset at which each line of ``text`` starts, and the length of ``text``."""
    return [0, *(match.end() for match in _LINE_END.finditer(text)), len(text)]


def span_of_lines(text: str, offsets: Sequence[int], lines: Sequence[int]) -> Span:
    """The span of lines [first, last), without spaces at its ends."""
    return trim(text, (offsets[lines[0]], offsets[min(lines[1], len(offsets) - 1)]))
