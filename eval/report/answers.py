"""Every answer with its scores, for the browser of answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from xltjax.eval.judge.judgments import PREFIX
from xltjax.eval.judge.report.program import find_disagreements
from xltjax.eval.report.content import Answer, Judgment
from xltjax.eval.report.numbers.sources import PEOPLE, Evidence, Key, Material, Said


def browser_answers(material: Material) -> list[Answer]:
    """The answers whose texts are given, in the order in which they were found."""
    scores: dict[Key, dict[str, float | None]] = {}
    states: dict[Key, dict[str, str]] = {}
    for score in material.scores:
        key = (score.model, score.id)
        scores.setdefault(key, {})[score.metric] = score.value
        if score.state != "ok":
            why = f": {score.reason}" if score.state == "abstain" else ""
            states.setdefault(key, {})[score.metric] = score.state + why
    judgments = _judgments(material)
    disagreements = _disagreements(material)
    answers = []
    for key, response in material.responses.items():
        if key in material.unread:
            continue
        evidence = material.evidence.get(key, Evidence())
        answers.append(
            Answer(
                id=response.id,
                model=response.model,
                language=response.language,
                task=response.task,
                modifier=str(response.modifier["name"]) if response.modifier else "",
                instruction_id=response.instruction_id,
                instruction=response.instruction,
                response=response.response,
                finish_reason=response.finish_reason,
                found_language=evidence.found_language,
                scores=scores.get(key, {}),
                states=states.get(key, {}),
                words=tuple(evidence.words),
                passages=evidence.passages,
                judgments=judgments.get(key, ()),
                disagreement=disagreements.get(key, ""),
            )
        )
    return answers


def _judgments(material: Material) -> dict[Key, tuple[Judgment, ...]]:
    """By answer, one judgment for each call and rater, with the words where there are any."""
    found: dict[Key, dict[tuple[str, str], dict[str, Any]]] = {}
    for score in material.judged:
        judge = str(score.detail.get("judge", ""))
        rater = str(score.detail.get("rater") or score.detail.get("repeat", 0))
        call = found.setdefault((score.model, score.id), {}).setdefault((judge, rater), {"scores": {}})
        call["scores"][score.metric.removeprefix(PREFIX)] = score.value
        if score.state != "ok":
            why = score.detail.get("reason")
            call["outcome"] = score.state.removeprefix("failed:") + (f" ({why})" if why else "")
    return {key: tuple(_named(calls, _words(material.said.get(key, ())))) for key, calls in found.items()}


def _words(said: Any) -> dict[tuple[str, str], str]:
    """What was written in each call; the last answer counts, and a person's comments stand together."""
    found: dict[tuple[str, str], str] = {}
    each: Said
    for each in said:
        place = (each.judge, each.label)
        together = each.judge == PEOPLE and place in found
        found[place] = f"{found[place]}\n{each.words}" if together else each.words
    return found


def _named(
    calls: Mapping[tuple[str, str], Mapping[str, Any]], words: Mapping[tuple[str, str], str]
) -> Iterator[Judgment]:
    several = {judge for judge, rater in calls if rater not in ("0", "")}
    for (judge, rater), call in calls.items():
        name = f"{judge} {rater}" if judge in several else judge
        yield Judgment(name, call["scores"], call.get("outcome", "ok"), words.get((judge, rater), ""))


def _disagreements(material: Material) -> dict[Key, str]:
    responses = [each for each in material.responses.values() if each.modifier is not None]
    if not responses or not material.judged:
        return {}
    told = {}
    for row in find_disagreements(responses, (*material.judged, *material.scores)).rows:
        judge = "fulfilled" if row["judge_fulfilled"] > 0.5 else "not fulfilled"
        strict, loose = ("yes" if row[key] else "no" for key in ("program_strict", "program_loose"))
        program = f"strictly {strict}, loosely {loose}"
        told[row["model"], row["id"]] = (
            f"{row['modifier']}: {row['judge']} says {judge}, the program says {program}"
        )
    return told
