"""Spelling: what the words are that a dictionary does not accept."""

from __future__ import annotations

from collections import Counter
from typing import Any

from xltjax.eval.report.content import Column, Figure, Section, Table
from xltjax.eval.report.figures.plots import count_note, stacked_bars
from xltjax.eval.report.sections.context import INTERVALS, Context, count, estimate

HEADING = "Spelling"
PARTS = {"accepted": "accepted", "name": "names", "foreign": "foreign words", "nonword": "non-words"}
METRICS = {
    "accepted": "spelling",
    "name": "spelling_name",
    "foreign": "spelling_foreign",
    "nonword": "spelling_nonword",
}
LISTED = 12  # words of each kind in the table
MOST_BARS = 48


def spelling_section(context: Context) -> Section:
    """Shares of accepted words, names, foreign words and non-words, and the most frequent of each."""
    analysis = context.analysis
    if "spelling" not in analysis.cells:
        return Section(
            "spelling",
            HEADING,
            ("There are no scores of spelling: a dictionary or the command was missing.",),
        )
    rows = []
    for system in analysis.systems:
        for language in analysis.languages:
            found = {
                part: analysis.by_place.get((system.name, language, metric))
                for part, metric in METRICS.items()
            }
            spelled = found["accepted"]
            if spelled is None or spelled["mean"] is None:
                continue
            row: dict[str, Any] = {
                "system": system.name,
                "language": language or "?",
                "n": spelled["n_scored"],
            }
            row["place"] = f"{system.name} · {language or '?'}"
            for part, each in found.items():
                if each is not None:
                    row |= {part: each["mean"], f"{part}_low": each["low"], f"{part}_high": each["high"]}
            rows.append(row)
    if not rows:
        return Section(
            "spelling", HEADING, ("No answer could be checked: the dictionaries are missing (run doctor).",)
        )
    columns = (
        Column("system", "system"),
        Column("language", "language"),
        count(),
        *(estimate(part, name) for part, name in PARTS.items()),
    )
    table = Table(
        "spelling",
        "Causes of words that are not accepted",
        columns,
        rows,
        f"Means of the shares of the words. {INTERVALS}",
    )
    told = ["Compare models within a language, not languages: dictionaries differ in how much they accept."]
    figure = _figure(context, rows, columns)
    if figure is None:
        told.append("The causes were not told apart, since the dictionary of a language is missing.")
    return Section("spelling", HEADING, tuple(told), (figure,) if figure else (), (table, *_words(context)))


def _figure(context: Context, rows: list[dict[str, Any]], columns: tuple[Column, ...]) -> Figure | None:
    shown = [row for row in rows if all(row.get(part) is not None for part in PARTS)]
    if len(shown) > MOST_BARS:
        best = {each.name for each in context.best()}
        shown = [row for row in shown if row["system"] in best][:MOST_BARS]
    if not shown:
        return None
    note = f"{count_note(shown)} in each bar; shares of the words of an answer, averaged over answers"
    caption = (
        "Shares of the words that the dictionary of the language accepts, and of the causes of the others, "
        f"by system and language. {count_note(shown)} in each bar."
    )
    data = Table(
        "spelling-causes", "Causes of words that are not accepted", columns, shown, f"{caption} {INTERVALS}"
    )

    def plot(figure: Any) -> None:
        stacked_bars(
            figure,
            shown,
            places=[row["place"] for row in shown],
            parts=PARTS,
            axis_label="share of the words, %",
            note=note,
        )

    return context.figures.draw(
        data, plot, size=(7.2, 1.2 + 0.2 * len(shown)), caption=caption, description=caption
    )


def _words(context: Context) -> list[Table]:
    """The words that occur in the most answers of a configuration's best system."""
    analysis = context.analysis
    counts: dict[tuple[str, str, str], Counter[str]] = {}
    best = {each.name for each in context.best()}
    for key, evidence in analysis.material.evidence.items():
        response = analysis.material.responses.get(key)
        system = analysis.system_of[key[0]].name if response is not None else ""
        if response is None or key in analysis.modified or system not in best:
            continue
        for word in evidence.words:
            counts.setdefault((system, response.language or "?", word.kind), Counter())[word.word] += 1
    rows = [
        {"system": system, "language": language, "kind": PARTS[kind], "word": word, "answers": number}
        for (system, language, kind), words in sorted(counts.items())
        if kind != "name"
        for word, number in sorted(words.items(), key=lambda item: (-item[1], item[0]))[:LISTED]
    ]
    if not rows:
        return []
    columns = (
        Column("system", "system"),
        Column("language", "language"),
        Column("kind", "kind"),
        Column("word", "word"),
        count("answers", "answers"),
    )
    caption = (
        f"The {LISTED} foreign words and non-words that occur in the most answers, for the best rate of "
        f"each configuration."
    )
    return [Table("unknown-words", "Frequent foreign words and non-words", columns, rows, caption)]
