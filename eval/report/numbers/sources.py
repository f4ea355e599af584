"""What a report is made of: responses, scores, judgments, ratings, runs and stages, found in directories."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from xltjax.common.errors import UserError, first_line
from xltjax.common.files import iterate_jsonl, read_json_object, read_text
from xltjax.data.responses import Response, iterate_responses
from xltjax.eval.judge.judgments import PREFIX
from xltjax.eval.judge.questions import first_choice, message_text
from xltjax.eval.judge.rubrics import Criterion, load_rubric
from xltjax.eval.report.content import FOREIGN, NAME, NONWORD, Passage, UnknownWord
from xltjax.eval.scores import ANSWERS, Score, read_answers, read_scores

Key = tuple[str, str]  # the model and the id of a response
PEOPLE = "people"  # the name under which all raters together are beside the judges

# Folders in which nothing of a report lies: checkpoints, results that a study has kept aside, logs.
STAGES = "stages.json"  # in the folder of a study: the paths of the folders of its stages
_SKIPPED = re.compile(r"\..*|checkpoints|base|logs|prompts|.*\.old-\d+")
# Files of JSON Lines with a name of their own, which are not responses.
_NAMED = {
    "scores.jsonl",
    "metrics.jsonl",
    "samples.jsonl",
    "skipped.jsonl",
    "calls.jsonl",
    "probes.jsonl",
    "ratings.jsonl",
    ANSWERS,
}
_WORD_KINDS = {"spelling_name": NAME, "spelling_foreign": FOREIGN, "spelling_nonword": NONWORD}
GENERATION = ".jsonl.provenance.json"  # the ending of the record beside responses
JUDGE_REPORT = "-report.json"  # the ending of what judge-report writes beside judge.json
LONGEST_WORDS = 4000  # characters of what a judge wrote that are kept


@dataclass
class Evidence:
    """What metrics found in an answer, besides their values."""

    found_language: str = ""
    passages: tuple[Passage, ...] = ()
    words: list[UnknownWord] = field(default_factory=list)


@dataclass(frozen=True)
class Said:
    """What one call of a judge, or one rater, wrote about an answer; ``label`` tells calls apart."""

    judge: str
    label: str
    words: str


@dataclass(frozen=True)
class TrainedRun:
    """A run directory: its place below the source, settings, provenance and the lines of ``metrics.jsonl``."""

    path: str
    settings: Mapping[str, Any]
    provenance: Mapping[str, Any]
    metrics: tuple[Mapping[str, Any], ...]

    @property
    def name(self) -> str:
        """The model that it trains: the cell of a study, or the name of the directory."""
        return self.path.removesuffix("/train")


@dataclass(frozen=True)
class StageRecord:
    """A stage of a study, by its place below the source."""

    path: str
    state: str
    reason: str
    seconds: float


@dataclass
class Material:
    """Everything that was found under one source.

    Attributes:
        label: what the source is called where there are several.
        responses: by model and id; of an answer whose text is not given, what its scores say about it.
        unread: the answers whose text is not given.
        scores: of programs, without their evidence.
        judged: of judges and people: ``judge/<criterion>``.
        evidence: by answer.
        said: by answer, what judges and people wrote.
        criteria: of the rubrics, by name.
        rubrics: the names of the criteria of each rubric.
        runs: the run directories.
        stages: the stages of studies.
        choices: what ``eval choose`` wrote.
        summaries: the provenance of the evaluators, by command.
        effects: what the stage ``effects`` of studies wrote.
        judges: what ``judge.json`` says of each judge.
        trust: of each judge, criterion and language, what ``judge-report`` says.
        generations: the provenance of files of responses.
        problems: files that could not be read, one sentence for each.
        files: how many files were read.
    """

    label: str
    responses: dict[Key, Response] = field(default_factory=dict)
    unread: set[Key] = field(default_factory=set)
    scores: list[Score] = field(default_factory=list)
    judged: list[Score] = field(default_factory=list)
    evidence: dict[Key, Evidence] = field(default_factory=dict)
    said: dict[Key, list[Said]] = field(default_factory=dict)
    criteria: dict[str, Criterion] = field(default_factory=dict)
    rubrics: list[tuple[str, ...]] = field(default_factory=list)
    runs: list[TrainedRun] = field(default_factory=list)
    stages: list[StageRecord] = field(default_factory=list)
    choices: list[Mapping[str, Any]] = field(default_factory=list)
    summaries: dict[str, Any] = field(default_factory=dict)
    effects: list[Mapping[str, Any]] = field(default_factory=list)
    judges: dict[str, Any] = field(default_factory=dict)
    trust: list[Mapping[str, Any]] = field(default_factory=list)
    generations: list[Mapping[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    files: int = 0


def read_source(source: str, responses: Iterable[str] = ()) -> Material:
    """Read everything under a directory, or one file of scores or responses; ``NAME=PATH`` names it.

    Args:
        source: the directory or file.
        responses: files of the responses that were scored, where they do not lie under the source.

    Raises:
        UserError: when there is nothing to report, or two different answers under one model and id.
    """
    label, path = _labeled(source)
    if not path.exists():
        raise UserError(
            f"{path} does not exist; give a study, or directories in which evaluators wrote scores"
        )
    reader = _Reader(Material(label), path)
    places = [path] if path.is_file() else list(_walk(path))
    for place in places:
        reader.take(place, named=path.is_file())
    for name in responses:
        reader.responses(Path(name))
    return reader.finish()


def _labeled(source: str) -> tuple[str, Path]:
    path = Path(source)
    if not path.exists() and "=" in source:
        label, _, rest = source.partition("=")
        return label, Path(rest)
    absolute = path.absolute()
    return (absolute.name if path.is_dir() else absolute.parent.name) or str(path), path


def _walk(root: Path) -> Iterator[Path]:
    """The files under ``root``, without those of stages that a study no longer has."""
    study = root
    stages: set[Any] | None = None
    for folder, names, files in os.walk(root):
        here = Path(folder)
        if STAGES in files:
            study, stages = here, set(read_json_object(here / STAGES).get("stages") or ())
        is_stage = "identity.json" in files and here.is_relative_to(study)
        if stages is not None and is_stage and here.relative_to(study).as_posix() not in stages:
            names.clear()
            continue
        names[:] = sorted(name for name in names if not _SKIPPED.fullmatch(name))
        yield from (here / name for name in sorted(files))


class _Reader:
    """Reads files into a ``Material``; what cannot be read of a whole tree is one sentence and not the end."""

    def __init__(self, material: Material, root: Path) -> None:
        self.found, self._root = material, root
        self._scored: set[tuple[str, str, str, str, Any]] = set()
        self._about: dict[Key, Mapping[str, Any]] = {}
        self._languages: dict[Key, str] = {}
        self._origin: dict[Key, Path] = {}

    def take(self, path: Path, *, named: bool) -> None:
        """Read a file if it is of a known kind; a file that the user has named must be of one."""
        readers = {
            "scores.jsonl": self._scores,
            ANSWERS: self._answers,
            "judge.json": self._judge,
            "calls.jsonl": self._calls,
            "metrics.jsonl": self._run,
            "identity.json": self._stage,
            "choice.json": self._choice,
            "choose.json": self._choice,
            "effects.json": self._effects,
            "ratings.jsonl": self._ratings,
            "summary.json": self._summary,
        }
        read = readers.get(path.name)
        if read is None and path.name.endswith(GENERATION):
            read = self._generation
        if read is None and path.name.endswith(JUDGE_REPORT) and path.with_name("judge.json").is_file():
            read = self._trust
        if read is None and (named or _holds_responses(path)):
            read = self.responses
        if read is None:
            return
        try:
            read(path)
            self.found.files += 1
        except _DoubledError as problem:
            raise UserError(str(problem)) from None
        except (UserError, OSError) as problem:
            if named:
                raise
            self.found.problems.append(f"{path} could not be read: {first_line(problem)}.")

    def responses(self, path: Path) -> None:
        """Add the responses of a file; one that is there already, unchanged, counts once."""
        for response in iterate_responses([path]):
            known = self.found.responses.get(response.key)
            if known is not None and known.response != response.response:
                raise _DoubledError(
                    f"{path}: the model {response.model!r} has two answers under the id {response.id!r}, "
                    f"the other one in {self._origin[response.key]}; give the directories apart, each as "
                    f"NAME=DIRECTORY"
                )
            self.found.responses[response.key] = response
            self._origin[response.key] = path

    def _scores(self, path: Path) -> None:
        for score in read_scores(path):
            if score.detail.get("probe"):
                continue
            judged = score.metric.startswith(PREFIX)
            call = (score.detail.get("judge"), score.detail.get("repeat")) if judged else None
            place = (score.model, score.id, score.metric, score.language, call)
            if place in self._scored:
                continue  # the same score in two folders, such as one that a judge's run has copied
            self._scored.add(place)
            key = (score.model, score.id)
            if score.language and not score.metric.startswith(("modifier_", "placebo_")):
                self._languages.setdefault(key, score.language)
            if judged:
                kept = {
                    name: score.detail[name] for name in ("judge", "repeat", "reason") if name in score.detail
                }
                self.found.judged.append(replace(score, detail=kept))
            else:
                self._evidence(score, key)
                reason = {"reason": score.reason} if score.state == "abstain" else {}
                self.found.scores.append(replace(score, detail=reason))

    def _evidence(self, score: Score, key: Key) -> None:
        detail = score.detail
        if score.metric == "language_correct" and detail.get("language"):
            self._of(key).found_language = str(detail["language"])
        elif score.metric == "line_language" and detail.get("lines"):
            self._of(key).passages = tuple(
                Passage(str(line.get("text", "")), str(line.get("language", ""))) for line in detail["lines"]
            )
        elif score.metric in _WORD_KINDS and isinstance(detail.get("words"), dict):
            words, kind = self._of(key).words, _WORD_KINDS[score.metric]
            for word, count in detail["words"].items():
                if isinstance(count, dict):  # foreign words stand under their language
                    words += [UnknownWord(each, kind, word) for each in count]
                else:
                    words.append(UnknownWord(word, kind))

    def _of(self, key: Key) -> Evidence:
        return self.found.evidence.setdefault(key, Evidence())

    def _answers(self, path: Path) -> None:
        for row in read_answers(path):
            self._about[row["model"], row["id"]] = row

    def _judge(self, path: Path) -> None:
        for name, run in read_json_object(path).items():
            if not isinstance(run, dict) or "criteria" not in run:
                continue
            rubric = load_rubric(run["criteria"], preset=run["preset"], language=run["rubric_language"])
            self.found.criteria |= {each.name: each for each in rubric.criteria}
            self.found.rubrics.append(tuple(each.name for each in rubric.criteria))
            for judge, about in run.get("judges", {}).items():
                self.found.judges[f"{judge} ({name})"] = {
                    **about,
                    **{key: run[key] for key in ("preset", "rubric_sha256", "repeats") if key in run},
                }

    def _calls(self, path: Path) -> None:
        for _, row in iterate_jsonl(path):
            choice = first_choice(row.get("body")) if isinstance(row, dict) else None
            if choice is not None and not row.get("probe"):
                message = choice["message"]
                words = message_text(message.get("content")) or str(message.get("refusal") or "")
                said = Said(str(row.get("judge", "")), str(row.get("repeat", 0)), words[:LONGEST_WORDS])
                self.found.said.setdefault((str(row.get("model")), str(row.get("id"))), []).append(said)

    def _ratings(self, path: Path) -> None:
        numbers: dict[str, int] = {}
        for line, row in iterate_jsonl(path):
            try:
                rater = str(row.get("rater") or "a rater")
                criterion = str(row.get("criterion") or row["metric"]).rpartition("/")[2]
                value, key = row.get("value"), (str(row.get("model", "")), str(row["id"]))
                state = "ok" if value is not None else "abstain"
                value = None if value is None else float(value)
            except (KeyError, TypeError, ValueError, AttributeError):
                raise UserError(f"{path}, line {line}: not a rating (id, criterion, value)") from None
            number = numbers.setdefault(rater, len(numbers))
            detail = {"judge": PEOPLE, "repeat": number, "rater": rater}
            if state == "abstain":
                detail["reason"] = "cannot judge"
            self.found.judged.append(Score(key[1], PREFIX + criterion, value, state, detail, key[0]))
            if row.get("comment"):
                said = Said(PEOPLE, rater, str(row["comment"])[:LONGEST_WORDS])
                self.found.said.setdefault(key, []).append(said)

    def _run(self, path: Path) -> None:
        folder = path.parent
        if not (folder / "config.yaml").is_file():
            return
        settings = yaml.safe_load(read_text(folder / "config.yaml"))
        if not isinstance(settings, dict):
            raise UserError(f"{folder / 'config.yaml'} does not hold the settings of a run")
        record = folder / "provenance.json"
        provenance = read_json_object(record) if record.is_file() else {}
        rows = tuple(row for _, row in iterate_jsonl(path) if isinstance(row, dict) and "step" in row)
        self.found.runs.append(TrainedRun(self._place(folder), settings, provenance, rows))

    def _stage(self, path: Path) -> None:
        record = read_json_object(path)
        # The report's own stage has only begun, whenever a report is made.
        if {"stage", "state", "inputs"} <= record.keys() and record["stage"] != "report":
            self.found.stages.append(
                StageRecord(
                    self._place(path.parent),
                    str(record["state"]),
                    str(record.get("reason", "")),
                    float(record.get("seconds") or 0.0),
                )
            )

    def _choice(self, path: Path) -> None:
        self.found.choices.append(read_json_object(path))

    def _effects(self, path: Path) -> None:
        document = read_json_object(path)
        if {"rows", "verdicts", "notes"} <= document.keys():
            self.found.effects.append(document)

    def _trust(self, path: Path) -> None:
        cells = read_json_object(path).get("cells")
        if not isinstance(cells, list) or not all(
            isinstance(each, dict) and "status" in each for each in cells
        ):
            raise UserError("not a report of judge-report")
        rubric = path.name.removesuffix(JUDGE_REPORT)
        self.found.trust += [{**each, "rubric": rubric, "place": self._place(path.parent)} for each in cells]

    def _summary(self, path: Path) -> None:
        for command, provenance in (read_json_object(path).get("provenance") or {}).items():
            self.found.summaries.setdefault(command, provenance)

    def _generation(self, path: Path) -> None:
        self.found.generations.append(read_json_object(path))

    def _place(self, folder: Path) -> str:
        place = folder.relative_to(self._root).as_posix()
        return folder.absolute().name if place == "." else place

    def finish(self) -> Material:
        """The material, with an owner for each score and something to know about each answer.

        Raises:
            UserError: when nothing was found.
        """
        found = self.found
        if not (found.responses or found.scores or found.judged or found.runs or found.stages):
            told = f" ({found.problems[0]})" if found.problems else ""
            raise UserError(f"{self._root} holds neither responses nor scores nor runs of ours{told}")
        owners: dict[str, set[str]] = {}
        for model, id in (*found.responses, *self._about, *((each.model, each.id) for each in found.scores)):
            if model:
                owners.setdefault(id, set()).add(model)
        found.scores = list(self._owned(found.scores, owners))
        found.judged = list(self._owned(found.judged, owners))
        for score in (*found.scores, *found.judged):
            key = (score.model, score.id)
            if key not in found.responses:
                found.unread.add(key)
                found.responses[key] = self._told(key)
        return found

    def _owned(self, scores: Iterable[Score], owners: Mapping[str, set[str]]) -> Iterator[Score]:
        lost = 0
        for score in scores:
            models = {score.model} if score.model else owners.get(score.id, {self.found.label})
            if len(models) == 1:
                yield replace(score, model=next(iter(models)))
            else:
                lost += 1
        if lost:
            self.found.problems.append(f"{lost} scores name no model, and several models have their ids.")

    def _told(self, key: Key) -> Response:
        """What is known of an answer whose text is not given."""
        about = self._about.get(key, {})
        texts: dict[str, Any] = {
            name: str(about[name]) for name in ("task", "finish_reason", "instruction_id") if about.get(name)
        }
        modifier = about.get("modifier")
        modifier = modifier if isinstance(modifier, dict) and "name" in modifier else None
        return Response(key[1], key[0], language=self._languages.get(key, ""), modifier=modifier, **texts)


class _DoubledError(UserError):
    """Two answers of one name, which would mix two models."""


def _holds_responses(path: Path) -> bool:
    """Whether the first line of a file of JSON Lines is a response."""
    name = path.name.removesuffix(".gz")
    if not name.endswith(".jsonl") or name in _NAMED or name.endswith(".journal.jsonl"):
        return False
    try:
        _, row = next(iterate_jsonl(path), (0, None))
    except UserError:
        return path.name.startswith("responses")  # to say what is wrong with it
    return isinstance(row, dict) and "id" in row and "response" in row


def short_json(value: Any) -> str:
    """A setting or a part of a record on one line."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
