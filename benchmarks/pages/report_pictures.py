"""The pictures of docs/report.md: a page of a report as a reader sees it on a screen, on a phone, at night, on paper.

    python -m xltjax.study study/miniature --out runs/miniature
    python -m xltjax.eval report runs/miniature --out runs/miniature.html
    python benchmarks/pages/report_pictures.py runs/miniature.html docs/pictures --answer color-ocean-fr

Needs Chromium, and `pip install 'xltjax[test,report]'`.
"""

from __future__ import annotations

import argparse
from io import BytesIO
from pathlib import Path
from typing import Any

from browser import chromium
from PIL import Image, ImageOps
from playwright.sync_api import sync_playwright

# name, width and height in pixels, and what else is set
PICTURES: tuple[tuple[str, int, int, dict[str, Any]], ...] = (
    ("first-screen", 1360, 850, {}),
    ("answers", 1360, 850, {"answer": True}),
    ("dark", 1360, 850, {"answer": True, "color_scheme": "dark"}),
    ("phone", 390, 760, {}),
    ("phone-answers", 390, 760, {"answer": True}),
    ("paper", 674, 1003, {"media": "print", "margin": 60}),  # with its margins A4 at 96 dots to the inch
)


def main() -> None:
    """Take the pictures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("page", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--answer", default="", help="the id of the answers that are shown")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    program = chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program)
        for name, width, height, more in PICTURES:
            page = browser.new_page(
                viewport={"width": width, "height": height}, color_scheme=more.get("color_scheme", "light")
            )
            page.emulate_media(
                media=more.get("media", "screen"), color_scheme=more.get("color_scheme", "light")
            )
            page.goto(options.page.resolve().as_uri() + (f"#{options.answer}" if more.get("answer") else ""))
            page.wait_for_selector("#browser:not([aria-busy])", state="attached")
            if more.get("answer"):
                page.locator("#browser-status").scroll_into_view_if_needed()
                page.locator("#heading-browser" if width > 800 else "article.prompt").evaluate(
                    "it => it.scrollIntoView()"
                )
            picture = Image.open(BytesIO(page.screenshot())).convert("RGB")
            picture = ImageOps.expand(picture, more.get("margin", 0), "white")
            # A palette makes small files; this method keeps rare colors, such as those of thin lines.
            picture = picture.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
            picture.save(options.folder / f"report-{name}.png", optimize=True)
            page.close()
        browser.close()


if __name__ == "__main__":
    main()
