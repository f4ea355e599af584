"""Directories of answers and scores made by hand, of which every number of a report can be computed on paper."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

Values = Sequence[float | None]


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def answer(model: str, number: int, language: str, **more: Any) -> dict[str, Any]:
    """The answer of a model to instruction ``number`` in a language; two instructions share a task."""
    return {
        "id": f"q{number}-{language}",
        "model": model,
        "language": language,
        "task": f"task-{number // 2}",
        "instruction_id": f"q{number}",
        "instruction": f"Instruction {number} in {language}",
        "response": f"Answer {number} of {model} in {language}.",
        "finish_reason": "stop",
        **more,
    }


def score(of: Mapping[str, Any], metric: str, value: float | None, **more: Any) -> dict[str, Any]:
    """A score of an answer; without a value the metric abstains."""
    row = {
        "id": of["id"],
        "model": of["model"],
        "metric": metric,
        "value": value,
        "state": "ok",
        "detail": {},
    }
    if value is None:
        row |= {"state": "abstain", "detail": {"reason": "too little text"}}
    return row | more


def write_model(folder: Path, model: str, metrics: Mapping[str, Mapping[str, Values]]) -> None:
    """Answers and scores of a model: by metric and language, the value of each instruction in turn."""
    count = max(len(values) for by_language in metrics.values() for values in by_language.values())
    languages = list(dict.fromkeys(language for by_language in metrics.values() for language in by_language))
    answers = [answer(model, number, language) for language in languages for number in range(count)]
    write_lines(folder / "responses.jsonl", answers)
    by_id = {each["id"]: each for each in answers}
    write_lines(
        folder / "scores.jsonl",
        (
            score(by_id[f"q{number}-{language}"], metric, value, detail=_detail(metric, language, value))
            for metric, by_language in metrics.items()
            for language, values in by_language.items()
            for number, value in enumerate(values)
        ),
    )


def _detail(metric: str, language: str, value: float | None) -> dict[str, Any]:
    if value is None:
        return {"reason": "too little text"}
    if metric == "language_correct":
        return {"language": language if value else "en", "p": 0.9}
    if metric == "spelling_nonword":
        return {"words": {"blorf": 1} if value else {}}
    return {}


def write_modifiers(folder: Path, model: str, fulfilled: Mapping[str, Values], placebo: Values) -> None:
    """Answers to instructions with a modifier, strict and loose alike: by modifier, the verdicts in English."""
    answers, scores = [], []
    for name, values in fulfilled.items():
        for number, (value, unasked) in enumerate(zip(values, placebo, strict=True)):
            each = answer(model, number, "en", modifier={"name": name, "params": {}})
            each["id"] += f"-{name}"
            answers.append(each)
            for grade in ("strict", "loose"):
                scores += [
                    score(each, f"modifier_{grade}", value, language="en"),
                    score(each, f"placebo_{grade}", unasked, language="en"),
                ]
    write_lines(folder / "responses-modified.jsonl", answers)
    write_lines(folder / "modifiers" / "scores.jsonl", scores)


def write_judge(
    folder: Path, model: str, judge: str, criteria: Mapping[str, Mapping[str, Values]], *, modified: str = ""
) -> None:
    """Judgments of a model by criterion and language, and what the judge wrote."""
    ending = f"-{modified}" if modified else ""
    rows, calls = [], []
    for criterion, by_language in criteria.items():
        for language, values in by_language.items():
            for number, value in enumerate(values):
                row = {
                    "id": f"q{number}-{language}{ending}", "model": model, "metric": f"judge/{criterion}",
                    "value": value, "state": "ok" if value is not None else "failed:invalid_json",
                    "detail": {"judge": judge, "repeat": 0},
                }  # fmt: skip
                rows.append(row)
                body = {"choices": [{"message": {"content": f"My words about {row['id']}"}}]}
                calls.append(
                    {
                        "key": "0" * 64,
                        "judge": judge,
                        "model": model,
                        "id": row["id"],
                        "repeat": 0,
                        "body": body,
                    }
                )
    write_lines(folder / "scores.jsonl", rows)
    write_lines(folder / "calls.jsonl", calls)
    name = "modifier" if modified else "six"
    about = {
        "criteria": name, "preset": "xlt", "rubric_language": "en", "repeats": 1,
        "judges": {judge: {"usage": {"input": 100, "output": 20}, "cost": 0.25}},
    }  # fmt: skip
    (folder / "judge.json").write_text(json.dumps({name: about}), encoding="utf-8")


def write_ratings(folder: Path, model: str, rater: str, criteria: Mapping[str, Mapping[str, Values]]) -> None:
    """Ratings of a person by criterion and language."""
    write_lines(
        folder / "ratings.jsonl",
        (
            {
                "rater": rater,
                "id": f"q{number}-{language}",
                "model": model,
                "criterion": criterion,
                "value": value,
            }
            for criterion, by_language in criteria.items()
            for language, values in by_language.items()
            for number, value in enumerate(values)
        ),
    )


def write_run(folder: Path, losses: Sequence[float], rate: float) -> None:
    """A run directory as training leaves it, without checkpoints."""
    write_lines(
        folder / "metrics.jsonl",
        (
            {
                "step": step,
                "loss": loss,
                "learning_rate": rate,
                "tokens": 100,
                "seconds": 0.5,
                "tokens_per_second": 200,
            }
            for step, loss in enumerate(losses, start=1)
        ),
    )
    (folder / "config.yaml").write_text(
        f"learning_rate: {rate}\nsteps: {len(losses)}\nmodel: base\n", encoding="utf-8"
    )
    record = {
        "git": {"revision": "abc", "dirty": False},
        "versions": {"jax": "0.10.2"},
        "devices": ["cpu", "cpu"],
    }
    (folder / "provenance.json").write_text(json.dumps(record), encoding="utf-8")


def write_stage(folder: Path, stage: str, state: str, reason: str = "") -> None:
    """The record that a study leaves in the folder of a stage."""
    folder.mkdir(parents=True, exist_ok=True)
    record = {
        "stage": stage,
        "version": "1",
        "settings": {},
        "inputs": {},
        "state": state,
        "reason": reason,
        "seconds": 2.5,
    }
    (folder / "identity.json").write_text(json.dumps(record), encoding="utf-8")
