"""From the journal of calls to scores and tables; nothing is asked here."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from xltjax.data.responses import Response
from xltjax.data.stored_responses import StoredResponses
from xltjax.eval.judge.calls import Calls
from xltjax.eval.judge.judges import Judge
from xltjax.eval.judge.judgments import PREFIX
from xltjax.eval.judge.questions import Call, Question, Questions, judgment
from xltjax.eval.judge.rubrics import Rubric
from xltjax.eval.judge.verdicts import Verdict
from xltjax.eval.language import Identify, language_correct
from xltjax.eval.scores import Score, Unavailable, failed, rewrite_scores

LANGUAGE_CORRECT = "language_correct"


def find_call(keys: Sequence[str], calls: Calls) -> Call | None:
    """The answer to a question, or the last failure when it has none, or None when it was never asked."""
    found = [call for key in keys if (call := calls.find(key)) is not None]
    return next((call for call in found if call.body is not None), found[0] if found else None)


def question_scores(judge: Judge, question: Question, verdict: Verdict) -> list[Score]:
    """One score for each criterion of the rubric."""
    id, model = question.response.id, question.response.model
    detail = {"judge": judge.name, "repeat": question.repeat, **question.detail}
    if verdict.outcome != "ok":
        detail["reason"] = verdict.detail
    return [
        Score(id, PREFIX + name, float(verdict.values[name]), "ok", detail, model)
        if verdict.outcome == "ok"
        else Score(id, PREFIX + name, None, f"failed:{verdict.outcome}", detail, model)
        for name in _names(question.rubric)
    ]


def unasked_scores(judge: Judge, rubric: Rubric, response: Response, repeats: int) -> Iterator[Score]:
    """The scores of a response about which the judge cannot be asked, since it or its instruction is missing."""
    why = rubric.lacks(response)
    for repeat in range(repeats):
        for name in _names(rubric):
            lost = failed(response.id, PREFIX + name, why, judge=judge.name, repeat=repeat)
            yield replace(lost, model=response.model)


@dataclass
class Missing:
    """What a stream of scores leaves out.

    Attributes:
        calls: how many questions have never been asked.
        problems: why calls were not answered, and how often.
    """

    calls: int
    problems: Counter[str]


def run_scores(
    judges: Sequence[Judge],
    rubric: Rubric,
    questions: Questions,
    unasked: Sequence[Response],
    repeats: int,
    calls: Calls,
    missing: Missing,
) -> Iterator[Score]:
    """Every score of a run, judge by judge, in the order of the questions; ``missing`` is counted on the way."""
    for judge in judges:
        for question in questions:
            call = find_call(judge.keys(question), calls)
            if call is None:
                missing.calls += 1
                continue
            if call.body is None:
                missing.problems[call.problem] += 1
            yield from question_scores(judge, question, judgment(question.rubric, call))
        for response in unasked:
            yield from unasked_scores(judge, rubric, response, repeats)


def save_scores(
    out: Path,
    scores: Iterable[Score],
    responses: StoredResponses,
    judges: Sequence[Judge],
    rubric: Rubric,
    probes: Sequence[str],
) -> Iterator[Score]:
    """Write ``scores.jsonl`` and ``answers.jsonl`` under ``out``, and give every score that the first then holds.

    Scores that are already there stay, unless they are of these responses, these judges, this rubric's criteria and
    these probes. Both files are there when the stream has ended.
    """
    metrics = {PREFIX + name for name in _names(rubric)}
    names = {judge.name for judge in judges}

    def own(score: Score) -> bool:
        known = score.metric in metrics and score.detail.get("judge") in names
        mine = known and responses.place((score.model, score.id)) is not None
        return mine and score.detail.get("probe") in (None, *probes)

    def scored() -> Iterator[tuple[Response, Iterable[Score]]]:
        for key, of_answer in itertools.groupby(scores, lambda score: (score.model, score.id)):
            place = responses.place(key)
            assert place is not None  # all scores are of these responses
            yield responses[place], of_answer

    for _, score in rewrite_scores(out, scored(), own):
        yield score


def with_language(
    scores: Iterable[Score], responses: Sequence[Response], identify: Identify | Unavailable
) -> Iterator[Score]:
    """``scores``, and ``language_correct`` by fastText of the responses for which ``surface`` has not computed it."""
    known = set()
    for score in scores:
        if score.metric == LANGUAGE_CORRECT:
            known.add((score.model, score.id))
        yield score
    if isinstance(identify, Unavailable):
        return
    for response in responses:
        if response.language and not response.failure and response.key not in known:
            found = language_correct(response.id, response.response, response.language, identify)
            yield replace(found, model=response.model)


def table_name(rubric: Rubric) -> str:
    """The beginning of the names of the tables of a rubric, which may come from a file of the user's."""
    return re.sub(r"[^\w.-]+", "-", rubric.name).strip("-.") or "judge"


def _names(rubric: Rubric) -> list[str]:
    return [criterion.name for criterion in rubric.criteria]


def served(calls: Calls, judge: str) -> dict[str, dict[str, int]]:
    """Which models and fingerprints answered as ``judge``, and how often."""
    counts: dict[str, Counter[str]] = {"models": Counter(), "fingerprints": Counter()}
    for call in calls.answered(judge):
        for kind, key in (("models", "model"), ("fingerprints", "system_fingerprint")):
            counts[kind][str((call.body or {}).get(key) or "not said")] += 1
    return {kind: dict(sorted(found.items())) for kind, found in counts.items()}
