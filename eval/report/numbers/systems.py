"""Systems: what a report compares. The seeds of one configuration and learning rate are one system."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from xltjax.common.errors import UserError
from xltjax.eval.comparison.candidates import parse_name
from xltjax.eval.report.numbers.sources import Key, Material

ONE = "the model"  # the configuration of models whose names are rates alone


@dataclass(frozen=True)
class System:
    """Models that differ in their seeds alone.

    Attributes:
        name: as tables show it.
        configuration: base model, data and adaptation: everything but the rate.
        rate: the peak learning rate; None when it is not known.
        models: the names of the models, as the responses have them.
        side: of a report of two sources, the label of the source; empty otherwise.
    """

    name: str
    configuration: str
    rate: float | None
    models: tuple[str, ...]
    side: str = ""

    @property
    def twin(self) -> tuple[str, float | None]:
        """What a system of the other side has in common with this one."""
        return self.configuration.removeprefix(f"{self.side}: "), self.rate


def rate_text(rate: float) -> str:
    """A learning rate with as few digits as tell it.

    >>> rate_text(1e-4), rate_text(0.00025), rate_text(3e-05)
    ('1e-4', '2.5e-4', '3e-5')
    """
    digits, _, exponent = f"{rate:.10e}".partition("e")
    return f"{digits.rstrip('0').rstrip('.')}e{int(exponent)}"


def find_systems(models: Iterable[str], rates: Mapping[str, float], sides: Mapping[str, str]) -> list[System]:
    """The systems of some models, sorted by configuration and rate.

    Args:
        models: the names of the models.
        rates: the learning rate of models whose run directory is known.
        sides: the label of the source of each model, in a report of two sources with models of the same names.
    """
    groups: dict[tuple[str, str, float | None], list[str]] = {}
    for model in models:
        side = sides.get(model, "")
        configuration, rate = _parts(model.removeprefix(f"{side}: "))
        groups.setdefault((side, configuration, rates.get(model) if rate is None else rate), []).append(model)
    systems = []
    for (side, configuration, rate), members in groups.items():
        prefix = f"{side}: " if side else ""
        name = prefix + configuration + ("" if rate is None else f", lr {rate_text(rate)}")
        systems.append(System(name, prefix + configuration, rate, tuple(sorted(members)), side))
    return sorted(systems, key=lambda each: (each.configuration, each.rate or 0.0))


def _parts(model: str) -> tuple[str, float | None]:
    """The configuration and the rate that the name of a model says."""
    family, rate, seed = parse_name(model)
    if rate is None and seed is None:
        return model, None
    return family or ONE, rate


@dataclass(frozen=True)
class Joined:
    """The material of all sources as one, and the side of each model where there are two of the same names."""

    material: Material
    sides: Mapping[str, str]


def join(materials: Sequence[Material]) -> Joined:
    """Put the materials of several sources together.

    Sources may hold different scores of the same answers. Where two of them hold other answers or scores under the
    same model and id, each model is named for its source.

    Raises:
        UserError: when that happens with more than two sources, or two that cannot be told apart.
    """
    clash = _clash(materials)
    sides: dict[str, str] = {}
    if clash:
        labels = [each.label for each in materials]
        if len(materials) > 2:
            raise UserError(
                f"several directories have answers of {clash!r}; a report compares two of them: report A B"
            )
        if labels[0] == labels[1]:
            raise UserError(f"both directories are called {labels[0]!r}; name them: A=DIRECTORY B=DIRECTORY")
        materials = [_renamed(each, sides) for each in materials]
    joined = Material(" and ".join(dict.fromkeys(each.label for each in materials)))
    for each in materials:
        known = {key: joined.responses[key] for key in each.unread if key in joined.responses}
        joined.responses |= each.responses | known
        joined.evidence |= each.evidence
        for key, said in each.said.items():
            joined.said.setdefault(key, []).extend(said)
        for name in (
            "scores",
            "judged",
            "runs",
            "stages",
            "choices",
            "effects",
            "trust",
            "rubrics",
            "generations",
            "problems",
        ):
            getattr(joined, name).extend(getattr(each, name))
        for name in ("criteria", "summaries", "judges"):
            getattr(joined, name).update(getattr(each, name))
        joined.files += each.files
    texts = {key for each in materials for key in each.responses.keys() - each.unread}
    joined.unread = joined.responses.keys() - texts
    return Joined(joined, sides)


def _clash(materials: Sequence[Material]) -> str:
    """A model of which two sources have other answers, or scores of one metric; empty when there is none."""
    answers: dict[Key, str] = {}
    scored: dict[tuple[str, str, str, object], int] = {}
    for number, each in enumerate(materials):
        for key, response in each.responses.items():
            if key not in each.unread and answers.setdefault(key, response.response) != response.response:
                return key[0]
        for score in (*each.scores, *each.judged):
            call = (score.detail.get("judge"), score.detail.get("repeat"))
            if scored.setdefault((score.model, score.id, score.metric, call), number) != number:
                return score.model
    return ""


def _renamed(material: Material, sides: dict[str, str]) -> Material:
    """The material with the label before each model; ``sides`` learns which is which."""

    def name(model: str) -> str:
        full = f"{material.label}: {model}"
        sides[full] = material.label
        return full

    return replace(
        material,
        responses={(name(m), i): replace(r, model=name(m)) for (m, i), r in material.responses.items()},
        unread={(name(m), i) for m, i in material.unread},
        scores=[replace(score, model=name(score.model)) for score in material.scores],
        judged=[replace(score, model=name(score.model)) for score in material.judged],
        evidence={(name(m), i): value for (m, i), value in material.evidence.items()},
        said={(name(m), i): value for (m, i), value in material.said.items()},
        judges={f"{material.label}: {judge}": about for judge, about in material.judges.items()},
        summaries={f"{material.label}: {key}": value for key, value in material.summaries.items()},
        runs=[replace(run, path=f"{material.label}: {run.path}") for run in material.runs],
        stages=[replace(stage, path=f"{material.label}: {stage.path}") for stage in material.stages],
    )
