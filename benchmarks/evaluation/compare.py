"""Time of ``eval compare``: 10 models x 5 languages x 452 answers x 10,000 draws.

    python benchmarks/evaluation/compare.py [--metrics 9]

It must take less than 10 s on a free core, from files to files. The scores are random: metrics of 0 and 1
and shares alternate, every tenth answer of each model has no score, and the translations of one instruction belong
together.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import tempfile
import time
from pathlib import Path

import numpy as np

from xltjax.eval.comparison.command import CompareConfig, run

LANGUAGES = ("en", "fr", "pt", "ru", "de")
METRICS = (
    "language_correct", "line_language", "lpr", "spelling", "relevance", "line_accuracy", "wpr", "spelling_name",
    "spelling_foreign",
)  # fmt: skip


def write_scores(folder: Path, models: int, instructions: int, metrics: int) -> list[str]:
    """Directories of random scores, one for each model."""
    generator = np.random.default_rng(0)
    folders = []
    for model in (f"model-{number}" for number in range(models)):
        place = folder / model
        place.mkdir()
        with (place / "scores.jsonl").open("w") as scores, (place / "answers.jsonl").open("w") as answers:
            for language in LANGUAGES:
                for number in range(instructions):
                    known = {"id": f"{number}-{language}", "model": model}
                    keys = {"task": f"task-{number % 25}", "instruction_id": str(number)}
                    answers.write(json.dumps({**known, **keys}) + "\n")
                    for metric in METRICS[:metrics]:
                        value = generator.random()
                        value = round(value, 4) if METRICS.index(metric) % 2 else float(value < 0.8)
                        scored = generator.random() < 0.9
                        row = {
                            **known,
                            "language": language,
                            "metric": metric,
                            "value": value if scored else None,
                            "state": "ok" if scored else "abstain",
                            "detail": {} if scored else {"reason": "none"},
                        }
                        scores.write(json.dumps(row) + "\n")
        folders.append(str(place))
    return folders


def main() -> None:
    """Write the scores, compare them, and print the time."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--metrics", type=int, default=len(METRICS))
    parser.add_argument("--by", default="")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folders = write_scores(Path(name), 10, 452, chosen.metrics)
        settings = CompareConfig(
            scores=tuple(folders), out=f"{name}/out", by=(chosen.by,) if chosen.by else ()
        )
        start, busy = time.perf_counter(), time.process_time()
        with contextlib.redirect_stdout(io.StringIO()):
            run(settings)
        seconds, busy = time.perf_counter() - start, time.process_time() - busy
        rows = len(json.loads((Path(name) / "out" / "compare.json").read_text())["rows"])
    print(f"{chosen.metrics} metrics, {rows} comparisons: {seconds:.1f} s, {busy:.1f} s of CPU time")


if __name__ == "__main__":
    main()
