"""Rubrics as YAML files: the criteria of the project and those of users, in one format (docs/judging.md)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from xltjax.common.errors import UserError, did_you_mean, first_line
from xltjax.common.files import read_text
from xltjax.common.languages import language_code

BUILT_IN = ("six", "relevance", "modifier")
_TOP = ("name", "language", "modifier", "criteria", "translations", "conditions", "frame")
_CRITERION = ("title", "question", "levels", "scale", "lowest", "needs_language", "aliases")
_WORDING = ("title", "question", "levels")
_FRAME = ("task", "condition", "criteria", "reply")
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_WIDEST = 100  # levels of a scale


@dataclass(frozen=True)
class Wording:
    """How one criterion is asked for in one language; ``levels`` describes some or all levels of the scale."""

    title: str
    question: str
    levels: Mapping[int, str]


@dataclass(frozen=True)
class CriterionText:
    """One criterion of a file: its scale and reading, and its wording by language."""

    scale: tuple[int, int]
    lowest: int
    needs_language: bool
    aliases: tuple[str, ...]
    wording: Mapping[str, Wording]


@dataclass(frozen=True)
class RubricFile:
    """A file of criteria.

    Attributes:
        name: the name of the rubric.
        language: the language of the file itself.
        modifier: whether the criteria concern the modifier of an instruction, so that the prompt states it.
        criteria: by name, in the order in which the judge reads them.
        conditions: what modifiers ask for, by language and name.
        frames: the text around the criteria, by language: those of the project and those of the file.
    """

    name: str
    language: str
    modifier: bool
    criteria: Mapping[str, CriterionText]
    conditions: Mapping[str, Mapping[str, str]]
    frames: Mapping[str, Mapping[str, str]] = field(repr=False)

    def languages(self) -> list[str]:
        """The languages in which every criterion and the text around them are worded."""
        worded = (set(text.wording) for text in self.criteria.values())
        return sorted(set(self.frames).intersection(*worded))


def read_rubric(criteria: str) -> RubricFile:
    """The rubric of that name, or of that file.

    Raises:
        UserError: when there is none, or it is not as the documentation says; the message names the place.
    """
    folder = resources.files("xltjax.eval") / "prompts"
    frames = yaml.safe_load((folder / "frame.yaml").read_text(encoding="utf-8"))
    if criteria in BUILT_IN:
        text, path = (folder / f"{criteria}.yaml").read_text(encoding="utf-8"), Path(f"{criteria}.yaml")
    elif Path(criteria).suffix.lower() in (".yaml", ".yml") or Path(criteria).exists():
        path = Path(criteria)
        text = read_text(path)
    else:
        raise UserError(
            f"criteria {criteria!r} are unknown; {did_you_mean(criteria, BUILT_IN)} Or give a YAML file of your own"
        )
    return _Reader(path).read(parse_yaml(text, path), frames)


class _UniqueKeys(yaml.SafeLoader):
    """Refuses a key that comes twice, of which YAML would keep the last one in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if key_node.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key_node.value!r} occurs twice", key_node.start_mark
                )
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


def parse_yaml(text: str, path: Path) -> Any:
    """The document of a YAML file that people write.

    Raises:
        UserError: naming the line that is not YAML, or has a key that comes twice.
    """
    try:
        return yaml.load(text, _UniqueKeys)  # a SafeLoader
    except yaml.MarkedYAMLError as problem:
        line = problem.problem_mark.line + 1 if problem.problem_mark else 1
        raise UserError(f"{path}, line {line}: not YAML ({problem.problem})") from None
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as problem:
        raise UserError(f"{path}: not YAML ({first_line(problem)})") from None


@dataclass(frozen=True)
class DocumentReader:
    """Checks a file that people write on the way; every message names the file and the place in it."""

    path: Path

    def _mapping(self, value: Any, place: str, keys: tuple[str, ...] = ()) -> dict[Any, Any]:
        if not isinstance(value, dict):
            raise self._error(place, "must be a mapping (key: value)")
        for key in value:
            if keys and key not in keys:
                raise self._error(place, f"unknown key {key!r}; {did_you_mean(str(key), keys)}")
        return value

    def _text(self, value: Any, place: str) -> str:
        if not isinstance(value, str) or not value.strip():
            raise self._error(place, "must be text; put it into quotation marks")
        return value.strip()

    def _language(self, value: Any, place: str) -> str:
        try:
            return language_code(self._text(value, place))
        except UserError as problem:
            raise self._error(place, str(problem)) from None

    def _error(self, place: str, problem: str) -> UserError:
        return UserError(f"{self.path}: {place}: {problem}")


