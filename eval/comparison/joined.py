"""The scores of several models, joined: which of their answers are to the same prompt, and to which instruction."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xltjax.common.errors import UserError
from xltjax.data.responses import Response
from xltjax.eval.judge.chosen import JudgeChoice, judge_of, mean
from xltjax.eval.judge.judgments import PREFIX as JUDGE
from xltjax.eval.people.raters import RATINGS, is_ratings, mean_scores
from xltjax.eval.scores import ANSWERS, Score, answer_row, read_answers, read_scores
from xltjax.eval.summary import Unscored

Answer = tuple[str, str]  # the model and the id of an answer
Cells = dict[str, dict[str, float | None]]  # by model and item; None where the metric gave no score
ABSENT = "(none)"  # the group of answers without the key that divides them


@dataclass(frozen=True)
class Joined:
    """What scores say about several models.

    An *item* is a prompt in one language, under one name for all models that answered it.

    Attributes:
        models: the names of the models, in the order of the files.
        metrics: the metrics, in the order in which they were found.
        cells: by metric and language, the scores of each model by item.
        unscored: by metric and model, what has no score and why.
        pairing: what tells which answers are to the same prompt.
        instructions: item -> instruction, the unit of all statistics.
        known_instructions: how many items name their instruction; each of the others counts as one of its own.
        about: item -> model -> the keys of the answer.
        files: the files that were read.
        judges: by metric of judges, the names of those that scored it; of several, the first one's scores are kept.
    """

    models: tuple[str, ...]
    metrics: tuple[str, ...]
    cells: Mapping[tuple[str, str], Cells]
    unscored: Mapping[tuple[str, str], Unscored]
    pairing: str
    instructions: Mapping[str, str]
    known_instructions: int
    about: Mapping[str, Mapping[str, Mapping[str, Any]]]
    files: tuple[Path, ...]
    judges: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def languages(self, metric: str) -> list[str]:
        """The languages that have scores of ``metric``, in alphabetical order."""
        return sorted(language for name, language in self.cells if name == metric)

    def tasks(self) -> dict[str, str]:
        """Instruction -> task, for a stratified bootstrap."""
        return {
            self.instructions[item]: str(next(iter(models.values())).get("task") or "")
            for item, models in sorted(self.about.items(), reverse=True)
        }

    def groups(self, key: str) -> dict[str, str]:
        """Item -> the value of ``key`` of its answers, as text.

        Raises:
            UserError: when no answer has the key, or the answers of two models to one prompt differ in it.
        """
        found: dict[str, str] = {}
        known: set[str] = set()
        for item, models in self.about.items():
            values = {model: _text(keys.get(key)) for model, keys in models.items()}
            known.update(
                name for keys in models.values() for name, value in keys.items() if value is not None
            )
            if len(set(values.values())) > 1:
                told = ", ".join(f"{value!r} for {model}" for model, value in sorted(values.items()))
                raise UserError(
                    f"--by {key}: {item!r} has {told}; choose a key that describes the prompt and not the answer"
                )
            found[item] = next(iter(values.values()))
        if not set(found.values()) - {ABSENT}:
            names = ", ".join(sorted(known - {"id", "model", "instruction_hash"})) or "none; give --responses"
            raise UserError(f"--by {key}: no answer has this key; keys of the answers: {names}")
        return found


def _text(value: Any) -> str:
    """The value of a key as the name of a group; that of a modifier is its name."""
    if isinstance(value, Mapping) and "name" in value:
        value = value["name"]
    if value is None or value == "":
        return ABSENT
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


def find_scores(source: str) -> tuple[str, Path]:
    """The name of a model (empty when it is not given) and the scores that ``[NAME=]PATH`` stands for.

    These are a ``scores.jsonl``, or the ``ratings.jsonl`` of people.

    Raises:
        UserError: when there are no scores.
    """
    name, path = "", Path(source)
    if not path.exists() and "=" in source:
        name, _, rest = source.partition("=")
        path = Path(rest)
    if not path.exists():
        raise UserError(
            f"{path} does not exist; give scores.jsonl or a directory with one, also as NAME=PATH"
        )
    if not path.is_dir():
        return name, path
    if not (path / "scores.jsonl").is_file() and (path / RATINGS).is_file():
        return name, path / RATINGS
    if not (path / "scores.jsonl").is_file():
        below = sorted(each.parent for each in path.glob("*/scores.jsonl"))
        hint = f"did you mean {below[0]}?" if below else "run an evaluator with --out there first"
        raise UserError(f"{path} has no scores.jsonl; {hint}")
    return name, path / "scores.jsonl"


def join_scores(
    sources: Iterable[tuple[str, Path]],
    responses: Sequence[Response] = (),
    without: Collection[str] = (),
    choice: JudgeChoice | None = None,
) -> Joined:
    """Read the scores of several models.

    Args:
        sources: files of scores, or of ratings of people, of which the mean counts, each with the name of its one
            model, or with an empty name. Beside scores lies ``answers.jsonl``, unless ``responses`` say the same.
        responses: the answers themselves.
        without: instructions to leave out.
        choice: which scores of judges count; by default the mean over the repeats of every judge.

    Raises:
        UserError: for files that are not scores, a model that is not named, two scores of one metric for one
            answer, models that have no prompt in common, or a judge that is not there.
    """
    choice = choice or JudgeChoice("", None, mean)
    reader = _Reader(responses, without, choice)
    for name, path in sources:
        reader.read(name, path)
    choice.check()
    return reader.joined()


class _Reader:
    """Collects the scores of files, and then joins them."""

    def __init__(self, responses: Iterable[Response], without: Collection[str], choice: JudgeChoice) -> None:
        self._without = without
        self._choice = choice
        self._judges: dict[str, dict[str, None]] = {}  # by metric
        self._given = {each.key: (answer_row(each), each.language) for each in responses}
        self._model_of: dict[str, set[str]] = {}
        for model, id in self._given:
            self._model_of.setdefault(id, set()).add(model)
        self._about: dict[Answer, Mapping[str, Any]] = {}
        self._scores: dict[tuple[str, str], dict[str, dict[str, float | None]]] = {}
        self._origin: dict[tuple[str, str], Path] = {}  # metric, model -> the last file
        self._unscored: dict[tuple[str, str], Unscored] = {}
        self._models: dict[str, None] = {}
        self._languages: dict[Answer, set[str]] = {}
        self.files: list[Path] = []

    def read(self, name: str, path: Path) -> None:
        beside = path.parent / ANSWERS
        rows = {(row["model"], row["id"]): row for row in read_answers(beside)} if beside.is_file() else {}
        scores: Iterable[Score] = read_scores(path)
        if is_ratings(path):
            scores, rows = mean_scores(path)
        models = dict(self._model_of)
        for model, id in rows:
            models[id] = models.get(id, set()) | {model}
        named = ""
        for score in self._choice.scores(scores):
            given = score.model or _only_model(score, path, models)
            if name:
                if named not in ("", given):
                    raise UserError(
                        f"{name}={path} holds several models ({named}, {given}); give the path alone"
                    )
                named = given
            known = (given, score.id)
            answer = (name or given, score.id)
            keys, language = self._given.get(known) or (rows.get(known, {}), "")
            if self._without and str(keys.get("instruction_id") or score.id) in self._without:
                continue
            if answer not in self._about:
                self._about[answer] = keys
                self._languages[answer] = set()
            elif self._about[answer] is not keys:
                self._about[answer] = {**self._about[answer], **keys}
            self._add(score, answer, score.language or language, path)
        self.files += [path, *([beside] if beside.is_file() else [])]

    def _add(self, score: Score, answer: Answer, language: str, path: Path) -> None:
        model, _ = answer
        self._models.setdefault(model)
        place = (score.metric, model)
        cell = self._scores.setdefault((score.metric, language), {}).setdefault(model, {})
        self._languages[answer].add(language)
        if score.metric.startswith(JUDGE):
            judges = self._judges.setdefault(score.metric, {})
            judges.setdefault(judge_of(score))
            if judge_of(score) != next(iter(judges)):
                return
        if score.id in cell:
            raise UserError(
                f"{path}: {model!r} has two scores of {score.metric} for {score.id!r} (the other is in "
                f"{self._origin[place]}); if these are two models, name them: NAME=PATH"
            )
        self._origin[place] = path
        cell[score.id] = score.value
        self._unscored.setdefault(place, Unscored()).add(score)

    def joined(self) -> Joined:
        if not self._scores:
            of = " of the instructions that are not left out" if self._without else ""
            raise UserError(f"{', '.join(map(str, self.files))}: no scores{of}")
        pairing, item_of = _pair(self._languages, self._about)
        cells: dict[tuple[str, str], Cells] = {}
        about: dict[str, dict[str, Mapping[str, Any]]] = {}
        for (metric, language), by_model in self._scores.items():
            joined = cells.setdefault((metric, language), {})
            for model, scores in by_model.items():
                joined[model] = {item_of(model, id, language): value for id, value in scores.items()}
                for id in scores:
                    about.setdefault(item_of(model, id, language), {})[model] = self._about[model, id]
        instructions, known = {}, 0
        for item, models in about.items():
            named = [str(keys["instruction_id"]) for keys in models.values() if keys.get("instruction_id")]
            known += bool(named)
            instructions[item] = named[0] if named else item
        return Joined(
            tuple(self._models),
            tuple(dict.fromkeys(metric for metric, _ in self._scores)),
            cells,
            self._unscored,
            pairing,
            instructions,
            known,
            about,
            tuple(self.files),
            {metric: tuple(judges) for metric, judges in self._judges.items()},
        )


def _only_model(score: Score, path: Path, models: Mapping[str, set[str]]) -> str:
    """The model of a score that names none: the only one that has its id, or else the name of the directory.

    Raises:
        UserError: when several models have the id.
    """
    found = models.get(score.id, {path.absolute().parent.name})
    if len(found) > 1:
        raise UserError(f"{path}: the score of {score.id!r} names no model, and several models have this id")
    return next(iter(found))


# --- which answers are to the same prompt ---


def _by_id(id: str, language: str, keys: Mapping[str, Any]) -> str | None:
    return id


def _by_instruction(id: str, language: str, keys: Mapping[str, Any]) -> str | None:
    if not keys.get("instruction_id"):
        return None
    modifier = json.dumps(keys.get("modifier"), sort_keys=True, ensure_ascii=False)
    return json.dumps([str(keys["instruction_id"]), language, modifier], ensure_ascii=False)


def _by_text(id: str, language: str, keys: Mapping[str, Any]) -> str | None:
    return f"{keys['instruction_hash']} {language}" if keys.get("instruction_hash") else None


# Other tools renumber the answers of each model, so that the same prompt may have another id.
PAIRINGS: dict[str, Callable[[str, str, Mapping[str, Any]], str | None]] = {
    "id": _by_id,
    "instruction_id": _by_instruction,
    "the text of the instruction": _by_text,
}


def _pair(
    languages: Mapping[Answer, Iterable[str]], about: Mapping[Answer, Mapping[str, Any]]
) -> tuple[str, Callable[[str, str, str], str]]:
    """The first of ``PAIRINGS`` under which every model shares a prompt with another, and its items.

    Ids under which the models were asked different things, such as the numbers of rows in another order, come last,
    and those under which they answered in different languages are none.
    """
    for name, key, same_text in (
        *((name, key, name == "id") for name, key in PAIRINGS.items()),
        ("id", _by_id, False),
    ):
        owners: dict[str, set[str]] = {}
        taken: set[tuple[str, str]] = set()
        asked: dict[str, str] = {}
        spoken: dict[str, set[str]] = {}
        usable = True
        for (model, id), found in languages.items():
            known = {each for each in found if each}
            if name == "id" and known and spoken.setdefault(id, known).isdisjoint(known):
                usable = False
                break
            for language in found:
                item = key(id, language, about[model, id])
                keys = about[model, id]
                text = keys.get("instruction_id") or keys.get("instruction_hash")
                differs = same_text and item is not None and text and asked.setdefault(item, text) != text
                if item is None or differs or (name != "id" and (model, item) in taken):
                    usable = False
                    break
                taken.add((model, item))
                owners.setdefault(item, set()).add(model)
        models = {model for model, _ in languages}
        shared = {model for each in owners.values() if len(each) > 1 for model in each}
        if (usable and shared == models) or len(models) == 1:
            return name, lambda model, id, language, key=key: str(key(id, language, about[model, id]))
    raise UserError(
        "the models have no prompts in common: their answers share neither ids in one language, nor instruction_id, "
        "nor the text of the instruction; compare answers to the same prompts"
    )
