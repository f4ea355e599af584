"""Rubrics: what a judge is asked about a response, and the scale on which it answers."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from xltjax.common.errors import UserError, did_you_mean
from xltjax.common.languages import language_code
from xltjax.data.released import params_from_instruction
from xltjax.data.responses import Response
from xltjax.eval.judge.prompts import break_chat_marks, content_mark, fill, load_prompt
from xltjax.eval.judge.rubric_files import RubricFile, read_rubric
from xltjax.eval.text.segmentation import is_empty

PRESETS = ("paper", "xlt")
# The criterion whose lowest level says that the response is in the wrong language.
LANGUAGE = "language"
_PARAMETER = re.compile(r"\{(\w+)\}")
_PAPER_PROMPTS = {"six": "paper-six.txt", "relevance": "paper-relevance.txt"}


@dataclass(frozen=True)
class Criterion:
    """One thing that is scored.

    Attributes:
        name: the key under which the judge gives it.
        scale: the lowest and the highest level that the judge is asked for.
        lowest: what the lowest level is reported as; stars from 1 to 3 are reported as 0 to 2.
        needs_language: whether it means something only for a response in the right language (in the paper, all
            criteria but language).
        aliases: other names under which a judge may give it.
    """

    name: str
    scale: tuple[int, int]
    lowest: int
    needs_language: bool
    aliases: tuple[str, ...] = ()

    @property
    def highest(self) -> int:
        """What the highest level is reported as."""
        return self.lowest + self.scale[1] - self.scale[0]


@dataclass(frozen=True)
class Rubric:
    """Some criteria and the prompt for them: one call of the judge scores them all.

    Attributes:
        name: the name of the rubric.
        preset: ``paper`` (the paper's own text, filled in verbatim) or ``xlt``.
        language: the language of the prompt.
        criteria: in the order in which the judge reads them.
        template: the prompt, with placeholders.
        reading: ``json`` when the judge answers with an object, ``digit`` when the last 0 or 1 that it writes
            counts (the paper's relevance).
        conditions: what modifiers ask for, by name, in the language of the prompt.
    """

    name: str
    preset: str
    language: str
    criteria: tuple[Criterion, ...]
    template: str
    reading: Literal["json", "digit"] = "json"
    conditions: Mapping[str, str] = field(default_factory=dict)

    @property
    def needs_modifier(self) -> bool:
        """Whether only responses with a modifier can be judged."""
        return "%%%CONDITION%%%" in self.template

    def lacks(self, response: Response) -> str:
        """Why the judge cannot be asked about ``response``; empty when it can be."""
        if response.failure:
            return response.failure
        if is_empty(response.instruction):
            return "the instruction is not given"
        return "no modifier" if self.needs_modifier and response.modifier is None else ""

    def messages(self, response: Response) -> list[dict[str, str]]:
        """The request as chat messages: one turn of the user, which every chat model takes.

        In preset ``xlt`` the data stands between lines that carry a mark computed from the data, so that no
        response can contain it, and marks of chat templates in the data are broken up. Preset ``paper`` fills in
        the data as they are, as the paper did, so that a response can talk to the judge.
        """
        task, answer = response.instruction, response.response
        if self.preset == "paper":
            values = {"TASK": task, "SUBMISSION": answer, "MODEL RESPONSE": answer}
        else:
            condition = self._condition(response)
            values = {
                "TASK": break_chat_marks(task),
                "SUBMISSION": break_chat_marks(answer),
                "CONDITION": break_chat_marks(condition),
                "MARK": content_mark(task, answer, condition),
            }
        return [{"role": "user", "content": fill(self.template, values)}]

    def _condition(self, response: Response) -> str:
        if response.modifier is None:
            return ""
        name, params = response.modifier["name"], dict(response.modifier.get("params") or {})
        if name not in self.conditions:
            return " ".join([name, *(f"{key}={value}" for key, value in params.items())])
        text = self.conditions[name]
        if not set(_PARAMETER.findall(text)) <= params.keys():
            params |= params_from_instruction(name, response.instruction, response.language) or {}
        return _PARAMETER.sub(lambda found: str(params.get(found[1], "?")), text)

    def schema(self) -> dict[str, Any] | None:
        """The strict JSON schema of the answer; None when the prompt does not ask for JSON."""
        if self.reading != "json":
            return None
        properties = {
            each.name: {"type": "integer", "enum": list(range(each.scale[0], each.scale[1] + 1))}
            for each in self.criteria
        }
        return {
            "type": "object",
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        }

    def digest(self) -> str:
        """A sha256 of all that the request about a response depends on besides the response."""
        parts = [self.preset, self.template, repr(sorted(self.conditions.items())), repr(self.schema())]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def load_rubric(criteria: str, *, preset: str, language: str) -> Rubric:
    """The rubric ``six``, ``relevance``, ``modifier``, or one of a user's YAML file.

    Args:
        criteria: a name, or the path of a file.
        preset: ``paper`` or ``xlt``.
        language: the language in which the judge is asked.

    Raises:
        UserError: for an unknown name, a file that is not a rubric, or one that is not worded in ``language``.
    """
    if preset not in PRESETS:
        raise UserError(f"preset {preset!r} is unknown; {did_you_mean(preset, PRESETS)}")
    language = language_code(language)
    if preset == "paper":
        return _paper_rubric(criteria, language)
    file = read_rubric(criteria)
    if language not in file.languages():
        worded = all(language in text.wording for text in file.criteria.values())
        if worded:
            raise UserError(
                f"{criteria}: there is no text around the criteria in {language!r}; add frame.{language}"
            )
        known = ", ".join(file.languages())
        raise UserError(f"criteria {criteria!r} are not worded in {language!r}, but in: {known or 'none'}")
    return Rubric(
        file.name,
        preset,
        language,
        _criteria(file),
        _template(file, language),
        conditions=file.conditions.get(language, {}),
    )


def load_criteria(criteria: str) -> tuple[Criterion, ...]:
    """The criteria of a rubric, in whichever languages they are worded.

    Raises:
        UserError: for an unknown name, or a file that is not a rubric.
    """
    return _criteria(read_rubric(criteria))


def _paper_rubric(criteria: str, language: str) -> Rubric:
    if criteria not in _PAPER_PROMPTS:
        raise UserError(
            f"the paper gives no prompt for criteria {criteria!r}, only for six and relevance; use --preset xlt"
        )
    if language != "en":
        raise UserError(f"the paper's prompts are in English, not in {language!r}; use --preset xlt")
    prompt = load_prompt(_PAPER_PROMPTS[criteria])
    reading: Literal["json", "digit"] = "json" if criteria == "six" else "digit"
    return Rubric(criteria, "paper", "en", load_criteria(criteria), prompt, reading)


def _criteria(file: RubricFile) -> tuple[Criterion, ...]:
    """The criteria of a file, with their titles in all languages among the aliases."""
    return tuple(
        Criterion(
            name,
            text.scale,
            text.lowest,
            text.needs_language,
            tuple(dict.fromkeys([*text.aliases, *(each.title for each in text.wording.values())])),
        )
        for name, text in file.criteria.items()
    )


def _template(file: RubricFile, language: str) -> str:
    frame = file.frames[language]
    parts = [frame["task"]]
    if file.modifier:
        parts.append(frame["condition"])
    parts.append(frame["criteria"])
    for name, text in file.criteria.items():
        wording = text.wording[language]
        heading = name if wording.title == name else f"{name} ({wording.title})"
        levels = [f"  {level} = {described}" for level, described in wording.levels.items()]
        low, high = text.scale
        if len(levels) < high - low + 1:
            heading += f" [{low}-{high}]"
        parts.append("\n".join([f"{heading}: {wording.question}", *levels]))
    keys = ", ".join(f'"{name}"' for name in file.criteria)
    reply = frame["reply"].replace("%%%KEYS%%%", keys)
    return "\n\n".join([*parts, reply])
