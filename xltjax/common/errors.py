"""The exception for a user's mistakes, and hints that name what was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake that the user can fix.

    The message is one line that says what is wrong and what to do. Commands print it as
    ``error: <message>`` and exit with code 2 (see ``xltjax.common.cli``).
    """


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """A hint that names the valid name nearest to ``name``, or all valid names when none is near."""
    valid = sorted(valid)
    near = difflib.get_close_matches(name, valid, n=1, cutoff=0.6)
    return f"did you mean {near[0]!r}?" if near else f"valid: {', '.join(valid)}"


def first_line(problem: BaseException) -> str:
    """The first line of what another library's exception says; the name of its type when it says nothing."""
    return str(problem).splitlines()[0] if str(problem) else type(problem).__name__
