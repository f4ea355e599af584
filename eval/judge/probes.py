"""Probes: requests whose answers are not scores of a model, but say how a judge scores.

``language`` asks about the same answers with the rubric in the language of the response. ``copy`` puts an answer to
another instruction of the same language: the language of the answer is as good as before, but it is of no help.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from xltjax.common.errors import UserError, did_you_mean
from xltjax.data.responses import Response
from xltjax.eval.judge.rubric_files import read_rubric
from xltjax.eval.judge.rubrics import Rubric, load_rubric

PROBES = ("language", "copy")


@dataclass(frozen=True)
class ProbeItem:
    """One request of a probe.

    Attributes:
        rubric: what is asked.
        response: what it is asked about; ``id`` and ``model`` are those of the answer.
        detail: what its scores carry besides judge and repeat, ``probe`` among them.
    """

    rubric: Rubric
    response: Response
    detail: Mapping[str, Any]


def probe_items(
    kind: str, responses: Sequence[Response], *, criteria: str, preset: str, language: str
) -> list[ProbeItem]:
    """The requests of a probe, in the order of ``responses``; the same ones on every day.

    Args:
        kind: ``language`` or ``copy``.
        responses: those that the judge scores with the rubric itself.
        criteria: the rubric of the run, as in ``load_rubric``.
        preset: its preset.
        language: its language.

    Raises:
        UserError: when there is no such probe, or it has nothing to ask.
    """
    if kind not in PROBES:
        raise UserError(f"probe {kind!r} is unknown; {did_you_mean(kind, PROBES)}")
    rubric = load_rubric(criteria, preset=preset, language=language)
    asked = [response for response in responses if not rubric.lacks(response)]
    if kind == "copy":
        items = list(_copies(asked, rubric))
        if not items:
            raise UserError("--probe copy needs two instructions in one language that a model has answered")
        return items
    if preset == "paper":
        raise UserError(
            "--probe language needs a rubric in several languages; the paper's is in English only"
        )
    rubrics = {
        code: load_rubric(criteria, preset=preset, language=code)
        for code in read_rubric(criteria).languages()
        if code != rubric.language
    }
    items = [
        ProbeItem(
            rubrics[response.language],
            response,
            {"probe": "language", "rubric_language": response.language},
        )
        for response in asked
        if response.language in rubrics
    ]
    if not items:
        raise UserError(
            f"--probe language has nothing to ask: no response is in a language of the rubric besides "
            f"{rubric.language} ({', '.join(rubrics) or 'there are no others'})"
        )
    return items


def _copies(responses: Sequence[Response], rubric: Rubric) -> Iterator[ProbeItem]:
    """Each answer under the instruction of another one of the same model and language."""
    groups: dict[tuple[str, str], list[Response]] = {}
    for response in responses:
        groups.setdefault((response.model, response.language), []).append(response)
    places: dict[tuple[str, str], int] = {}
    for group in groups.values():
        # By hash, so that neighbors are not answers to instructions of one task.
        group.sort(key=lambda response: hashlib.sha256(response.id.encode()).digest())
        places |= {response.key: place for place, response in enumerate(group)}
    for response in responses:
        group = groups[response.model, response.language]
        place = places[response.key]
        target = None
        for step in range(1, len(group)):
            other = group[(place + step) % len(group)]
            if _unit(other) == _unit(response):
                continue
            if other.task != response.task:
                target = other
                break
            target = target or other
        if target is None:
            continue
        copied = replace(
            response,
            instruction=target.instruction,
            instruction_id=target.instruction_id,
            modifier=target.modifier,
        )
        yield ProbeItem(rubric, copied, {"probe": "copy", "instruction_of": target.id})


def _unit(response: Response) -> str:
    return response.instruction_id or response.instruction
