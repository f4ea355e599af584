"""Size, time and memory of the report's page for 21 models x 452 answers, and how long a browser takes to open it.

    python benchmarks/pages/report_page.py
    python benchmarks/pages/report_page.py --models 40 --keep report.html

The texts are drawn at random from 20,000 made-up words, as frequent as words of natural texts are, which compress
a little worse than real answers. The page should have less than 15 MB and open in less than 3 seconds; its making
should take less than a minute and 1 GB.
"""

from __future__ import annotations

import argparse
import random
import resource
import statistics
import tempfile
import time
from itertools import accumulate
from pathlib import Path

from browser import chromium
from playwright.sync_api import sync_playwright

from xltjax.eval.report.content import FOREIGN, NAME, NONWORD, Answer, Judgment, Passage, Report, UnknownWord
from xltjax.eval.report.page import write_page

LANGUAGES = ("en", "fr", "pt", "ru")
READY = "#browser:not([aria-busy])"


def large_report(models: int, instructions: int, seed: int) -> Report:
    """``models`` x ``instructions`` x four languages, with all that a study knows of an answer."""
    draw = random.Random(seed)
    syllables = ["".join(draw.choices("abcdefghijklmnoprstuvz", k=draw.randint(2, 4))) for _ in range(900)]
    words = ["".join(draw.choices(syllables, k=draw.choice((1, 1, 2, 3)))) for _ in range(20_000)]
    # Natural texts repeat their words.
    frequencies = list(accumulate(1 / (rank + 3) for rank in range(len(words))))

    def text(size: int) -> str:
        drawn = draw.choices(words, cum_weights=frequencies, k=size)
        return "\n".join(" ".join(drawn[at : at + 18]).capitalize() + "." for at in range(0, size, 18))

    metrics = (
        "language_correct", "line_language", "lpr", "line_accuracy", "wpr", "spelling", "spelling_name",
        "spelling_foreign", "spelling_nonword", "relevance", "relevance_graded", "modifier_strict", "modifier_loose",
    )  # fmt: skip
    criteria = ("helpfulness", "language", "fluency", "relevance", "accuracy", "completeness")
    questions = {(n, language): text(25) for n in range(instructions) for language in LANGUAGES}
    answers = []
    for model in range(models):
        for (n, language), question in questions.items():
            answer = text(draw.randint(40, 260))
            lines = answer.split("\n")
            listed = draw.sample(answer.lower().replace(".", "").split(), 12)
            scores = {metric: round(draw.random(), 4) for metric in metrics}
            answers.append(
                Answer(
                    f"xlt113-{n:03d}-{language}", f"model-{model:02d}", language, f"task-{n % 25}", "",
                    f"xlt113-{n:03d}", question, answer, draw.choice(("stop", "stop", "length")), language,
                    scores | {"language_correct": float(draw.random() > 0.2)}, {},
                    tuple(UnknownWord(word, draw.choice((NAME, FOREIGN, NONWORD)), "en") for word in listed),
                    tuple(Passage(line[:80], draw.choice((language, language, "en"))) for line in lines),
                    (Judgment("gpt", {name: float(draw.randint(0, 2)) for name in criteria}, words=text(60)),),
                )
            )  # fmt: skip
    return Report("A large study", ("How large may a study be?", "As large as this one."), answers=answers)


def main() -> None:
    """Make the page, weigh it and open it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=int, default=21)
    parser.add_argument("--instructions", type=int, default=113, help="in four languages each")
    parser.add_argument("--keep", type=Path, help="where to leave the page")
    options = parser.parse_args()
    report = large_report(options.models, options.instructions, 0)
    with tempfile.TemporaryDirectory() as folder:
        path = options.keep or Path(folder) / "report.html"
        start = time.perf_counter()
        write_page(report, path)
        seconds = time.perf_counter() - start
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # kB on Linux
        print(f"{len(report.answers)} answers of {options.models} models")
        print(
            f"page: {path.stat().st_size / 1e6:.1f} MB, written in {seconds:.1f} s; peak memory {memory:.2f} GiB"
        )
        open_page(path)


def open_page(path: Path) -> None:
    """Print how long a browser takes until the answers can be read, and for a search in all of them."""
    program = chromium()
    if program is None:
        print("no Chromium: not opened")
        return
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program)
        opening, searching = [], []
        for _ in range(5):
            page = browser.new_page()
            start = time.perf_counter()
            page.goto(path.as_uri())
            page.wait_for_selector(READY)
            opening.append(time.perf_counter() - start)
            start = time.perf_counter()
            page.locator("input[type=search]").fill("no such word")
            page.locator("#browser-status").filter(has_text="0 of").wait_for()
            searching.append(time.perf_counter() - start)
            page.close()
        browser.close()
    print(f"opened in {statistics.median(opening):.2f} s (median of 5, at most {max(opening):.2f} s)")
    print(
        f"first search in all texts: {statistics.median(searching):.2f} s (.15 s of it wait for more letters)"
    )


if __name__ == "__main__":
    main()
