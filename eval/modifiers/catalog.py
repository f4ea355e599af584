"""The eleven task modifiers of the paper (section 3, Table 1) and their checks.

Seven are checked by program, one relative to the model's own unmodified answer, and three are for a judge only.
A check is a pure function of the answer, the modifier's parameters and the language. Nothing in it is random, and
an unknown modifier, a missing parameter or an empty answer never passes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

from xltjax.common.errors import UserError, did_you_mean
from xltjax.common.languages import language_code
from xltjax.eval.language import Identify, LanguageIdentifier
from xltjax.eval.modifiers.arrow_check import arrow
from xltjax.eval.modifiers.capitals_check import capitalize
from xltjax.eval.modifiers.html_check import html_page
from xltjax.eval.modifiers.list_check import list_n
from xltjax.eval.modifiers.markdown_check import markdown
from xltjax.eval.modifiers.text_checks import answer_in, briefly, detailed
from xltjax.eval.modifiers.verdict import Verdict, abstain, decided, failed
from xltjax.eval.scores import Unavailable
from xltjax.eval.text.segmentation import is_empty

# Raise it when a verdict of any check changes, also by a change in ``markup``, ``segmentation`` or
# ``data.released``: the journal of ``modifiers`` then starts over. So does it with ``language.LANGUAGE_VERSION``,
# on which the check of answer_in depends.
MODIFIERS_VERSION = 4

Kind = Literal["program", "relative", "judge"]


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a check may look at.

    Attributes:
        response: the text of the answer.
        language: ISO 639-1 code of the language that the answer should be in.
        params: the parameters of the modifier: ``n`` for list_n, ``language`` for answer_in.
        truncated: whether generation stopped at the token limit.
        own: the same model's answer to the instruction without the modifier, when there is one.
        identify: identifies the language of a text, or says why this cannot be done.
        failure: why there is no answer (``Response.failure``); empty when there is one.
    """

    response: str
    language: str = ""
    params: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    truncated: bool = False
    own: Answer | None = None
    identify: Identify | Unavailable = Unavailable("no language identification")
    failure: str = ""

    def compared(self) -> Answer | None:
        """``own``, or None when the model did not give that answer."""
        return None if self.own is None or self.own.failure else self.own


@dataclasses.dataclass(frozen=True)
class Modifier:
    """One task modifier.

    Attributes:
        kind: who can check it: a program, a program that has the unmodified answer, or only a judge.
        asks: the instruction in English, as the paper words it.
        check: grades an answer that is not empty.
        placebo: whether the check means something for the unmodified answer.
        param: the name of the parameter that the modifier needs; empty when it needs none.
    """

    kind: Kind
    asks: str
    check: Callable[[Answer], Verdict]
    placebo: bool = True
    param: str = ""


def _briefly(answer: Answer) -> Verdict:
    own = answer.compared()
    return briefly(answer.response, answer.language, answer.truncated, own.response if own else None)


def _detailed(answer: Answer) -> Verdict:
    own = answer.compared()
    if own is None:
        return detailed(answer.response, answer.truncated, None, False)
    return detailed(answer.response, answer.truncated, own.response, own.truncated)


def _list_n(answer: Answer) -> Verdict:
    n = _whole_number(answer.params.get("n"))
    if n is None:
        return failed("list_n needs params.n, a whole number from 1")
    if answer.params.get("most") is None:
        return list_n(answer.response, n)
    most = _whole_number(answer.params["most"])
    if most is None or most < n:
        return failed("params.most of list_n must be a whole number from params.n")
    return list_n(answer.response, n, most)


def _whole_number(value: Any) -> int | None:
    """``value``, or the number that its text is, if it is whole and at least 1."""
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 1 else None


def _answer_in(answer: Answer) -> Verdict:
    try:
        target = language_code(str(answer.params["language"]))
    except (KeyError, UserError):
        return failed("answer_in needs params.language, a code such as 'fr'")
    if isinstance(answer.identify, LanguageIdentifier) and target not in answer.identify.languages:
        return failed(f"the language model does not know {target!r}")
    return answer_in(answer.response, target, answer.identify, answer.truncated)


def _for_the_judge(_: Answer) -> Verdict:
    return abstain("for the judge")


MODIFIERS: dict[str, Modifier] = {
    "briefly": Modifier("program", "Answer briefly in just a few sentences.", _briefly),
    "detailed": Modifier("relative", "Give a detailed answer.", _detailed, placebo=False),
    "list_n": Modifier("program", "List N options.", _list_n, param="n"),
    "answer_in": Modifier("program", "Answer in X language.", _answer_in, param="language"),
    "markdown": Modifier(
        "program", "Use markdown formatting in your answer.", lambda a: markdown(a.response)
    ),
    "html_page": Modifier("program", "Format your answer as an html page.", lambda a: html_page(a.response)),
    "arrow": Modifier("program", "Begin each point with the sign -->", lambda a: arrow(a.response)),
    "capitalise": Modifier(
        "program",
        "Capitalize each first letter in the answer.",
        lambda a: capitalize(a.response, a.language),
    ),
    "scientific": Modifier("judge", "Write in a scientific style.", _for_the_judge, placebo=False),
    "simple": Modifier("judge", "Use simple words, easy for a child.", _for_the_judge, placebo=False),
    "two_hop": Modifier("judge", "After that, do a second task.", _for_the_judge, placebo=False),
}


def check(name: str, answer: Answer) -> Verdict:
    """Grade ``answer`` for the modifier ``name``; each check says what its strict and its loose grade mean.

    An empty answer fulfills nothing that a program checks. An unknown modifier and an answer that the model did
    not give are ``failed`` and never pass.
    """
    if name not in MODIFIERS:
        return failed(f"unknown modifier {name!r}; {did_you_mean(name, MODIFIERS)}")
    if answer.failure:
        return failed(answer.failure)
    # For the judge's modifiers the program gives no grade, and zeros for the empty answers alone would be no rate.
    if is_empty(answer.response) and MODIFIERS[name].kind != "judge":
        return decided(False, False, problem="empty answer")
    return MODIFIERS[name].check(answer)


def placebo(name: str, answer: Answer) -> Verdict:
    """The same check on the model's unmodified answer: whether the modifier is fulfilled without being asked for.

    It abstains when there is no such answer, and for checks that are relative to it or left to the judge.
    """
    if name not in MODIFIERS:
        return check(name, answer)
    if not MODIFIERS[name].placebo:
        kind = MODIFIERS[name].kind
        return abstain("for the judge" if kind == "judge" else "relative to the unmodified answer itself")
    if answer.own is None:
        return abstain("no unmodified answer")
    return check(name, dataclasses.replace(answer.own, params=answer.params, identify=answer.identify))
