"""What is missing: failures by kind, answers without a score and why, and cells of a study that failed."""

from __future__ import annotations

from collections import Counter
from typing import Any

from xltjax.eval.report.content import Column, Section, Table
from xltjax.eval.report.numbers.metrics import title
from xltjax.eval.report.sections.context import Context, count, share

HEADING = "Coverage and failures"


def failures_section(context: Context) -> Section:
    """How answers ended, what metrics did not score and why, and the stages that failed."""
    material, facts = context.analysis.material, context.facts
    told = list(material.problems)
    tables = [_endings(context)] if material.responses else []
    if not material.responses:
        told.append("There are no answers.")
    reasons = _reasons(context)
    if reasons.rows:
        tables.append(reasons)
    elif context.analysis.summary:
        told.append("Every answer was scored by every metric.")
    failed = [stage for stage in material.stages if stage.state == "failed"]
    begun = [stage for stage in material.stages if stage.state == "begun"]
    for stage in failed:
        told.append(
            f"{stage.path} failed: {stage.reason or 'the reason is not known'}; its numbers are missing."
        )
    for stage in begun:
        told.append(f"{stage.path} has not ended; what it has left may be a part.")
    if material.stages:
        done = len(material.stages) - len(failed) - len(begun)
        told.insert(
            0,
            f"{facts.count('stages done', done)} of {facts.count('stages', len(material.stages))} stages of "
            "the study that have begun are done.",
        )
        tables.append(_stages(context))
    if material.unread:
        told.append(
            f"The texts of {facts.count('answers without text', len(material.unread))} scored answers are "
            "not given, so the browser does not show them: report them together with their files, or with "
            "--responses."
        )
    return Section("failures", HEADING, tuple(told), (), tuple(tables))


def _endings(context: Context) -> Table:
    analysis = context.analysis
    counts: dict[tuple[str, str], Counter[str]] = {}
    for key, response in analysis.material.responses.items():
        if key in analysis.material.unread and not response.finish_reason:
            continue
        place = analysis.system_of[response.model].name, response.language or "?"
        ending = response.finish_reason.partition(":")[0] if response.finish_reason else "not known"
        if not response.response.strip() and ending != "failed" and key not in analysis.material.unread:
            ending = "empty"
        counts.setdefault(place, Counter())[ending if ending in _ENDINGS else "other"] += 1
    rows = [
        {
            "system": system,
            "language": language,
            "n": found.total(),
            **{name: found[name] for name in _ENDINGS},
        }
        for (system, language), found in sorted(counts.items())
    ]
    headings = {
        "stop": "ended",
        "length": "cut at the token limit",
        "failed": "no answer",
        "empty": "empty",
        "not known": "not said how",
        "other": "other",
    }
    return Table(
        "endings",
        "How the answers ended",
        (
            Column("system", "system"),
            Column("language", "language"),
            count("n", "answers"),
            *(count(name, headings[name]) for name in _ENDINGS),
        ),
        rows,
        "Answers with and without a modifier, by the finish_reason of the responses.",
    )


_ENDINGS = ("stop", "length", "failed", "empty", "not known", "other")


def _reasons(context: Context) -> Table:
    rows: list[dict[str, Any]] = [
        {
            "system": row["model"],
            "language": row["language"] or "?",
            "metric": title(row["metric"]),
            "reason": reason,
            "kind": "failed" if reason.startswith("failed:") else "abstained",
            "count": number,
            "n": row["answers"],
            "share": number / row["answers"],
            "such": ", ".join(row["examples"].get(reason, ())),
        }
        for row in context.analysis.summary
        for reason, number in row["reasons"].items()
    ]
    rows.sort(key=lambda row: -row["count"])
    return Table(
        "not-scored",
        "Answers that a metric did not score, and why",
        (
            Column("system", "system"),
            Column("language", "language"),
            Column("metric", "metric"),
            Column("kind", "kind"),
            Column("reason", "reason"),
            count("count", "answers"),
            count("n", "of"),
            share("share", "share"),
            Column("such", "such as"),
        ),
        rows,
        "Neither an abstention nor a failure is ever counted as 0; table all-metrics shows what the means "
        "could be.",
    )


def _stages(context: Context) -> Table:
    return Table(
        "stages",
        "Stages of the study",
        (
            Column("path", "stage"),
            Column("state", "state"),
            Column("seconds", "seconds", ".1f", numeric=True),
            Column("reason", "reason"),
        ),
        [
            {"path": each.path, "state": each.state, "seconds": each.seconds, "reason": each.reason}
            for each in context.analysis.material.stages
        ],
        "From the records in the folders of the stages; of a sweep over rates, each training has its share "
        "of the time.",
    )
