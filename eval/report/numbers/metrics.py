"""What the metrics are called in a report, and their units."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """The title of a metric and the label of its axis, with the unit."""

    title: str
    axis: str


METRICS = {
    "language_correct": Metric("Correct language", "answers in the right language, %"),
    "relevance": Metric("Relevance", "relevant answers, %"),
    "correct_and_relevant": Metric("Correct language and relevant", "answers in the right language and relevant, %"),
    "spelling": Metric("Spelling", "words that the dictionary accepts, %"),
    "line_language": Metric("Language of the lines", "letters in the right language, %"),
    "line_accuracy": Metric("Lines in the right language", "lines in the right language, %"),
    "lpr": Metric("Line-level pass rate", "answers with no line in another language, %"),
    "wpr": Metric("Word-level pass rate", "answers with no English word, %"),
    "relevance_paper": Metric("Relevance, as written by the judge", "relevant answers, %"),
    "relevance_graded": Metric("Graded relevance", "probability of relevance, %"),
}  # fmt: skip
# Figure 2, left: the three that the paper has; ``line_language`` stands in where only few answers are long enough.
SURFACE = ("language_correct", "spelling", "relevance")
CRITERIA = ("helpfulness", "language", "fluency", "accuracy", "coherence", "harmlessness")


def title(metric: str) -> str:
    """The title of a metric, or its name where it has none."""
    return METRICS[metric].title if metric in METRICS else metric.removeprefix("judge/").replace("_", " ")


def axis(metric: str) -> str:
    """The label of its axis."""
    return METRICS[metric].axis if metric in METRICS else f"{title(metric)}, %"
