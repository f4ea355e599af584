"""What annotators read on a sheet: the words of the page, the guideline and the criteria, in their language."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from string import Formatter
from typing import Any

from xltjax.common.errors import UserError
from xltjax.common.files import read_text
from xltjax.eval.judge.rubric_files import DocumentReader, RubricFile, Wording, parse_yaml

BUILT_IN = ("en", "fr", "pt", "ru", "de")
FALLBACK = "en"
_PARTS = ("language", "page", "guideline", "examples", "criteria")
_RIGHT_TO_LEFT = {"Arab", "Hebr", "Thaa", "Syrc", "Nkoo", "Adlm", "Rohg"}


@dataclass(frozen=True)
class Interface:
    """The words of a sheet in one language.

    Attributes:
        language: the code of the language.
        page: the words of the page by name, with the places of values in braces.
        steps: how to go about rating, for any criteria.
        rules: further rules by the name of the rubric.
        examples: by the name of the rubric, the criterion and the score.
        criteria: the wording of criteria that the rubric lacks in this language, by their names.
    """

    language: str
    page: Mapping[str, str]
    steps: Sequence[str]
    rules: Mapping[str, Sequence[str]] = field(default_factory=dict)
    examples: Mapping[str, Mapping[str, Mapping[int, str]]] = field(default_factory=dict)
    criteria: Mapping[str, Wording] = field(default_factory=dict)

    @property
    def direction(self) -> str:
        """``rtl`` for a language that is usually written from right to left, else ``ltr``."""
        import langcodes

        return "rtl" if langcodes.Language.get(self.language).maximize().script in _RIGHT_TO_LEFT else "ltr"


@dataclass(frozen=True)
class RatedCriterion:
    """A criterion as annotators see it; ``levels`` and ``examples`` are by score."""

    name: str
    title: str
    question: str
    scale: range
    levels: Mapping[int, str]
    examples: Mapping[int, str]


def load_interfaces(files: Iterable[str]) -> dict[str, Interface]:
    """The built-in interfaces and those of users, by language.

    What a user's file leaves out is taken from the built-in interface of the same language, if there is one.

    Raises:
        UserError: naming the file and the place in it that is missing or wrong.
    """
    folder = resources.files("xltjax.eval.people") / "interface"
    english = parse_yaml((folder / f"{FALLBACK}.yaml").read_text(encoding="utf-8"), Path("en.yaml"))
    documents = {FALLBACK: english}
    for code in BUILT_IN:
        text = (folder / f"{code}.yaml").read_text(encoding="utf-8")
        documents[code] = parse_yaml(text, Path(f"{code}.yaml"))
    found = {
        code: _Reader(Path(f"{code}.yaml"), english).read(document) for code, document in documents.items()
    }
    for name in files:
        path = Path(name)
        own = _Reader(path, english).read(parse_yaml(read_text(path), path), documents)
        found[own.language] = own
    return found


def rated_criteria(rubric: RubricFile, interface: Interface) -> list[RatedCriterion]:
    """The criteria of a rubric in the words of an interface, else of the rubric, in English where it has no others.

    Raises:
        UserError: for a scale that begins below 0, which the file of ratings does not hold.
    """
    found = []
    for name, text in rubric.criteria.items():
        if text.lowest < 0:
            raise UserError(f"criterion {name!r}: its scale begins at {text.lowest}; let lowest be 0 or more")
        scale = range(text.lowest, text.lowest + text.scale[1] - text.scale[0] + 1)
        shift = text.lowest - text.scale[0]
        known = text.wording.get(interface.language) or text.wording.get(FALLBACK)
        wording = interface.criteria.get(name)
        if wording is None:
            inner = known or text.wording[rubric.language]
            wording = Wording(
                inner.title, inner.question, {level + shift: says for level, says in inner.levels.items()}
            )
        examples = interface.examples.get(rubric.name, {}).get(name, {})
        title = wording.title[:1].upper() + wording.title[1:].replace("_", " ")
        found.append(RatedCriterion(name, title, wording.question, scale, wording.levels, examples))
    return found


@dataclass(frozen=True)
class _Reader(DocumentReader):
    """A file that is checked against the built-in English one."""

    model: Mapping[str, Any]

    def read(self, document: Any, built_in: Mapping[str, Any] | None = None) -> Interface:
        top = self._mapping(document, "the file", _PARTS)
        if "language" not in top:
            raise self._error("language", "is missing; give the code of the language, such as sw")
        language = self._language(top["language"], "language")
        base = (built_in or {}).get(language, {})
        page = {**base.get("page", {}), **self._page(top.get("page", {}))}
        if absent := [name for name in self.model["page"] if name not in page]:
            raise self._error(
                f"page.{absent[0]}", f"is missing ({len(absent)} texts are); en.yaml has them all"
            )
        guideline = self._mapping(top.get("guideline", {}), "guideline", ("steps", "rules"))
        before = base.get("guideline", {})
        steps = guideline.get("steps", before.get("steps"))
        if not steps:
            raise self._error("guideline.steps", "is missing; say in a few sentences how to rate")
        return Interface(
            language,
            page,
            self._texts(steps, "guideline.steps"),
            {
                str(name): self._texts(rules, f"guideline.rules.{name}")
                for name, rules in {
                    **before.get("rules", {}),
                    **self._mapping(guideline.get("rules", {}), "guideline.rules"),
                }.items()
            },
            self._examples(base.get("examples", {}), self._mapping(top.get("examples", {}), "examples")),
            self._criteria(top.get("criteria", {})),
        )

    def _page(self, values: Any) -> dict[str, str]:
        known = self.model["page"]
        given = {}
        for name, value in self._mapping(values, "page", tuple(known)).items():
            given[name] = self._text(value, f"page.{name}")
            if _places(given[name]) != _places(known[name]):
                wanted = ", ".join(f"{{{each}}}" for each in sorted(_places(known[name]))) or "no braces"
                raise self._error(f"page.{name}", f"needs {wanted}, as in en.yaml")
        return given

    def _examples(
        self, before: Mapping[str, Any], values: Mapping[str, Any]
    ) -> dict[str, dict[str, dict[int, str]]]:
        given = {name: self._mapping(criteria, f"examples.{name}") for name, criteria in values.items()}
        return {
            str(rubric): {
                str(name): self._levels(levels, f"examples.{rubric}.{name}")
                for name, levels in {**before.get(rubric, {}), **given.get(rubric, {})}.items()
            }
            for rubric in {**before, **given}
        }

    def _criteria(self, values: Any) -> dict[str, Wording]:
        found = {}
        for name, texts in self._mapping(values, "criteria").items():
            place = f"criteria.{name}"
            given = self._mapping(texts, place, ("title", "question", "levels"))
            found[str(name)] = Wording(
                self._text(given.get("title", str(name)), f"{place}.title"),
                self._text(given.get("question"), f"{place}.question"),
                self._levels(given.get("levels", {}), f"{place}.levels"),
            )
        return found

    def _levels(self, values: Any, place: str) -> dict[int, str]:
        found = {}
        for level, text in self._mapping(values, place).items():
            if isinstance(level, bool) or not isinstance(level, int):
                raise self._error(place, f"a score is a whole number, not {level!r}")
            found[level] = self._text(text, f"{place}.{level}")
        return found

    def _texts(self, values: Any, place: str) -> list[str]:
        if not isinstance(values, list):
            raise self._error(place, "must be a list of sentences")
        return [self._text(value, place) for value in values]


def _places(text: str) -> set[str]:
    """The names in braces; a brace without its partner is one too."""
    try:
        return {name for _, name, *_ in Formatter().parse(text) if name is not None}
    except ValueError:
        return {"{"}
