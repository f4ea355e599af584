"""From what was found to a ``Report``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from xltjax.eval.report.answers import browser_answers
from xltjax.eval.report.content import Report, Section, Table
from xltjax.eval.report.figures.drawing import FigureFiles
from xltjax.eval.report.figures.palette import configuration_looks, language_looks
from xltjax.eval.report.headline import changes, headline
from xltjax.eval.report.numbers.analysis import Analysis
from xltjax.eval.report.numbers.judged import Judged
from xltjax.eval.report.numbers.rates import choices
from xltjax.eval.report.numbers.sources import Material
from xltjax.eval.report.numbers.systems import join
from xltjax.eval.report.provenance import provenance_rows
from xltjax.eval.report.sections.agreement import agreement_section
from xltjax.eval.report.sections.changes import settings_changes
from xltjax.eval.report.sections.choice import choice_section
from xltjax.eval.report.sections.comparisons import comparison_section, sides_section
from xltjax.eval.report.sections.confusion import confusion_section
from xltjax.eval.report.sections.context import Context
from xltjax.eval.report.sections.criteria import criteria_section, criterion_rows
from xltjax.eval.report.sections.effects import effects_section
from xltjax.eval.report.sections.failures import failures_section
from xltjax.eval.report.sections.modifiers import modifiers_section
from xltjax.eval.report.sections.reported import reported_section
from xltjax.eval.report.sections.spelling import spelling_section
from xltjax.eval.report.sections.surface import surface_section
from xltjax.eval.report.sections.tasks import tasks_section
from xltjax.eval.report.sections.training import training_section


def build_report(
    materials: Sequence[Material],
    sources: Sequence[str],
    figures: FigureFiles,
    *,
    title: str = "",
    draws: int = 10_000,
) -> Report:
    """Every section, the headline above them, and the answers.

    Args:
        materials: what was found under each source.
        sources: their paths, as the user gave them.
        figures: draws and writes.
        title: of the report; made from the sources when it is empty.
        draws: of the bootstrap.

    Raises:
        UserError: when the sources cannot be put together.
    """
    context = _context(materials, figures, draws)
    analysis, material = context.analysis, context.analysis.material
    judged = Judged(analysis)
    criteria = criterion_rows(context, judged)
    surface = surface_section(context)
    lead = surface.figures[0] if surface.figures else None
    differences = comparison_section(context)
    changed = sides_section(context)
    sections = [
        replace(surface, figures=()),  # the first screen shows it
        choice_section(context),
        criteria_section(context, judged, criteria),
        tasks_section(context, judged),
        agreement_section(context, judged),
        modifiers_section(context, judged),
        confusion_section(context),
        spelling_section(context),
        training_section(context),
    ]
    claimed = effects_section(context)
    if claimed is not None:
        sections.insert(2, claimed)  # after the rates
    if changed is not None:
        changed = _with_settings(changed, settings_changes(materials[0], materials[1]))
        sections.insert(0, changed)
    scored = sum(bool(each.scores or each.judged) for each in materials)
    sections.insert(0 if scored == 2 and changed is None else len(sections), differences)
    sections += [reported_section(context, criteria), failures_section(context)]
    question, *answer = headline(context, judged, criteria)
    if changed is not None:
        answer.insert(
            0, changes(context, [dict(row) for row in changed.tables[-1].rows]) or changed.paragraphs[0]
        )
    sections.append(_text_numbers(analysis.facts.table()))
    return Report(
        title=title or f"Report of {material.label}",
        headline=(question, *answer),
        lead=lead,
        sections=tuple(sections),
        provenance=provenance_rows(material, sources),
        answers=browser_answers(material),
        model_colors={
            model: context.configurations[system.configuration].color
            for model, system in analysis.system_of.items()
        },
        language_colors={name: look.color for name, look in context.languages.items() if name},
    )


def _with_settings(changed: Section, settings: Table | None) -> Section:
    """The section about two sides, with what differs between their settings in front of its tables."""
    if settings is not None:
        return replace(changed, tables=(settings, *changed.tables))
    told = "No setting, tool or data differs between the two, as far as their records tell."
    return replace(changed, paragraphs=(*changed.paragraphs, told))


def _context(materials: Sequence[Material], figures: FigureFiles, draws: int) -> Context:
    joined = join(materials)
    rates = {
        run.name: float(run.settings["learning_rate"])
        for run in joined.material.runs
        if _has_rate(run.settings)
    }
    analysis = Analysis(joined, rates, draws)
    return Context(
        analysis,
        choices(analysis),
        figures,
        language_looks(language for language in analysis.languages if language) or language_looks([""]),
        configuration_looks(analysis.configurations),
    )


def _has_rate(settings: object) -> bool:
    return isinstance(settings, dict) and isinstance(settings.get("learning_rate"), (int, float))


def _text_numbers(table: Table) -> Section:
    told = () if table.rows else ("No sentence of this report quotes a number.",)
    return Section("numbers", "Numbers in the text", told, (), (table,))
