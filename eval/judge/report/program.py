"""Where a judge and the program of ``modifiers`` disagree about whether an answer fulfills its modifier."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from xltjax.data.responses import Response
from xltjax.eval.judge.judgments import PREFIX
from xltjax.eval.scores import Score

FULFILLED = "fulfilled"  # the criterion that both decide
GRADES = ("modifier_strict", "modifier_loose")


@dataclass(frozen=True)
class Disagreements:
    """What judges and program say about the same answers.

    Attributes:
        rows: one per answer on which they disagree: the judge's and both grades of the program, with the evidence.
        table: one per judge, language and modifier: ``n`` answers that both decide, how many they ``agree`` on,
            and the disagreements by direction.
    """

    rows: list[dict[str, Any]]
    table: list[dict[str, Any]]


TABLE_COLUMNS = ("judge", "language", "modifier", "n", "agree", "share", "judge_only", "program_only")


def find_disagreements(responses: Sequence[Response], scores: Iterable[Score]) -> Disagreements:
    """Compare ``judge/fulfilled`` with ``modifier_strict`` and ``modifier_loose``.

    They agree when the judge says yes and the loose grade is yes, or the judge says no and the strict grade is no:
    between the two grades the program itself leaves it open. With repeats the majority of the judge's calls counts,
    and where there is none the answer is left out.

    Args:
        responses: those that were judged.
        scores: of the judge and of ``modifiers``, in any order.
    """
    by_key = {response.key: response for response in responses}
    program: dict[tuple[str, str], dict[str, Score]] = {}
    judged: dict[tuple[str, str, str], list[float]] = {}
    for score in scores:
        key = (score.model, score.id)
        if key not in by_key or score.value is None:
            continue
        if score.metric in GRADES:
            program.setdefault(key, {})[score.metric] = score
        elif score.metric == PREFIX + FULFILLED and not score.detail.get("probe"):
            judged.setdefault((str(score.detail.get("judge", "")), *key), []).append(score.value)
    rows: list[dict[str, Any]] = []
    counts: dict[tuple[str, str, str], dict[str, int]] = {}
    for (judge, *rest), values in judged.items():
        model, id = rest
        grades = program.get((model, id), {})
        share = sum(values) / len(values)
        if len(grades) < len(GRADES) or share == 0.5:
            continue
        response = by_key[model, id]
        says_yes = share > 0.5
        strict, loose = (bool(grades[grade].value) for grade in GRADES)
        agree = loose if says_yes else not strict
        name = response.modifier["name"] if response.modifier else ""
        count = counts.setdefault(
            (judge, response.language, name), dict.fromkeys(("n", "agree", "judge_only", "program_only"), 0)
        )
        count["n"] += 1
        count["agree"] += agree
        if not agree:
            count["judge_only" if says_yes else "program_only"] += 1
            rows.append(
                {
                    "id": id,
                    "model": model,
                    "language": response.language,
                    "modifier": name,
                    "judge": judge,
                    "judge_fulfilled": share,
                    "program_strict": strict,
                    "program_loose": loose,
                    "program_detail": dict(grades[GRADES[0]].detail),
                    "instruction": response.instruction,
                    "response": response.response,
                }
            )
    table = [
        {
            "judge": judge,
            "language": language,
            "modifier": name,
            **count,
            "share": count["agree"] / count["n"],
        }
        for (judge, language, name), count in sorted(counts.items())
    ]
    return Disagreements(rows, table)
