"""The check for the modifier "begin each point with the sign -->"."""

from __future__ import annotations

from collections.abc import Iterator

import regex

from xltjax.eval.modifiers.verdict import Verdict, decided
from xltjax.eval.text.segmentation import Span

# The sign asked for, its look-alikes of dashes, and arrows to the right as characters, HTML and LaTeX.
_SIGN = (
    r"(?:(?:[-–—=]{1,4}|-- )\\?(?:>|&gt;)"
    r"|[→⇒⇾⇨⟶⟹⟾➔➙➛➜➝➞➟➠➡➢➣➤➥➦➨➩➪➫➬➭➮➯➱➲➳➵➸➺➻➼➽➾⮕\U0001f846\U0001f852]\uFE0F?"
    r"|&(?:rarr|rArr|\#8594|\#x2192);|\$?\\(?:(?:long)?rightarrow|Rightarrow|to)\b\$?)"
)
_ARROW = regex.compile(
    rf"(?P<lead>[ \t>]*(?:(?:[-*+•·]|\(?\p{{Nd}}{{1,3}}[.)])[ \t]+)?[*_`]{{0,3}})(?P<sign>{_SIGN})[*_`]{{0,3}}"
    r"[ \t]*(?P<text>.*\S.*)"
)
_INNER_ARROW = regex.compile(rf"(?<=\s){_SIGN}(?=\s*\S)")
_MARKED = regex.compile(r"(?P<indent>[ \t]*)(?:[-*+•·‣▪●–—][ \t]+|\(?\p{Nd}{1,3}[.)][ \t]+|\p{L}\)[ \t]+)\S")
_HEADING = regex.compile(r"[ \t]*(?:#{1,6}[ \t].*|(\*\*|__).*\1:?|.*:[*_]{0,3})[ \t]*")
_COMMENT = regex.compile(r"(?s)<!--.*?(?:-->|\Z)")
_ANY_WORD = regex.compile(r"[\p{L}\p{N}]")
# A line that is at least this long was wrapped, so that the next one continues it.
_WRAPPED = 60


def arrow(response: str) -> Verdict:
    """Whether every point of ``response`` begins with the sign -->.

    Points are the lines that begin with an arrow, a bullet or a number, and the paragraphs between arrows, but
    not headings and wrapped lines. Both grades require two arrows or more, no unindented bullet or number without
    an arrow, and no more other lines than arrows. Strict: each point begins with exactly ``-->``. Loose: the sign
    may be any arrow to the right (–> —-> => → ⇒ ➔ ➡️), it may follow a bullet or number or be in bold,
    indented bullets and paragraphs between the arrows need no sign, and several points may share one line.
    """
    text = _COMMENT.sub(lambda comment: regex.sub(r"[^\n]", " ", comment.group()), response)
    arrows: list[Span] = []
    bare: list[Span] = []  # bullets and numbers without an arrow
    between: list[Span] = []  # other lines between arrows
    around: list[Span] = []  # other lines before the first and after the last arrow
    exact = True
    for span, line, continues in _lines(text):
        match = _ARROW.fullmatch(line)
        marked = _MARKED.match(line)
        if match is not None:
            if arrows:
                between, around = between + around, []
            else:
                framing, around = around, []
            arrows.append(span)
            exact &= match["sign"] == "-->" and not match["lead"].strip()
        elif _HEADING.fullmatch(line) or (continues and arrows and marked is None):
            continue
        elif marked is not None and not (arrows and marked["indent"]):
            bare.append(span)
        else:
            around.append(span)
    signs = len(arrows)
    if signs == 1:
        signs += len(_INNER_ARROW.findall(text, *arrows[0]))
    others = len(between) + len(around) + (len(framing) if arrows else 0)
    counts = {"arrows": signs, "bare_points": len(bare), "other_lines": others, "exact": exact and signs > 0}
    if signs < 2 or bare or others > signs:
        return decided(False, False, next(iter(bare + between), None), **counts)
    return decided(exact and not between and len(arrows) > 1, True, (arrows[0][0], arrows[-1][1]), **counts)


def _lines(text: str) -> Iterator[tuple[Span, str, bool]]:
    """Each line with a letter or digit: its span, its text, and whether it seems to continue the line before."""
    start, previous = 0, ""
    for line in text.split("\n"):
        stripped = line.rstrip()
        if _ANY_WORD.search(line) and not stripped.lstrip().startswith(("```", "~~~")):
            first = stripped.lstrip()[0]
            wrapped = len(previous) >= _WRAPPED or first.islower() or stripped != stripped.lstrip()
            yield (start, start + len(stripped)), stripped, bool(previous) and wrapped
        previous = stripped
        start += len(line) + 1
