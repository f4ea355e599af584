"""Scores: one value per response and metric, as in ``scores.jsonl``, and the answers that they belong to."""

from __future__ import annotations

import hashlib
import math
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from xltjax.common.errors import UserError
from xltjax.common.files import atomic_write, iterate_jsonl, json_line
from xltjax.data.reading.answers import as_name
from xltjax.data.reading.report import BadRowError
from xltjax.data.responses import Response

# The metrics whose scores are 0 or 1 by definition. All others are shares, also where only 0 and 1 happen to occur.
ZERO_ONE = frozenset(
    (
        "language_correct", "lpr", "wpr", "relevance", "relevance_paper", "relevance_disagreement", "modifier_strict",
        "modifier_loose", "placebo_strict", "placebo_loose", "judge/relevant", "judge/fulfilled",
    )
)  # fmt: skip


class Unavailable(Exception):
    """A model, dictionary or module that a metric needs is not installed; the metric abstains and says so."""


@dataclass(frozen=True, slots=True)
class Score:
    """The score of one response by one metric.

    Attributes:
        id: the id of the response.
        metric: the name of the metric.
        value: a finite number, or None unless ``state`` is ``ok``.
        state: ``ok``; ``abstain`` if the metric is not defined for this response or something that it needs
            is not installed (``detail["reason"]`` says which); ``failed:<why>`` if the response lacks
            something that the metric needs. A failure is never counted as a score.
        detail: the evidence, ready for JSON.
        model: the model of the response. A metric knows only the text and leaves it empty;
            ``evaluator.score_missing`` fills it in. It is also empty in files of older versions.
        language: the language under which the score counts in tables: the one that the answer should have, or for
            ``modifiers`` that of the instruction. ``summary.save_results`` fills it in; empty as ``model`` is.
    """

    id: str
    metric: str
    value: float | None
    state: str = "ok"
    detail: Mapping[str, Any] = field(default_factory=dict)
    model: str = ""
    language: str = ""

    def row(self) -> dict[str, Any]:
        """The score as a line of ``scores.jsonl``."""
        return {
            "id": self.id,
            "model": self.model,
            "language": self.language,
            "metric": self.metric,
            "value": self.value,
            "state": self.state,
            "detail": self.detail,
        }

    @property
    def reason(self) -> str:
        """Why there is no value; empty when there is one."""
        if self.state == "ok":
            return ""
        return str(self.detail.get("reason") or "not said why") if self.state == "abstain" else self.state

    def __post_init__(self) -> None:
        if self.state == "ok":
            valid = self.value is not None and math.isfinite(self.value)
        else:
            valid = self.value is None and (self.state == "abstain" or self.state.startswith("failed:"))
        if not valid:
            raise ValueError(f"a score of {self.value} cannot be {self.state!r}")


def abstain(id: str, metric: str, reason: str, **detail: Any) -> Score:
    """The metric does not decide, because of ``reason``."""
    return Score(id, metric, None, "abstain", {"reason": reason, **detail})


def failed(id: str, metric: str, why: str, **detail: Any) -> Score:
    """The metric cannot be computed for this response."""
    return Score(id, metric, None, f"failed:{why}", detail)


def unanswered(response: Response, metrics: Iterable[str]) -> list[Score]:
    """The scores of a response with a ``failure``: every metric fails with it."""
    return [
        failed(response.id, metric, response.failure, finish_reason=response.finish_reason)
        for metric in metrics
    ]


def read_scores(path: Path) -> Iterator[Score]:
    """Stream the scores of a ``scores.jsonl``.

    Raises:
        UserError: naming the line that is not a score.
    """
    for line, row in iterate_jsonl(path):
        try:
            score = Score(**{key: value for key, value in row.items() if value is not None or key == "value"})
            if not (isinstance(score.metric, str) and isinstance(score.detail, Mapping)):
                raise TypeError
            # People and tables write ids and names of models as numbers.
            score = replace(score, id=as_name(score.id, "id"), model=as_name(score.model, "model"))
        except (TypeError, ValueError, AttributeError, BadRowError):
            raise UserError(
                f"{path}, line {line}: not a score (id, model, language, metric, value, state, detail)"
            ) from None
        yield score


# --- the answers beside their scores ---

ANSWERS = "answers.jsonl"  # the name of the file that lies beside a scores.jsonl
LONGEST_KEY = 200  # characters of a text that can divide answers into groups; longer ones are contents


def answer_row(response: Response) -> dict[str, Any]:
    """The line of ``answers.jsonl``: what tells answers apart and into groups, without the texts and the language.

    The language stands at each score, since it depends on the metric. ``instruction_hash`` tells whether two
    models were asked the same.
    """
    row = {
        key: value
        for key, value in response.row().items()
        if key not in ("language", "instruction", "response")
        and (key in ("id", "model", "modifier") or not isinstance(value, (list, dict)))
        and not (isinstance(value, str) and len(value) > LONGEST_KEY and key not in ("id", "model"))
    }
    if response.instruction:
        digest = hashlib.blake2b(response.instruction.encode("utf-8", "surrogatepass"), digest_size=8)
        row["instruction_hash"] = digest.hexdigest()
    return row


def read_answers(path: Path) -> Iterator[dict[str, Any]]:
    """Stream the lines of an ``answers.jsonl``.

    Raises:
        UserError: naming the line that is not one of an answer.
    """
    for line, row in iterate_jsonl(path):
        if not (
            isinstance(row, dict) and isinstance(row.get("id"), str) and isinstance(row.get("model"), str)
        ):
            raise UserError(f"{path}, line {line}: not a line about an answer, with id and model")
        yield row


def rewrite_scores(
    out: Path,
    scored: Iterable[tuple[Response, Iterable[Score]]],
    replaced: Callable[[Score], bool],
) -> Iterator[tuple[Response | None, Score]]:
    """Write ``scores.jsonl`` and ``answers.jsonl`` under ``out``, each completely or not at all.

    Both are there when the stream has ended.

    Args:
        out: an existing directory.
        scored: a stream of responses with their scores; a response may come more than once.
        replaced: whether a score that is already there makes way; all others stay, with their answers.

    Yields:
        Every score that the file then holds, with its response where it is one of ``scored``.
    """
    scores_path, answers_path = out / "scores.jsonl", out / ANSWERS
    answers: dict[tuple[str, str], dict[str, Any]] = {}  # those that are there already, in their order
    kept: set[tuple[str, str]] = set()
    written: set[tuple[str, str]] = set()
    with (
        tempfile.TemporaryFile("w+", dir=out, encoding="utf-8", newline="\n") as new,
        atomic_write(answers_path) as answers_file,
        atomic_write(scores_path) as file,
    ):
        if scores_path.exists():
            for score in read_scores(scores_path):
                if not replaced(score):
                    file.write(json_line(score.row()))
                    kept.add((score.model, score.id))
                    yield None, score
        if answers_path.exists():
            answers = {
                key: row for row in read_answers(answers_path) if (key := (row["model"], row["id"])) in kept
            }
        for response, scores in scored:
            if response.key in answers:
                answers[response.key] = answer_row(response)
            elif response.key not in written:
                written.add(response.key)
                new.write(json_line(answer_row(response)))
            for score in scores:
                score = replace(score, language=response.language)
                file.write(json_line(score.row()))
                yield response, score
        answers_file.writelines(map(json_line, answers.values()))
        new.seek(0)
        shutil.copyfileobj(new, answers_file)
