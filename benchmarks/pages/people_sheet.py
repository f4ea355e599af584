"""How fast a rating sheet with 5,000 items opens, goes on, takes a key and exports, in Chromium.

    python benchmarks/pages/people_sheet.py

Needs `pip install 'xltjax[test]'` and a Chromium.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from pathlib import Path

from browser import chromium
from playwright.sync_api import Page, sync_playwright

from xltjax.common.files import write_jsonl
from xltjax.eval.people.sheets import SheetsConfig, run

INSTRUCTIONS, MODELS = 715, 7
TEXT = "the answer to this question has some words of which none says more than another one does"
# A key is handled and the page is laid out again, for each of 60 keys: two ratings, then the next item.
KEYS = """async () => {
    const times = [];
    for (let at = 0; at < 60; at += 1) {
        const start = performance.now();
        const key = at % 3 ? "1" : "j";
        document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
        document.body.offsetHeight;
        times.push(performance.now() - start);
        await new Promise(requestAnimationFrame);
    }
    return times;
}"""
# As if everything had been rated earlier.
FILL = """(scores) => {
    const [tab] = Object.keys(localStorage).filter((key) => key.endsWith("/tab"));
    const rating = JSON.stringify({ scores, comment: "A comment of some words.", spans: [], ms: 61234.5 });
    for (const id of window.ids) localStorage.setItem(tab.replace(/tab$/, `item/${id}`), rating);
}"""
# The ids are taken from the page before its script takes the data away.
IDS = """new MutationObserver((_, observer) => {
    const data = document.getElementById("sheet-data");
    if (!data?.nextSibling) return;
    window.ids = JSON.parse(data.textContent).items.map(([id]) => id);
    observer.disconnect();
}).observe(document, { childList: true, subtree: true })"""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        path = sheet(Path(folder))
        print(f"{path.stat().st_size / 1e6:.1f} MB")
        browser = playwright.chromium.launch(executable_path=chromium())
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        print(f"opens in {opening(page, path):.2f} s")
        report(page)
        page.add_init_script(IDS)
        page.reload()
        page.evaluate(FILL, dict.fromkeys(
            ("language", "fluency", "helpfulness", "accuracy", "coherence", "harmlessness"), 2
        ))  # fmt: skip
        print(f"opens with all items rated in {opening(page, path):.2f} s")
        report(page)
        start = time.perf_counter()
        page.keyboard.press("e")
        with page.expect_download():
            page.locator("dialog button.main").click()
        print(f"exports in {time.perf_counter() - start:.2f} s")
        browser.close()


def sheet(folder: Path) -> Path:
    """The page of one annotator."""
    draw, words = random.Random(0), TEXT.split()
    rows = (
        {
            "id": f"q{number}", "model": f"model {model}", "language": "en", "task": f"task {number % 25}",
            "instruction": f"{number} {' '.join(draw.choices(words, k=20))}", "finish_reason": "stop",
            "response": " ".join(draw.choices(words, k=draw.choice((30, 150, 400)))),
        }
        for number in range(INSTRUCTIONS)
        for model in range(MODELS)
    )  # fmt: skip
    write_jsonl(folder / "responses.jsonl", rows)
    out = folder / "sheets"
    given = str(folder / "responses.jsonl")
    run(SheetsConfig(responses=(given,), out=str(out), per_language=INSTRUCTIONS, annotators=1))
    return out / "en-1.html"


def opening(page: Page, path: Path) -> float:
    """The seconds until the first item is shown."""
    start = time.perf_counter()
    page.goto(path.as_uri())
    page.wait_for_selector("h1")
    return time.perf_counter() - start


def report(page: Page) -> None:
    times = page.evaluate(KEYS)
    print(f"a key takes {statistics.median(times):.1f} ms, the slowest of {len(times)} {max(times):.1f} ms")


if __name__ == "__main__":
    main()
