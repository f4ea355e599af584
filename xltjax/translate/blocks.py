"""Where a text has words to translate: the bodies of its lines, without markers, frames and blocks of code.

A line is a unit of its own, as in lists, dialogues, addresses and verse. Only a hard-wrapped paragraph is one unit
over several lines. It is one when every line but the last is so full that the next word would not have fitted, its
longest line has 45 to 120 characters, and at least a third of its line ends stand inside a sentence: no mark of an
end before them, a small letter after them. Verse fails the first condition, since its lines end where the verse ends.
Chinese, Japanese and Thai, which have no small letters, are always translated line by line.

Copied are: fenced code (to the end where the fence is not closed), indented code, lines that only a program has,
``<script>``, ``<style>``, ``<pre>``, ``<code>`` and comments, displayed formulas, the frames of tables, and in
front of a line the signs of quotations, headings, list items (nested or not) and check boxes. The cells of a table,
of lines with tabs, and of columns set with three spaces or more, are units of their own.
Fenced text is copied even if it is prose, since a fence says "verbatim", except where it is said to be Markdown.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import regex

from xltjax.eval.text.fences import MARKDOWN, fence_name, mostly_words
from xltjax.translate.copied import Span, copied_spans
from xltjax.translate.program_lines import program_line, sign_of_code

_ENDS = r"\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029"
_LINE = regex.compile(rf"([^{_ENDS}]*+)(\r\n|[{_ENDS}]|\Z)")
_END = regex.compile(rf"[{_ENDS}]")
_QUOTE = r"(?:[ \t]{0,3}>[ \t]?)*+"
_FENCE = regex.compile(
    rf"(?P<quote>{_QUOTE})[ \t]*+(?:(?:[-*+•]|\d{{1,3}}[.)])[ \t]+)?(?P<fence>`{{3,}}+|~{{3,}}+)(?P<info>[^`]*+)$"
)
_DEEPEST = 2  # fences of Markdown in fences of Markdown

_ROMAN = r"x{0,3}(?:ix|iv|v?i{0,3})(?<=[ivx])|X{0,3}(?:IX|IV|V?I{0,3})(?<=[IVX])"
_LETTER = rf"(?:{_ROMAN}|[\p{{Latin}}\p{{Greek}}\p{{Cyrillic}}])"
_MARKER = (
    r"(?:[•·∙・●○◦▪▫■□◆◇►▶‣⁃➢➤→➔➜⇒☐☑☒]\uFE0F?(?=[ \t]|[^\s•·∙・●○◦▪▫■□◆◇►▶‣⁃➢➤→➔➜⇒])"
    r"|[*+](?=[ \t]|$)|[-–—](?=[ \t]|\p{L}|$)"
    r"|(?:\p{Nd}{1,3}(?:\.\p{Nd}{1,3}){0,5}\\?[.)](?=[ \t]|$)|\p{Nd}{1,2}[.)](?=\p{L}))"
    r"|\p{Nd}{1,3}[、．]|[(（]\p{Nd}{1,3}[)）]|\[\p{Nd}{1,3}\](?=[ \t])|[\u2460-\u249b\u24eb-\u24fe\u2776-\u2793]"
    rf"|(?:\(?{_LETTER}\)|{_LETTER}\.)(?=[ \t])"
    r"|\[[ xX✓✔]\](?=[ \t])|>)"
)
_PREFIX = regex.compile(rf"\s*+(?:{_MARKER}\s*+){{0,8}}+(?:\#{{1,6}}\s++(?:{_MARKER}\s*+)?+)?\s*+")
_ITEM = regex.compile(rf"[ \t]*+(?:{_MARKER}[ \t]*+)")
_HEADING = regex.compile(r"\s*+(?:>\s?)*+\#{1,6}\s")
_CLOSING = regex.compile(r"\s#++\s*+\Z")
_DELIMITER = regex.compile(r"\s*+(?:>\s*+)*+\|?\s*+:?-+:?\s*+(?:\|\s*+:?-+:?\s*+)*+\|?\s*+\Z")
_PIPE = regex.compile(r"(?<!\\)\||[\u2500-\u257f]+")
_COLUMNS = regex.compile(r"\t+|[^\S\n\r]{3,}+")

# Constructs that may span lines. Inline code is matched first, because a tag in it opens nothing.
_OPENING = regex.compile(
    r"`[^`\n]{1,1000}`|(?P<html><(?P<tag>script|style|pre|code|textarea|svg|math)\b[^<>]{0,1000}>)|(?P<comment><!--)"
    r"|(?P<dollars>(?<!\\)\$\$)|(?P<square>(?<!\\)\\\[)"
    r"|\\begin\{(?P<environment>(?:equation|align|gather|multline|eqnarray|math|displaymath|split|cases|array|tabular"
    r"|[bpvBV]?matrix|verbatim|lstlisting|tikzpicture|flalign|alignat)\*?)\}",
    regex.IGNORECASE,
)
_FORMULA = regex.compile(r"[\\^_=+<>{|\d]")
_LONGEST_FORMULA = 5000
_LONGEST_INLINE = 2000

_TAB = 4
_CODE_INDENT = 4
LEAST_WIDTH, LARGEST_WIDTH = 45, 120  # of a hard-wrapped paragraph
_WORD = regex.compile(r"\s*(\S+)")
_STARTS_SMALL = regex.compile(r"\s*[\"'(«“„]?\p{Ll}")
_ENDS_SENTENCE = regex.compile(r"[.!?…:;。！？][\"'”’»)\]*_]*\s*\Z")


class Line(NamedTuple):
    """One line of a text: its offsets without its line end, the columns of its indentation, and its body."""

    start: int
    stop: int
    indent: int
    body: Span


def units(text: str) -> list[Span]:
    """The spans of ``text`` that are translated each by itself, in order, with some edges still to be trimmed.

    Time is linear in the length of ``text``.
    """
    found: list[Span] = []
    for start, stop in _outside_fences(text, 0, len(text)):
        for inner in _outside_blocks(text, start, stop):
            found += _units_of_lines(text, *inner)
    return found


def _lines(text: str, start: int, stop: int) -> Iterator[Span]:
    for match in _LINE.finditer(text, start, stop):
        yield match.span(1)
        if match.end() == stop:
            return


def _outside_fences(text: str, start: int, stop: int, depth: int = 0) -> Iterator[Span]:
    """The stretches between fenced blocks, and the inside of those that say they are Markdown."""
    opened: regex.Match[str] | None = None
    since = inside = start
    for line_start, line_stop in _lines(text, start, stop):
        fence = _FENCE.match(text, line_start, line_stop)
        if opened is not None:
            quoted = ">" not in opened["quote"] or text[line_start:line_stop].lstrip().startswith(">")
            closes = not quoted or (
                fence is not None and not fence["info"].strip() and fence["fence"].startswith(opened["fence"])
            )
            if not closes:
                continue
            if depth < _DEEPEST and fence_name(opened["info"]) in MARKDOWN:
                yield from _outside_fences(text, inside, line_start, depth + 1)
            opened = None
            since = line_stop if quoted else line_start
            if quoted:
                continue
        if fence is not None:
            yield since, line_start
            opened, inside = fence, line_stop
    if opened is None:
        yield since, stop
    elif depth < _DEEPEST and fence_name(opened["info"]) in MARKDOWN:
        yield from _outside_fences(text, inside, stop, depth + 1)


def _outside_blocks(text: str, start: int, stop: int) -> Iterator[Span]:
    """The stretches between blocks of HTML that have no prose, comments and displayed formulas."""
    closings = _Closings(text[start:stop], start)
    since = position = start
    while (opening := _OPENING.search(text, position, stop)) is not None:
        position = opening.end()
        end = _end_of_block(text, opening, closings)
        if end is not None:
            yield since, opening.start()
            since = position = end
    yield since, stop


def _end_of_block(text: str, opening: regex.Match[str], closings: _Closings) -> int | None:
    """Where the block that ``opening`` begins ends; None where it opens none or is not closed."""
    inside = opening.end()
    if opening["html"]:
        closing = f"</{opening['tag'].lower()}>"
        end = closings.find(closing, inside)
    elif opening["comment"]:
        end = closings.find(closing := "-->", inside)
    elif opening["environment"]:
        closing = f"\\end{{{opening['environment'].lower()}}}"
        end = closings.find(closing, inside)
    elif opening["dollars"] or opening["square"]:
        closing = "$$" if opening["dollars"] else "\\]"
        end = closings.find(closing, inside)
        if end - inside > _LONGEST_FORMULA or _FORMULA.search(text, inside, max(end, inside)) is None:
            return None
    else:
        return None
    if end < 0:
        return None
    stop = end + len(closing)
    # Short ones within a line are found with the sentence in which they stand (``copied``).
    return stop if stop - opening.start() > _LONGEST_INLINE or _END.search(text, inside, end) else None


class _Closings:
    """Finds what closes a block, in small letters, without reading any part of the text twice for the same."""

    def __init__(self, text: str, offset: int) -> None:
        # Some capitals, such as İ, become two characters, which would move all that follows.
        lower = text.lower()
        self._text = lower if len(lower) == len(text) else text
        self._offset = offset
        self._next: dict[str, tuple[int, int]] = {}

    def find(self, closing: str, start: int) -> int:
        """The first place of ``closing`` from ``start`` on; -1 where there is none."""
        since, place = self._next.get(closing, (-1, 0))
        if since < 0 or (0 <= place < start):
            place = self._text.find(closing, start - self._offset)
            place += self._offset if place >= 0 else 0
            self._next[closing] = (start, place)
        return place


def _units_of_lines(text: str, start: int, stop: int) -> Iterator[Span]:
    """The units of a stretch without fences and blocks."""
    run: list[Line] = []
    item = 0  # the column where the text of the last list item begins
    for line_start, line_stop in _lines(text, start, stop):
        content = text[line_start:line_stop]
        if not content.strip():
            if run:
                item = _list_column(text, run, item)
                yield from _units_of_run(text, run, item)
            run = []
            continue
        indent = _columns(content[: len(content) - len(content.lstrip())])
        prefix = _PREFIX.match(text, line_start, line_stop)
        assert prefix is not None  # it may be empty
        end = line_stop
        if "#" in content and _HEADING.match(content) and (closing := _CLOSING.search(content)):
            end = line_start + closing.start()
        run.append(Line(line_start, line_stop, indent, (prefix.end(), max(end, prefix.end()))))
    if run:
        yield from _units_of_run(text, run, _list_column(text, run, item))


def _columns(blanks: str) -> int:
    return len(blanks.expandtabs(_TAB))


def _list_column(text: str, run: list[Line], item: int) -> int:
    """The column of the list that ``run`` belongs to; 0 where its first line is indented less than that."""
    if run[0].indent < item:
        item = 0
    for line in run:
        if line.indent < item + _CODE_INDENT and _ITEM.match(text, line.start, line.stop):
            item = line.indent + 2
    return item


def _units_of_run(text: str, run: list[Line], item: int) -> Iterator[Span]:
    """The units of consecutive lines that are not space."""
    code = _code_lines(text, run, item)
    table = any("|" in text[line.start : line.stop] and _is_delimiter(text, line) for line in run)
    wrapped: list[Line] = []
    for number, line in enumerate(run):
        plain = False
        if not code[number]:
            cells = list(_cells(text, line, table))
            plain = cells == [line.body]
            # A paragraph continues in lines that begin with its text or with spaces.
            if not plain or text[line.start : line.body[0]].strip():
                yield from _paragraph(text, wrapped)
                wrapped = []
            if not plain:
                yield from cells
        if plain:
            wrapped.append(line)
        if code[number] or _HEADING.match(text, line.start, line.stop):
            yield from _paragraph(text, wrapped)
            wrapped = []
    yield from _paragraph(text, wrapped)


def _code_lines(text: str, run: list[Line], item: int) -> list[bool]:
    """Which lines of ``run`` are code."""
    lines = [text[line.start : line.stop] for line in run]
    code = [program_line(content) for content in lines]
    # Indented code of Markdown starts after a blank line.
    indented = 0
    while indented < len(run) and run[indented].indent >= item + _CODE_INDENT:
        indented += 1
    if indented and not _ITEM.match(lines[0]):
        block = "\n".join(lines[:indented])
        if any(code[:indented]) or (sign_of_code(block) and not mostly_words(block)):
            code[:indented] = [True] * indented
    # What stands next to code, and is indented or has a sign of code, is code too unless it is prose.
    for number in range(1, len(run)):
        deeper = run[number].indent > 0 and run[number].indent >= run[number - 1].indent
        if code[number - 1] and not code[number] and not _ITEM.match(lines[number]):
            code[number] = (deeper or sign_of_code(lines[number])) and not mostly_words(lines[number])
    return code


def _is_delimiter(text: str, line: Line) -> bool:
    return _DELIMITER.match(text, line.start, line.stop) is not None


def _cells(text: str, line: Line, table: bool) -> Iterator[Span]:
    """The cells of a line: between the bars of a table, tabs and wide gaps."""
    start, stop = line.body
    content = text[start:stop]
    bars = list(_PIPE.finditer(content))
    if not (table or len(bars) > 1 or (bars and not content[: bars[0].start()].strip())):
        bars = []
    cuts = sorted([*(bar.span() for bar in bars), *(gap.span() for gap in _COLUMNS.finditer(content))])
    if cuts:
        cuts = _outside(cuts, copied_spans(content))
    position = 0
    for cut_start, cut_stop in cuts:
        if content[position:cut_start].strip():
            yield start + position, start + cut_start
        position = cut_stop
    if position == 0 or content[position:].strip():
        yield start + position, stop


def _outside(cuts: list[Span], copied: list[Span]) -> list[Span]:
    """Those of ``cuts`` that do not stand inside a copied span; both are in order."""
    kept = []
    number = 0
    for cut in cuts:
        while number < len(copied) and copied[number][1] <= cut[0]:
            number += 1
        if number == len(copied) or not copied[number][0] < cut[0] < copied[number][1]:
            kept.append(cut)
    return kept


def _paragraph(text: str, lines: list[Line]) -> Iterator[Span]:
    """One unit for a hard-wrapped paragraph, or one for each line."""
    if _hard_wrapped(text, lines):
        yield lines[0].body[0], lines[-1].body[1]
    else:
        yield from (line.body for line in lines)


def _hard_wrapped(text: str, lines: list[Line]) -> bool:
    if len(lines) < 2:
        return False
    contents = [text[line.start : line.stop].expandtabs(_TAB).rstrip() for line in lines]
    widths = list(map(len, contents))
    width = max(widths)
    if not LEAST_WIDTH <= width <= LARGEST_WIDTH:
        return False
    inside = 0
    for number in range(len(lines) - 1):
        following = contents[number + 1]
        word = _WORD.match(following)
        if word is None or widths[number] + 1 + len(word[1]) <= width:
            return False
        ends = _ENDS_SENTENCE.search(contents[number][-12:])
        inside += not ends and _STARTS_SMALL.match(following) is not None
    return 3 * inside >= len(lines) - 1
