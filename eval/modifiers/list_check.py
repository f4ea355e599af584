"""The check for the modifier "list N options"."""

from __future__ import annotations

from collections.abc import Iterable

from xltjax.eval.modifiers.lists import find_lists
from xltjax.eval.modifiers.verdict import Verdict, abstain, decided, failed


def list_n(response: str, n: int, most: int | None = None) -> Verdict:
    """Whether ``response`` lists exactly ``n`` options, or from ``n`` to ``most``.

    Strict: there is one list. It is a list of Markdown or HTML at the top level (lists inside an item do not count,
    and numbered items with paragraphs between them are one list) or, without one, lines that begin with a number,
    a letter, a bullet or an emoji, or the rows of a table. Loose: there may also be several lists with ``n`` items
    together, one numbered list of ``n`` beside others, or "1) … 2) …" within a line. In both, an item that is empty
    or repeats another is not an option. The program abstains without any enumeration ("red, blue and green", also
    the turns of a dialogue), and when there are ``n`` lists with another number of items in all, which may be the
    descriptions of the options.

    Args:
        response: the answer.
        n: how many options were asked for, from 1.
        most: the upper end of a range such as "3 to 5 options"; None for exactly ``n``.
    """
    if n < 1:
        return failed(f"n must be at least 1, not {n}")
    if most is not None and most < n:
        return failed(f"the most options must be at least {n}, not {most}")
    wanted = range(n, (n if most is None else most) + 1)
    shown = n if most is None else f"{n}-{most}"
    lists = find_lists(response)
    if not lists:
        return abstain("no list found: for the judge", wanted=shown)
    items = [item for each in lists for item in each.items]
    numbers = {"wanted": shown, "found": len(items), "distinct": _distinct(items), "lists": len(lists)}
    span = (lists[0].span[0], lists[-1].span[1])
    numbered = [each.items for each in lists if each.form == "numbers"]
    loose = len(items) == _distinct(items) and len(items) in wanted
    loose |= len(numbered) == 1 and len(numbered[0]) == _distinct(numbered[0]) and len(numbered[0]) in wanted
    if not loose and len(lists) in wanted and len(lists) > 1:
        return abstain("as many lists as options were asked for: for the judge", span, **numbers)
    strict = loose and len(lists) == 1 and lists[0].form != "within a line"
    return decided(strict, loose, span, form=lists[0].form, **numbers)


def _distinct(items: Iterable[str]) -> int:
    """How many of ``items`` differ in their letters and digits, or else in their symbols; empty ones do not count."""
    folded = {"".join(filter(str.isalnum, item.casefold())) or item.strip() for item in items}
    return len(folded - {""})
