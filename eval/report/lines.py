"""Which line of an answer is in which language, from the passages that ``line_language`` lists."""

from __future__ import annotations

from collections.abc import Sequence

from xltjax.eval.language import EXCERPT
from xltjax.eval.report.content import Passage

_FENCES = ("```", "~~~")
_SHORTEST = 8  # letters and digits that tell a line from others


def line_languages(response: str, passages: Sequence[Passage]) -> list[str]:
    """The language of every line of ``response``; empty for blank lines and for those that no passage names.

    A passage is a long line, or short lines joined, and only its beginning is known. Lines and passages come in one
    order, so each line is sought from the passage of the line before on. A short line after the beginning of joined
    lines belongs to the same passage, unless it stands in a fence.

    Args:
        response: the whole answer.
        passages: those of the answer, in order.
    """
    read = [_plain(passage.text) for passage in passages]
    cut = [len(passage.text) >= EXCERPT for passage in passages]
    found: list[str] = []
    place, joined, fenced = 0, False, False
    for line in response.split("\n"):
        text = _plain(line)
        if line.lstrip().startswith(_FENCES):
            fenced, text = not fenced, ""
        match = _find(text, read, place) if text else None
        if match is not None:
            place, joined = match, cut[match] and len(text) < len(read[match])
        elif not (text and joined and not fenced and len(line.strip()) < EXCERPT):
            found.append("")
            continue
        found.append(passages[place].language)
    return found


def _find(line: str, passages: Sequence[str], place: int) -> int | None:
    # A line of a few letters may stand anywhere, and must not lead past the passages between.
    end = len(passages) if len(line) >= _SHORTEST else place + 1
    for number in range(place, min(end, len(passages))):
        passage = passages[number]
        if line in passage or (len(passage) >= _SHORTEST and passage in line):
            return number
        # Of either only a beginning may be in the other: the passage is cut, and markup was taken out of it.
        common = min(len(line), len(passage), 3 * _SHORTEST)
        if common >= _SHORTEST and (line.startswith(passage[:common]) or line[:common] in passage):
            return number
        # The end of a passage that was cut may hold the beginning of a line.
        if any(passage.endswith(line[:size]) for size in range(_SHORTEST, min(len(line), len(passage)))):
            return number
    return None


def _plain(text: str) -> str:
    """Only letters and digits, in one case: marks, spaces and most markup do not count."""
    return "".join(filter(str.isalnum, text)).casefold()
