"""The page of a rating sheet: safe from what it shows, accessible, in both directions, and fast with many items."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.pages.browser import PHONE, WIDE, violations
from helpers.pages.opened_sheets import opened_sheets
from helpers.pages.sheets import HOSTILE, rows, sheets
from markdown_it import MarkdownIt
from playwright.sync_api import Browser, expect


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sheets(tmp_path_factory.mktemp("a team"))


@pytest.fixture
def opening(browser: Browser) -> Iterator[Any]:
    yield from opened_sheets(browser)


def test_hostile_responses_run_nothing_break_nothing_and_stand_there_letter_by_letter(
    opening: Any, folder: Path
) -> None:
    opened = opening(folder / "en-1.html")
    seen = set()
    for place in range(20):
        assert opened.place() == f"Item {place + 1} of 20"
        text = opened.text()
        seen.add(text)
        assert opened.page.locator(".instruction-text").evaluate("it => it.childElementCount") == 0
        opened.press("t")  # the same as Markdown
        inside = opened.page.locator(".response-text :is(script, img, style, iframe, a, i, textarea, object)")
        assert inside.count() == 0
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= WIDE["width"]
        opened.press("t j")
    # The browser's driver hands over lone surrogates as question marks.
    assert {HOSTILE[k] for k in (0, 2, 3, 5)} <= seen
    lengths = {len(text.replace("\ufffd", "?").encode("utf-16-le", "replace")) for text in seen}
    assert len(HOSTILE[1].encode("utf-16-le", "replace")) in lengths
    assert "The response is empty." in seen
    assert opened.page.evaluate("window.broken ?? null") is None
    assert opened.page.locator("script").count() == 1  # that of the page; the data have been taken out


def test_the_policy_lets_nothing_out(opening: Any, folder: Path) -> None:
    opened = opening(folder / "en-1.html")
    blocked = opened.page.evaluate(
        """async () => {
            const blocked = [];
            addEventListener("securitypolicyviolation", (event) => blocked.push(event.effectiveDirective));
            await fetch("https://example.org/").catch(() => {});
            for (const [tag, name, value] of [["script", "textContent", "window.broken = 9"],
                ["img", "src", "https://example.org/a.png"], ["iframe", "src", "https://example.org/"]]) {
                const made = document.createElement(tag);
                made[name] = value;
                document.body.append(made);
            }
            for (let turn = 0; turn < 200 && blocked.length < 4; turn++)
                await new Promise((done) => setTimeout(done, 50));
            return [blocked.sort(), window.broken ?? null];
        }"""
    )
    assert blocked == [["connect-src", "frame-src", "img-src", "script-src-elem"], None]
    opened.said.clear()  # of what was tried here
    opened.requests[1:] = []


def test_axe_finds_nothing(opening: Any, folder: Path) -> None:
    opened = opening(folder / "fr-1.html")
    opened.press("2 1")
    assert violations(opened.page) == []
    for key in ("g", "h", "e"):
        opened.press(key)
        assert violations(opened.page) == []
        opened.press("Escape")
    opened.page.emulate_media(color_scheme="dark")
    opened.page.set_viewport_size(PHONE)
    opened.page.locator(".progress").click()
    assert violations(opened.page) == []
    opened.press("Escape t")
    assert violations(opened.page) == []


def test_nothing_is_wider_than_the_screen(opening: Any, folder: Path) -> None:
    page = opening(folder / "en-1.html").page
    for width in (1440, 900, 390, 320):
        page.set_viewport_size({"width": width, "height": 800})
        for _ in range(3):
            page.keyboard.press("j")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
    scales = page.locator(".scales")
    scales.scroll_into_view_if_needed()
    expect(page.get_by_role("button", name="Next", exact=True)).to_be_in_viewport()


def test_languages_from_right_to_left_and_overrides_stay_in_their_place(opening: Any, tmp_path: Path) -> None:
    answers = rows(("he",), 3)
    for row in answers:
        row["instruction"] = "כתוב מכתב"
        row["response"] = "שלום עולם\nHello world\n\u202eabc\u2067def"
    opened = opening(sheets(tmp_path, answers, per_language=3) / "he-1.html")
    response = opened.page.locator(".response-text")
    assert response.evaluate("it => getComputedStyle(it).direction") == "rtl"
    lefts = opened.page.evaluate(
        """() => {
            const node = document.querySelector(".response-text").firstChild;
            const left = (at) => { const range = document.createRange(); range.setStart(node, at);
                range.setEnd(node, at + 1); return range.getBoundingClientRect().left };
            return ["ש", "ם", "H", "d"].map((letter) => left(node.data.indexOf(letter)));
        }"""
    )
    assert lefts[0] > lefts[1]  # Hebrew begins at the right
    assert lefts[2] < lefts[3]  # and English at the left
    order = """node => { const range = document.createRange(); const text = node.firstChild;
        const left = (at) => { range.setStart(text, at); range.setEnd(text, at + 1);
            return range.getBoundingClientRect().left };
        return left(0) < left(text.length - 1) }"""
    for place in ("h1", ".marking summary", ".criterion h3"):
        assert opened.page.locator(place).first.evaluate(order)
    opened.press("s ArrowLeft ArrowLeft")
    assert opened.page.evaluate("getSelection().toString()") == "עולם"


SAMPLES = (
    "# Title\n\nSome *soft* and **bold** words, `code` and ~~gone~~.\nNext line.\n\n## Second ##",
    "1. one\n2. two\n   - inner *a*\n   - inner b\n3. three\n\nAfter.\n\n- x\n- y\n* other",
    "3) third\n4) fourth",
    "> quoted **text**\n> goes on\n\n---\n\n```python\nif a < b:\n    <b>x</b>\n```\nEnd",
    "| a | b |\n|---|---|\n| 1 | *2* |\n| 3 | 4 |",
    "snake_case_name and 2 * 3 * 4, a*b, ** not bold **\n\n\\*plain\\*, ***both***, __strong__ _em_, **a *b***",
    "- loose\n\n- items\n\n  with a paragraph\n\nend",
    "    indented code\n    more\n\ntext",
    "a < b & c > d <b>raw</b> <!-- c -->",
    "*not closed **bold** here",
)


def test_markdown_is_rendered_as_a_renderer_of_others_does(opening: Any, tmp_path: Path) -> None:
    answers = rows(("en",), len(SAMPLES))
    for row in answers:
        row["response"] = SAMPLES[int(row["instruction_id"][1:])]
    opened = opening(sheets(tmp_path, answers, per_language=len(SAMPLES)) / "en-1.html")
    reference = MarkdownIt("commonmark", {"html": False, "breaks": True}).enable(["table", "strikethrough"])
    # Both as a list of tags and texts; headings are paragraphs of ours, and white space between blocks means nothing.
    flat = """(root) => {
        const parts = [];
        const walk = (node) => {
            if (node.nodeType === 3) {
                const last = parts.length - 1;
                if (parts[last]?.[0] === "'") parts[last] += node.data; else parts.push("'" + node.data);
                return;
            }
            const heading = /level-(\\d)/.exec(node.className)?.[1];
            const ours = heading ? "H" + heading : node.tagName;
            const tag = { S: "DEL", DIV: "" }[ours] ?? ours;
            if (tag) parts.push(tag);
            node.childNodes.forEach(walk);
            if (tag) parts.push("/" + tag);
        };
        root.childNodes.forEach(walk);
        return parts.map((part) => part.replace(/\\s+$/, "").replace(/^'\\n/, "'")).filter((part) => part !== "'");
    }"""
    for _ in range(len(SAMPLES) * 3):
        text = opened.text()
        opened.press("t")
        ours = opened.page.locator(".response-text").evaluate(flat)
        theirs = opened.page.evaluate(
            f"html => ({flat})(new DOMParser().parseFromString(html, 'text/html').body)",
            reference.render(text),
        )
        assert ours == theirs, text
        opened.press("t j")


def test_of_5000_items_only_one_is_made(opening: Any, tmp_path: Path) -> None:
    out = sheets(tmp_path, rows(("en",), 1667), per_language=1667, repeats=0)
    opened = opening(out / "en-1.html")
    assert opened.place() == "Item 1 of 5001"
    assert opened.page.evaluate("document.querySelectorAll('*').length") < 300
    opened.page.locator(".progress").click()
    assert opened.page.locator(".items button").count() == 100
    opened.page.get_by_label("Go to item").fill("5001")
    opened.page.keyboard.press("Enter")
    assert opened.place() == "Item 5001 of 5001"
    opened.press("2 2 2 2 2 2")
    opened.page.reload()
    assert opened.place() == "Item 5001 of 5001"
    assert opened.page.locator(".progress").inner_text().endswith("1 of 5001 rated")
    opened.press("u")
    assert opened.place() == "Item 1 of 5001"
