"""A rating sheet as one HTML file that works offline: what is rated stands in it as data that only become text."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jinja2
from markupsafe import Markup

from xltjax.eval.people.exports import MARKED
from xltjax.eval.people.plan import Item, letters
from xltjax.eval.people.schema import CANNOT_JUDGE, FORMAT, SCHEMA, SEVERITIES
from xltjax.eval.people.wording import Interface, RatedCriterion
from xltjax.eval.report.page import asset, policy

_PACKAGE = "xltjax.eval.people"
SHARED_SCRIPTS, SHARED_STYLES = ("element.js",), ("base.css",)
SCRIPTS = (
    "ratings.js",
    "storage.js",
    "clock.js",
    "markdown.js",
    "passages.js",
    "scales.js",
    "dialogs.js",
    "files.js",
    "sheet.js",
)
STYLES = ("sheet.css", "ratings.css")
_INNER_SPACE = re.compile(r" (?=[:;?!»](?:\W|$))|(?<=«) ")
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Sheet:
    """What one annotator rates in one language.

    Attributes:
        language: the code of the language of the answers.
        annotator: the number of the annotator.
        items: in the order in which they are shown.
        criteria: what is rated, in the words of the interface.
        rubric: the name of the rubric.
        interface: the words of the page.
    """

    language: str
    annotator: int
    items: Sequence[Item]
    criteria: Sequence[RatedCriterion]
    rubric: str
    interface: Interface

    @property
    def name(self) -> str:
        """The stem of its files."""
        return f"{self.language}-{self.annotator}"

    @property
    def hash(self) -> str:
        """16 letters that stand for all that is rated, and by which scales.

        The ids of the items are random and on no other sheet, so that the hash says nothing more than the sheet does.
        """
        whole = [
            self.language,
            self.annotator,
            [[each.name, each.scale[0], each.scale[-1]] for each in self.criteria],
            [[each.id, each.response.instruction, each.response.response] for each in self.items],
        ]
        return letters(hashlib.sha256(json.dumps(whole).encode()).hexdigest()[:16])


def sheet_html(sheet: Sheet) -> str:
    """The whole page."""
    style = "\n".join([*map(asset, SHARED_STYLES), *(asset(name, _PACKAGE) for name in STYLES)])
    script = "\n".join([*map(asset, SHARED_SCRIPTS), *(asset(name, _PACKAGE) for name in SCRIPTS)])
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(asset("sheet.html.jinja", _PACKAGE)).render(
        interface=sheet.interface,
        title=sheet.name,
        policy=policy(style, script),
        style=Markup(style),
        script=Markup(script),
        data=Markup(_embedded(_data(sheet))),
    )


def _data(sheet: Sheet) -> dict[str, Any]:
    """What the page's script reads. Each instruction stands in it once."""
    numbers: dict[str, int] = {}
    for item in sheet.items:
        numbers.setdefault(item.response.instruction, len(numbers))
    return {
        "format": FORMAT,
        "schema": SCHEMA,
        "sheet": sheet.hash,
        "language": sheet.language,
        "annotator": sheet.annotator,
        "cannotJudge": CANNOT_JUDGE,
        "severities": SEVERITIES,
        "criteria": [_criterion(each) for each in sheet.criteria],
        "words": {name: _unbroken(says) for name, says in sheet.interface.page.items()},
        "steps": list(map(_unbroken, sheet.interface.steps)),
        "rules": list(map(_unbroken, sheet.interface.rules.get(sheet.rubric, ()))),
        "instructions": list(numbers),
        "items": [
            [item.id, numbers[item.response.instruction], item.response.response] for item in sheet.items
        ],
    }


def _criterion(criterion: RatedCriterion) -> dict[str, Any]:
    return {
        "name": criterion.name,
        "title": criterion.title,
        "question": _unbroken(criterion.question),
        "lowest": criterion.scale[0],
        "highest": criterion.scale[-1],
        "levels": {str(level): _unbroken(says) for level, says in criterion.levels.items()},
        "examples": {str(level): _unbroken(says) for level, says in criterion.examples.items()},
        "marked": criterion.name in MARKED,
    }


def _unbroken(text: str) -> str:
    """The text with spaces at which no line may end, as French sets them before a colon or within quotation marks."""
    return _INNER_SPACE.sub("\u00a0", text)


def _embedded(data: Mapping[str, Any]) -> str:
    """JSON that can stand in a script element: no ``<`` can end it, and every file takes each letter."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    text = text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
