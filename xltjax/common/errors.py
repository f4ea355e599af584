"""The exception for a user's mistakes, and hints that name what was probably meant."""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Callable, Iterable
from typing import ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class UserError(Exception):
    """A mistake that the user can fix.

    The message is one line that says what is wrong and what to do. Commands print it as
    ``error: <message>`` and exit with code 2 (see ``xltjax.common.cli``).
    """


def for_python(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Let the messages of ``function`` name arguments, not flags: ``base=`` for ``--base``, ``mesh="2x1"`` for
    ``--mesh 2x1``.
    """

    @functools.wraps(function)
    def called(*arguments: Arguments.args, **named: Arguments.kwargs) -> Result:
        try:
            return function(*arguments, **named)
        except UserError as problem:
            said = re.sub(r"--([a-z][a-z-]*)(?: (\d\w*|[\w.]+=[^\s;]+))?", _as_argument, str(problem))
            raise type(problem)(said) if said != str(problem) else problem from None

    return called


def _as_argument(flag: re.Match[str]) -> str:
    """A flag, with its value where that has digits or a sign of equality, as Python writes it."""
    value = flag[2] or ""
    return flag[1].replace("-", "_") + "=" + (value if value.isdigit() or not value else f'"{value}"')


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """A hint that names the valid name nearest to ``name``, or all valid names when none is near.

    A name is near when a valid one begins with it, or else is spelled similarly; or else when it begins with a valid
    one, or abbreviates its words by their initials, as ``--lr`` does ``--learning-rate``.
    """
    valid = sorted(valid)
    words = {each.strip("-"): each for each in valid}
    given = name.strip("-")
    longer = [
        each for word, each in words.items() if len(given) > 2 and word.lower().startswith(given.lower())
    ]
    near = [words[each] for each in difflib.get_close_matches(given, words, n=1, cutoff=0.65)]
    near = longer[:3] or near or [each for word, each in words.items() if _abbreviates(given, word)]
    return f"did you mean {' or '.join(map(repr, near))}?" if near else f"valid: {', '.join(valid)}"


def _abbreviates(name: str, whole: str) -> bool:
    shorter, longer = sorted((name, whole), key=len)
    initials = "".join(word[:1] for word in re.split("[-_]", whole))
    return (len(shorter) > 2 and longer.startswith(shorter)) or (len(name) > 1 and name == initials)


def first_line(problem: BaseException) -> str:
    """The first line of what another library's exception says; the name of its type when it says nothing."""
    return str(problem).splitlines()[0] if str(problem) else type(problem).__name__