@dataclass(frozen=True)
class _Reader(DocumentReader):
    """A file of criteria."""

    def read(self, document: Any, frames: Mapping[str, Any]) -> RubricFile:
        top = self._mapping(document, "the file", _TOP)
        language = self._language(top.get("language", "en"), "language")
        criteria = self._mapping(top.get("criteria"), "criteria")
        if not criteria:
            raise self._error("criteria", "name at least one")
        translations = {
            self._language(code, "translations"): self._mapping(
                texts, f"translations.{code}", tuple(criteria)
            )
            for code, texts in self._mapping(top.get("translations", {}), "translations").items()
        }
        read = {
            name: self._criterion(name, values, language, translations) for name, values in criteria.items()
        }
        self._check_aliases(read)
        return RubricFile(
            self._text(top.get("name", self.path.stem), "name"),
            language,
            self._truth(top.get("modifier", False), "modifier"),
            read,
            self._by_language(top.get("conditions", {}), "conditions"),
            {**frames, **self._frames(top.get("frame", {}))},
        )

    def _criterion(
        self, name: Any, values: Any, language: str, translations: Mapping[str, Mapping[str, Any]]
    ) -> CriterionText:
        place = f"criteria.{name}"
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise self._error(place, "a name has small letters a-z, digits and _, and begins with a letter")
        given = self._mapping(values, place, _CRITERION)
        levels = self._levels(given.get("levels", {}), f"{place}.levels")
        scale = self._scale(given.get("scale"), levels, place)
        wording = {language: self._wording(given, name, scale, place)}
        for code, texts in translations.items():
            if name in texts:
                where = f"translations.{code}.{name}"
                translated = self._mapping(texts[name], where, _WORDING)
                wording[code] = self._wording(translated, name, scale, where)
                if wording[code].levels.keys() != levels.keys():
                    raise self._error(f"{where}.levels", f"describe the levels that {place} describes")
        needs_language = self._truth(given.get("needs_language", True), f"{place}.needs_language")
        lowest = given.get("lowest", scale[0])
        if not _whole(lowest):
            raise self._error(f"{place}.lowest", "a whole number")
        aliases = given.get("aliases", [])
        if not isinstance(aliases, list):
            raise self._error(f"{place}.aliases", "a list of names")
        return CriterionText(
            scale,
            lowest,
            needs_language,
            tuple(self._text(each, f"{place}.aliases") for each in aliases),
            wording,
        )

    def _wording(self, given: Mapping[str, Any], name: str, scale: tuple[int, int], place: str) -> Wording:
        levels = self._levels(given.get("levels", {}), f"{place}.levels")
        for level in levels:
            if not scale[0] <= level <= scale[1]:
                raise self._error(f"{place}.levels", f"{level} is not on the scale {scale[0]} to {scale[1]}")
        title = self._text(given.get("title", name), f"{place}.title")
        return Wording(title, self._text(given.get("question"), f"{place}.question"), levels)

    def _levels(self, values: Any, place: str) -> dict[int, str]:
        levels = self._mapping(values, place)
        for level in levels:
            if not _whole(level):
                raise self._error(place, f"a level is a whole number, not {level!r}")
        return {level: self._text(levels[level], f"{place}.{level}") for level in sorted(levels)}

    def _scale(self, values: Any, levels: Iterable[int], place: str) -> tuple[int, int]:
        if values is None:
            if len(list(levels)) < 2:
                raise self._error(place, "give two levels or more, or a scale such as [1, 5]")
            values = [min(levels), max(levels)]
        if not (isinstance(values, list) and len(values) == 2 and all(map(_whole, values))):
            raise self._error(f"{place}.scale", "two whole numbers, such as [1, 5]")
        low, high = values
        if not 0 < high - low < _WIDEST:
            raise self._error(f"{place}.scale", f"from low to high, with at most {_WIDEST} levels")
        return low, high

    def _check_aliases(self, criteria: Mapping[str, CriterionText]) -> None:
        owners: dict[str, str] = {}
        for name, text in criteria.items():
            titles = (wording.title for wording in text.wording.values())
            for alias in {normal_name(each) for each in (name, *text.aliases, *titles)}:
                if owners.setdefault(alias, name) != name:
                    raise self._error(
                        f"criteria.{name}",
                        f"{alias!r} is also a name of {owners[alias]}; a name has one criterion",
                    )

    def _frames(self, values: Any) -> dict[str, dict[str, str]]:
        frames = self._by_language(values, "frame")
        for code, texts in frames.items():
            if sorted(texts) != sorted(_FRAME):
                raise self._error(f"frame.{code}", f"needs the texts {', '.join(_FRAME)}")
            for name, marks in (("task", ("TASK", "SUBMISSION", "MARK")), ("condition", ("CONDITION",))):
                for mark in marks:
                    if f"%%%{mark}%%%" not in texts[name]:
                        raise self._error(f"frame.{code}.{name}", f"must contain %%%{mark}%%%")
            if "%%%KEYS%%%" not in texts["reply"]:
                raise self._error(f"frame.{code}.reply", "must contain %%%KEYS%%%")
        return frames

    def _by_language(self, values: Any, place: str) -> dict[str, dict[str, str]]:
        return {
            self._language(code, place): {
                str(name): self._text(text, f"{place}.{code}.{name}")
                for name, text in self._mapping(texts, f"{place}.{code}").items()
            }
            for code, texts in self._mapping(values, place).items()
        }

    def _truth(self, value: Any, place: str) -> bool:
        if not isinstance(value, bool):
            raise self._error(place, "true or false")
        return value


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def normal_name(name: str) -> str:
    """A name of a criterion as it is compared: small letters, and words and digits with one space between them.

    >>> normal_name("**Logical_Coherence**:")
    'logical coherence'
    """
    return " ".join(re.findall(r"[^\W_]+", name.casefold()))
