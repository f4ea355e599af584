"""Time and memory of ``eval report`` for 21 models x 452 answers with all metrics and a judge, and the page's size.

    python benchmarks/pages/report.py

The answers are those of ``report_page.py``. The command should take less than a minute and 1 GB, and the page should
have less than 15 MB.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from report_page import large_report

from xltjax.common.files import write_jsonl
from xltjax.eval.report.content import FOREIGN, NAME, NONWORD, Answer

CONFIGURATIONS = (
    "llama2-13b/dolly-en/ft", "llama2-7b/dolly-en/ft", "llama2-13b/lima-en/ft", "llama2-13b/dolly-en/lora",
    "llama2-13b/dolly-dt/ft", "tower-7b/dolly-en/ft", "tower-7b/dolly-dt/ft",
)  # fmt: skip
RATES = ("1e-06", "1e-05", "1e-04")
KINDS = {"spelling_name": NAME, "spelling_foreign": FOREIGN, "spelling_nonword": NONWORD}


def write_study(root: Path, models: int, instructions: int) -> None:
    """The files that a study of so many models leaves, as far as the report reads them."""
    answers: dict[str, list[Answer]] = {}
    for answer in large_report(models, instructions, 0).answers:
        answers.setdefault(answer.model, []).append(answer)
    for number, own in enumerate(answers.values()):
        name = f"{CONFIGURATIONS[number // 3 % 7]}/lr-{RATES[number % 3]}/seed-{number // 21}"
        responses = [
            {
                "id": each.id, "model": name, "language": each.language, "task": each.task,
                "instruction_id": each.instruction_id, "instruction": each.instruction, "response": each.response,
                "finish_reason": each.finish_reason,
            }
            for each in own
        ]  # fmt: skip
        write_jsonl(root / name / "generate" / "responses.jsonl", responses)
        write_jsonl(root / name / "surface" / "scores.jsonl", _scores(own, name))
        write_jsonl(root / name / "judge" / "scores.jsonl", _judgments(own, name))
        curve = [{"step": step, "loss": 3 / step**0.3, "seconds": 1.0} for step in range(1, 1001)]
        write_jsonl(root / name / "train" / "metrics.jsonl", curve)
        (root / name / "train" / "config.yaml").write_text("learning_rate: 1e-5\nsteps: 1000\n")


def _scores(answers: Iterable[Answer], model: str) -> Iterable[Mapping[str, Any]]:
    for each in answers:
        for metric, value in each.scores.items():
            if metric.startswith("modifier"):
                continue
            detail: dict[str, Any] = {}
            if metric == "language_correct":
                detail = {"language": each.found_language, "p": 0.9}
            elif metric == "line_language":
                detail = {
                    "lines": [{"language": p.language, "p": 0.9, "text": p.text} for p in each.passages]
                }
            elif metric in KINDS:
                detail = {"words": {word.word: 1 for word in each.words if word.kind == KINDS[metric]}}
            zero_one = metric in ("lpr", "wpr", "relevance")
            yield {
                "id": each.id, "model": model, "language": each.language, "metric": metric,
                "value": float(value > 0.4) if zero_one and value is not None else value, "state": "ok",
                "detail": detail,
            }  # fmt: skip


def _judgments(answers: Iterable[Answer], model: str) -> Iterable[Mapping[str, Any]]:
    names = {"relevance": "coherence", "completeness": "harmlessness"}
    for each in answers:
        for judgment in each.judgments:
            for criterion, value in judgment.scores.items():
                yield {
                    "id": each.id, "model": model, "metric": f"judge/{names.get(criterion, criterion)}",
                    "value": value, "state": "ok", "detail": {"judge": "openai:judge", "repeat": 0},
                }  # fmt: skip


def main() -> None:
    """Write the study, and run the command on it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=int, default=21)
    parser.add_argument("--instructions", type=int, default=113, help="in four languages each")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_study(root / "study", options.models, options.instructions)
        page = root / "report.html"
        command = [sys.executable, "-m", "xltjax.eval", "report", str(root / "study"), "--out", str(page)]
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        found = {
            "exit code": os.waitstatus_to_exitcode(status),
            "seconds": round(seconds, 1),
            "CPU seconds": round(usage.ru_utime + usage.ru_stime, 1),
            "peak memory, MB": round(usage.ru_maxrss / 1024),
            "page, MB": round(page.stat().st_size / 1e6, 1),
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
