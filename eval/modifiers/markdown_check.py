"""The check for the modifier "use Markdown formatting in your answer"."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import regex
from markdown_it.token import Token

from xltjax.eval.modifiers.lists import PARSER, line_offsets, markdown_lists, span_of_lines
from xltjax.eval.modifiers.verdict import Verdict, decided
from xltjax.eval.text.segmentation import Span

_BLOCK_NAMES = {
    "heading_open": "heading",
    "fence": "code",
    "table_open": "table",
    "blockquote_open": "quote",
}
_INLINE_NAMES = {
    "strong_open": "strong",
    "em_open": "emphasis",
    "s_open": "strikethrough",
    "code_inline": "code",
    "link_open": "link",
    "image": "link",
}
_EMPHASIS = ("strong_open", "em_open", "s_open")

# A shorter rule under a line closes a letter ("--") or parts a text ("---").
_SHORTEST_UNDERLINE = {"-": 4, "=": 3}
_PYTHON_NAMES = """
abs add all and annotations author await bases bool bytes call class closure code complex contains debug
defaults del delattr delete delitem dict dir dirname doc enter eq exit file filename float floordiv format
func ge get getattr getattribute getitem getstate globals gt hash iadd import index init int invert iter le
len line lshift lt main mod module mul name ne neg new next or path post pow proto qualname radd reduce repr
reversed round self set setattr setitem setstate sizeof slots str sub subclasses super truediv version weakref
xor
"""
_DUNDER = frozenset(_PYTHON_NAMES.split())
# Emphasis that CommonMark refuses because a letter follows or precedes it, beside a mark that it encloses:
# "роман**«Идиот»**", "**Note:**text", "これは**「強調」**です".
_TOUCHING = regex.compile(
    r"(?<![*_\\])(?P<mark>\*{1,3})(?:[«»„“‹›「『（《【][^*\n]{1,300}(?<!\s)|\p{L}[^*\n]{0,300}[«»“”‹›」』）》】]"
    r"|(?<![\p{L}\p{N}]\*{1,3})\p{L}[^*\n]{0,300}[:.!?…：。！？])(?P=mark)(?!\*)"
)


def markdown(response: str) -> Verdict:
    """Whether ``response`` uses Markdown.

    Strict: it has at least one heading, strong, emphasized or struck-out phrase, code span or fence, table, block
    quote, link or image. Loose: a list of two or more items is enough, which ordinary answers have too (see the
    placebo rate). What nobody means as Markdown does not count: emphasis inside a word ("2*3=6 and 4*5=20") or
    around no word, names of Python such as ``__init__``, addresses in angle brackets (``<a@b>``), a rule of one to
    three dashes under a line, as above a signature, and indented code.

    The detail's ``grade`` is ``rich``, ``list-only`` or ``none``; ``features`` counts what was found.
    """
    tokens = PARSER.parse(response)
    offsets = line_offsets(response)
    features: dict[str, int] = {}
    first: Span | None = None
    for position, token in enumerate(tokens):
        names = []
        if token.type in _BLOCK_NAMES and _is_meant(response, offsets, tokens, position):
            names.append(_BLOCK_NAMES[token.type])
        names += _inline_names(token.children or [])
        for name in names:
            features[name] = features.get(name, 0) + 1
        if names and first is None and token.map:
            first = span_of_lines(response, offsets, token.map)
    if features:
        return decided(True, True, first, grade="rich", features=features)
    lists = [each for each in markdown_lists(response) if len(each.items) >= 2]
    if lists:
        return decided(False, True, lists[0].span, grade="list-only", features={"list": len(lists)})
    return decided(False, False, grade="none", features={})


def _is_meant(response: str, offsets: Sequence[int], tokens: Sequence[Token], position: int) -> bool:
    """Whether the block at ``position`` is no line that happens to stand above a short rule."""
    token = tokens[position]
    shortest = _SHORTEST_UNDERLINE.get(token.markup[:1]) if token.type == "heading_open" else None
    if shortest is None:
        return True
    start, stop = span_of_lines(response, offsets, token.map or [0, 0])
    lines = response[start:stop].splitlines()
    # A heading has one line; a longer passage above a rule is text.
    return len(lines) == 2 and len(lines[-1].strip(" \t>")) >= shortest


def _inline_names(children: Sequence[Token]) -> Iterator[str]:
    """The names of the inline markup of ``children`` that is meant as such."""
    before = ""
    for position, child in enumerate(children):
        if child.type == "text":
            yield from ("emphasis" for _ in _TOUCHING.finditer(child.content))
        if child.type in _EMPHASIS:
            if not before[-1:].isalnum() and _emphasizes(children, position):
                yield _INLINE_NAMES[child.type]
        elif child.type == "link_open":
            address = str(child.attrs.get("href", ""))
            if not (child.markup == "autolink" and address.startswith("mailto:")):
                yield "link"
        elif child.type in _INLINE_NAMES:
            yield _INLINE_NAMES[child.type]
        if child.type in ("text", "code_inline"):
            before = child.content
        elif child.type in ("softbreak", "hardbreak"):
            before = ""


def _emphasizes(children: Sequence[Token], position: int) -> bool:
    """Whether the emphasis that opens at ``position`` encloses words, and not the name ``__init__``."""
    opening = children[position]
    content = ""
    end = position + 1
    while end < len(children) and children[end].level >= opening.level + 1:
        content += children[end].content
        end += 1
    if opening.markup == "__" and (content in _DUNDER or _follows(children, end).startswith("(")):
        return not content.replace("_", "a").isidentifier()
    # "SELECT *, count(*)": no phrase begins with a comma.
    return any(map(str.isalnum, content)) and content[0] not in ",;:)]}"


def _follows(children: Sequence[Token], end: int) -> str:
    return children[end + 1].content if end + 1 < len(children) else ""
