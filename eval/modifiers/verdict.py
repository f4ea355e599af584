"""What the check of a modifier says about one response."""

from __future__ import annotations

import dataclasses
from typing import Any

from xltjax.eval.text.segmentation import Span


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Two grades with their evidence, or the reason why there is none.

    Attributes:
        state: ``ok``, ``abstain`` (a program cannot decide it) or ``failed:<why>``.
        strict: whether the modifier is fulfilled to the letter; None unless ``state`` is ``ok``.
        loose: whether it is fulfilled for a lenient reader; true whenever ``strict`` is.
        span: character offsets (start, end) of the evidence in the response: what fulfills the modifier or,
            when it is not fulfilled, what breaks it; None where there is nothing to point at.
        detail: the numbers and names behind the verdict, ready for JSON.
    """

    state: str
    strict: bool | None
    loose: bool | None
    span: Span | None
    detail: dict[str, Any]


def decided(strict: bool, loose: bool, span: Span | None = None, **detail: Any) -> Verdict:
    """A verdict with both grades; a strict pass is a loose pass."""
    return Verdict("ok", strict, strict or loose, span, detail)


def abstain(reason: str, span: Span | None = None, **detail: Any) -> Verdict:
    """No verdict, because only a judge can tell."""
    return Verdict("abstain", None, None, span, {"reason": reason, **detail})


def failed(reason: str) -> Verdict:
    """No verdict, because something that the check needs is missing or wrong."""
    return Verdict(f"failed:{reason}", None, None, None, {})
