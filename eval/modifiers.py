"""The eleven task modifiers of the paper (section 3, Table 1) and their checks.

Seven are checked by program, one relative to the model's own unmodified answer, three are for a judge only.
A check is a pure function of the answer, the modifier's parameters and the language: no randomness, and an
unknown modifier, a missing parameter or an empty answer never passes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

from xltjax.errors import UserError, did_you_mean
from xltjax.eval.checkers import answer_in, arrow, briefly, capitalise, detailed
from xltjax.eval.html_page import html_page
from xltjax.eval.language import Identify, LanguageIdentifier
from xltjax.eval.responses import language_code
from xltjax.eval.scores import Unavailable
from xltjax.eval.segmentation import is_empty
from xltjax.eval.structure import list_n, markdown
from xltjax.eval.verdict import Verdict, abstain, decided, failed

Kind = Literal["program", "relative", "judge"]


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a check may look at.

    Attributes:
        response: the text of the answer.
        language: ISO 639-1 code of the language it should be in.
        params: of the modifier: ``n`` for list_n, ``language`` for answer_in.
        truncated: whether generation stopped at the token limit.
        own: the same model's answer to the instruction without the modifier, when there is one.
        identify: language identification, or why there is none.
    """

    response: str
    language: str = ""
    params: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    truncated: bool = False
    own: Answer | None = None
    identify: Identify | Unavailable = Unavailable("no language identification")


@dataclasses.dataclass(frozen=True)
class Modifier:
    """One task modifier.

    Attributes:
        kind: who can check it.
        asks: the instruction in English, as the paper words it.
        check: grades an answer that is not empty.
        placebo: whether the check means something for the unmodified answer.
        param: the parameter that the modifier needs, empty without any.
    """

    kind: Kind
    asks: str
    check: Callable[[Answer], Verdict]
    placebo: bool = True
    param: str = ""


def _briefly(answer: Answer) -> Verdict:
    own = answer.own.response if answer.own else None
    return briefly(answer.response, answer.language, answer.truncated, own)


def _detailed(answer: Answer) -> Verdict:
    if answer.own is None:
        return detailed(answer.response, answer.truncated, None, False)
    return detailed(answer.response, answer.truncated, answer.own.response, answer.own.truncated)


def _list_n(answer: Answer) -> Verdict:
    n = answer.params.get("n")
    if isinstance(n, str) and n.isdecimal():
        n = int(n)
    if not isinstance(n, int) or isinstance(n, bool) or n < 1:
        return failed("list_n needs params.n, a whole number from 1")
    return list_n(answer.response, n)


def _answer_in(answer: Answer) -> Verdict:
    try:
        target = language_code(str(answer.params["language"]))
    except (KeyError, UserError):
        return failed("answer_in needs params.language, a code such as 'fr'")
    if isinstance(answer.identify, LanguageIdentifier) and target not in answer.identify.languages:
        return failed(f"the language model does not know {target!r}")
    return answer_in(answer.response, target, answer.identify)


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
        lambda a: capitalise(a.response, a.language),
    ),
    "scientific": Modifier("judge", "Write in a scientific style.", _for_the_judge, placebo=False),
    "simple": Modifier("judge", "Use simple words, easy for a child.", _for_the_judge, placebo=False),
    "two_hop": Modifier("judge", "After that, do a second task.", _for_the_judge, placebo=False),
}


def check(name: str, answer: Answer) -> Verdict:
    """Grade ``answer`` for the modifier ``name``; see each check for its strict and loose grade.

    An empty answer fulfils nothing. An unknown name is ``failed``, never passed.
    """
    if name not in MODIFIERS:
        return failed(f"unknown modifier {name!r}; {did_you_mean(name, MODIFIERS)}")
    if is_empty(answer.response):
        return decided(False, False, problem="empty answer")
    return MODIFIERS[name].check(answer)


def placebo(name: str, answer: Answer) -> Verdict:
    """The same check on the model's unmodified answer: how often the modifier is fulfilled without being asked.

    Abstains without that answer, and for checks that are relative to it or left to the judge.
    """
    if name not in MODIFIERS:
        return check(name, answer)
    if not MODIFIERS[name].placebo:
        kind = MODIFIERS[name].kind
        return abstain("for the judge" if kind == "judge" else "relative to the unmodified answer itself")
    if answer.own is None:
        return abstain("no unmodified answer")
    return check(name, dataclasses.replace(answer.own, params=answer.params, identify=answer.identify))
