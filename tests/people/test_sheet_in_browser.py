"""A rating sheet in a real browser: rated by keys alone, kept, exported and imported."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from helpers.pages.browser import WIDE, violations
from helpers.pages.opened_sheets import opened_sheets
from helpers.pages.sheets import rows, sheets
from playwright.sync_api import Browser, expect

from xltjax.common.files import read_jsonl
from xltjax.eval.people.collect import COMMAND as COLLECT
from xltjax.eval.people.schema import CANNOT_JUDGE, Span
from xltjax.eval.people.tools import read_export

CRITERIA = ("language", "fluency", "helpfulness", "accuracy", "coherence", "harmlessness")
SCALES = dict.fromkeys(CRITERIA, range(3))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sheets(tmp_path_factory.mktemp("a team"))


@pytest.fixture
def opening(browser: Browser) -> Iterator[Any]:
    yield from opened_sheets(browser)


def collect(*arguments: object) -> str:
    result = CliRunner().invoke(COLLECT, [*map(str, arguments), "--draws", "50"])
    assert result.exit_code == 0, result.exception
    return " ".join(result.output.split())


def test_five_items_are_rated_by_keys_kept_exported_and_collected(
    opening: Any, folder: Path, tmp_path: Path
) -> None:
    opened = opening(folder / "en-1.html")
    for number in range(1, 5):
        assert opened.place() == f"Item {number} of 20"
        opened.press("2 1 0 x 2 1")
        expect(opened.page.get_by_role("button", name="Next", exact=True)).to_be_focused()
        opened.press("Enter")
    opened.press("0 0")
    opened.press("c")
    opened.page.keyboard.type('"odd", = 1; \u00e9\U0001f600')
    opened.press("Escape")
    # The browser keeps what is written by another of its processes; on a busy machine a reload of the same
    # instant has been seen to overtake it.
    opened.page.wait_for_timeout(500)
    opened.page.reload()
    opened.page.wait_for_selector("h1")
    assert opened.place() == "Item 5 of 20"
    assert opened.page.locator(".progress").inner_text().endswith("4 of 20 rated")
    assert opened.page.locator("#comment").input_value() == '"odd", = 1; \u00e9\U0001f600'
    opened.press("1 1 1 1 Enter")
    assert opened.place() == "Item 6 of 20"
    files = [opened.export(tmp_path), opened.export(tmp_path, "Save as a table (CSV)")]
    as_json, as_csv = (read_export(path, SCALES) for path in files)
    assert as_json.records == as_csv.records
    assert [dict(record.scores) for record in as_json.records] == [
        dict(zip(CRITERIA, scores, strict=True))
        for scores in ([(2, 1, 0, CANNOT_JUDGE, 2, 1)] * 4 + [(0, 0, 1, 1, 1, 1)])
    ]
    assert as_json.records[4].comment == '"odd", = 1; \u00e9\U0001f600'
    said = collect(*files, "--key", folder / "key.jsonl", "--out", tmp_path / "out")
    assert "en-1: 15 of 20 items are not rated on every criterion" in said
    assert "nothing has come back of the sheet" in said  # the other language
    key = {row["item"]: row for row in read_jsonl(folder / "key.jsonl")}
    lines = [row for row in read_jsonl(tmp_path / "out/ratings.jsonl") if row["state"] == "ok"]
    assert len(lines) == 26
    assert all(row["model"] == key[row["item"]]["model"] for row in lines)


def test_a_whole_sheet_collects_without_a_complaint_and_repeats_show_the_agreement(
    opening: Any, tmp_path: Path
) -> None:
    out = sheets(tmp_path, rows(("en",), 3), per_language=3, repeats=2)
    opened = opening(out / "en-1.html")
    for _ in range(11):
        opened.press("1 1 1 1 1 1 Enter")
    assert opened.notices() == ["All items are rated. Thank you! Now export the file and send it back."]
    path = opened.export(tmp_path)
    assert opened.notices() == []
    said = collect(path, "--key", out / "key.jsonl", "--out", tmp_path / "back")
    assert "not rated" not in said
    assert "54 ratings of 1 annotators" in said
    assert len(read_jsonl(tmp_path / "back/repeats.jsonl")) == 12


def test_an_import_goes_on_elsewhere_and_asks_before_it_replaces(
    opening: Any, folder: Path, tmp_path: Path
) -> None:
    first = opening(folder / "en-1.html")
    first.press("2 2 2 2 2 2 c")
    first.page.keyboard.type("=1+1")
    first.press("Escape Enter 1 1 1 1 1 1 Enter 0 0")
    files = [first.export(tmp_path), first.export(tmp_path, "Save as a table (CSV)")]
    with files[1].open(encoding="utf-8-sig", newline="") as file:
        table = [row[::-1] for row in csv.reader(file)]  # columns that were moved
    with files[1].open("w", encoding="utf-8", newline="") as file:
        file.write("sep=,\r\n")  # as Excel writes it
        csv.writer(file).writerows(table)
    for path in files:
        second = opening(folder / "en-1.html")
        assert second.give(path) == f"{path.name}: ratings taken over for 3 items."
        second.press("Escape u")
        assert second.place() == "Item 3 of 20"
        assert second.page.locator(".progress").inner_text().endswith("2 of 20 rated")
        second.press("2 2 2 2 k 0")  # another rating of the second item
        assert second.give(path).startswith(f"{path.name}: 2 items are rated differently there and here.")
        second.page.get_by_role("button", name="Keep those of this page").click()
        assert "everything in it is here already" in second.page.locator("dialog [role=status]").inner_text()
        second.page.keyboard.press("Escape")
        kept = read_export(second.export(tmp_path), SCALES).records
        assert [record.scores["language"] for record in kept] == [2, 0, 0]
        second.give(path)
        second.page.get_by_role("button", name="Take those of the file").click()
        second.page.keyboard.press("Escape")
        taken = read_export(second.export(tmp_path), SCALES).records
        assert [dict(record.scores) for record in taken] == [
            dict(record.scores) for record in read_export(files[0], SCALES).records
        ]
        assert taken[0].comment == "=1+1"


def test_an_import_of_anything_else_is_refused_by_name(opening: Any, folder: Path, tmp_path: Path) -> None:
    opened = opening(folder / "en-1.html")
    opened.press("2 2 2 2 2 2")
    good = json.loads(opened.export(tmp_path).read_text(encoding="utf-8"))
    table = opened.export(tmp_path, "Save as a table (CSV)").read_text(encoding="utf-8")
    other = opening(folder / "fr-1.html")
    other.press("2")
    other.press("e")
    with other.page.expect_download() as download:
        other.page.get_by_role("button", name="Enregistrer en JSON").click()
    download.value.save_as(tmp_path / "other.json")
    changed = {**good, "items": [{**good["items"][0], "comment": "by hand"}]}
    moved = {**good, "items": [{**good["items"][0], "item": "0123456789ab"}]}
    for name, content, message in (
        (
            "changed.json",
            json.dumps(changed),
            "changed.json was changed by hand after the export, at item 1.",
        ),
        (
            "moved.json",
            json.dumps(moved),
            "moved.json was changed by hand after the export, at item 0123456789ab.",
        ),
        (
            "old.json",
            json.dumps({**good, "schema": 0}),
            "old.json has format 0, and this sheet reads format 1.",
        ),
        ("cut.csv", table[:-20], "cut.csv is not an export of a rating sheet, or was cut off."),
        ("cut.json", json.dumps(good)[:-20], "cut.json is not an export of a rating sheet, or was cut off."),
        ("odd.csv", "a,b\n1,2\n", "odd.csv is not an export of a rating sheet, or was cut off."),
        ("empty.json", "", "empty.json is not an export"),
        (
            "list.json",
            '{"sheet": "x", "schema": 1, "items": [null]}',
            "list.json belongs to another sheet (x)",
        ),
        ("other.json", None, "other.json belongs to another sheet ("),
    ):
        if content is not None:
            (tmp_path / name).write_text(content, encoding="utf-8")
        said = opened.give(tmp_path / name)
        assert said.startswith(message)
        assert said.endswith("Nothing has changed here.")
        opened.page.keyboard.press("Escape")
    assert opened.page.locator(".progress").inner_text().endswith("1 of 20 rated")


FORBIDDEN = """Object.defineProperty(window, "localStorage", {
    get() { throw new DOMException("no", "SecurityError") } })"""
FULL = "Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError') }"


@pytest.mark.parametrize(
    ("script", "message"),
    [(FORBIDDEN, "This browser saves nothing"), (FULL, "The browser's storage is full")],
)
def test_without_storage_the_page_warns_goes_on_and_exports(
    opening: Any, folder: Path, tmp_path: Path, script: str, message: str
) -> None:
    opened = opening(folder / "en-1.html", script=script)
    assert opened.notices()[0].startswith(message)
    opened.press("2 2 2 2 2 2 Enter 1 k")
    assert opened.page.locator(".progress").inner_text().endswith("1 of 20 rated")
    assert len(read_export(opened.export(tmp_path), SCALES).records) == 2
    opened.press("0")
    asked = []
    opened.page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.dismiss()))
    opened.page.close(run_before_unload=True)
    opened.page.wait_for_timeout(200)
    assert asked == ["beforeunload"]


def test_what_the_browser_kept_of_something_else_does_no_harm(opening: Any, folder: Path) -> None:
    opened = opening(folder / "en-1.html")
    opened.press("2 Enter")
    opened.page.evaluate(
        """() => Object.keys(localStorage).forEach(
            (key) => localStorage.setItem(key, '{"scores": {"fluency": 7}}'))"""
    )
    opened.page.reload()
    assert opened.place() == "Item 1 of 20"
    assert opened.page.locator(".progress").inner_text().endswith("0 of 20 rated")


def test_two_tabs_of_a_sheet_warn_and_show_the_same(opening: Any, folder: Path) -> None:
    one = opening(folder / "en-1.html")
    two = opening(folder / "en-1.html", context=one.page.context)
    elsewhere = opening(folder / "fr-1.html", context=one.page.context)
    for each in (one, two):
        expect(each.page.locator(".notice:visible")).to_contain_text("also open in another tab")
    assert elsewhere.notices() == []
    one.press("2 1")
    expect(two.page.locator(".criterion.rated")).to_have_count(2)
    two.press("0 0 0 0")
    expect(one.page.locator(".progress")).to_contain_text("1 of 20 rated")
    two.page.goto("about:blank")
    expect(one.page.locator(".notice:visible")).to_have_count(0)
    two.page.go_back()
    expect(one.page.locator(".notice:visible")).to_have_count(1)


def test_pauses_count_a_minute_and_hidden_time_not_at_all(
    opening: Any, folder: Path, tmp_path: Path, browser: Browser
) -> None:
    context = browser.new_context(viewport=WIDE)
    context.clock.install(time=0)
    context.clock.pause_at(1)
    opened = opening(folder / "en-1.html", context=context)
    opened.page.clock.run_for(30_000)
    opened.press("2")
    opened.page.clock.run_for(30 * 60_000)  # lunch
    opened.press("2 2 2 2 2 Enter")
    opened.page.clock.run_for(5_000)
    hidden = """(value) => {
        Object.defineProperty(document, "hidden", { value, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    opened.page.evaluate(hidden, True)
    opened.page.clock.run_for(40_000)
    opened.page.evaluate(hidden, False)
    opened.page.clock.run_for(2_000)
    opened.press("1")
    expect(opened.page.locator(".time")).to_have_text("Time on this item: 0:07")
    opened.press("k")
    expect(opened.page.locator(".time")).to_have_text("Time on this item: 1:30")
    seconds = [record.seconds for record in read_export(opened.export(tmp_path), SCALES).records]
    assert seconds == [90, 7]


def test_passages_are_marked_by_mouse_and_by_keys(opening: Any, folder: Path, tmp_path: Path) -> None:
    opened = opening(folder / "en-1.html")
    while not opened.text().endswith("one, two, 1."):
        opened.press("j")
    text = opened.text()
    opened.press("s ArrowRight ArrowRight ArrowRight Shift+ArrowRight Tab")
    while opened.page.evaluate("document.activeElement.textContent") != "minor":
        opened.press("Tab")
    opened.press("Enter")
    opened.page.locator(".response-text").evaluate(
        "it => getSelection().setBaseAndExtent(it.firstChild, 0, it.firstChild, 6)"
    )
    opened.page.locator(".mark-buttons").nth(1).get_by_role("button", name="major").click()
    assert opened.page.locator("mark").all_text_contents() == ["Answer", "one, two"]
    opened.page.reload()
    assert opened.page.locator("mark").all_text_contents() == ["Answer", "one, two"]
    (record,) = read_export(opened.export(tmp_path), SCALES).records
    start = text.index("one")
    assert record.spans == (
        Span(0, 6, "major", "fluency"),
        Span(start, start + len("one, two"), "minor", "language"),
    )
    opened.page.locator(".passages li").first.get_by_role("button").click()
    assert opened.page.locator("mark").all_text_contents() == ["one, two"]
    opened.page.locator(".response-text").click(click_count=3)  # the paragraph
    opened.page.locator(".mark-buttons").nth(1).get_by_role("button", name="minor").click()
    (record,) = read_export(opened.export(tmp_path), SCALES).records
    assert Span(0, len(text), "minor", "fluency") in record.spans


def test_scores_are_given_with_the_mouse_wherever_a_criterion_is_open(opening: Any, folder: Path) -> None:
    page = opening(folder / "en-1.html").page
    for number in (5, 0, 3, 1, 4, 2):
        choice = page.locator(".criterion").nth(number).locator(".choice").nth(number % 4)
        (choice.locator("input") if number % 2 else choice).click()
        expect(page.locator(".criterion.open h3")).to_have_text(CRITERIA[number].capitalize())
    assert page.locator(".progress").inner_text().endswith("1 of 20 rated")


def test_the_keys_are_the_same_on_other_keyboards_and_can_be_switched_off(opening: Any, folder: Path) -> None:
    opened = opening(folder / "en-1.html")
    send = """([key, code]) => document.activeElement.dispatchEvent(
        new KeyboardEvent("keydown", { key, code, bubbles: true, cancelable: true }))"""
    rated = opened.page.locator(".criterion.rated")
    for number, (key, code) in enumerate([("&", "Digit1"), ("ч", "KeyX"), ("2", "Numpad2")], start=1):
        opened.page.evaluate(send, [key, code])
        expect(rated).to_have_count(number)
    checked = opened.page.locator(".choice input:checked").evaluate_all("all => all.map(it => it.value)")
    assert checked == ["1", CANNOT_JUDGE, "2"]
    opened.press("Shift+Tab Backspace")
    expect(rated).to_have_count(2)
    opened.press("Control+e")
    opened.press("h")
    opened.page.get_by_label("Use these keys").uncheck()
    opened.press("Escape 2 j")
    expect(rated).to_have_count(2)
    assert opened.place() == "Item 1 of 20"


def test_a_reminder_to_export_comes_after_25_items(opening: Any, tmp_path: Path) -> None:
    out = sheets(tmp_path, rows(("en",), 20), per_language=20, repeats=0)
    opened = opening(out / "en-1.html")
    opened.press("1 j " * 24)
    assert opened.notices() == []
    opened.press("1 j")
    assert opened.notices()[0].startswith("Items rated since the last export: 25.")
    opened.page.get_by_role("button", name="Hide this message").click()
    opened.press("1 j")
    assert opened.notices() == []
    opened.press("1 j " * 24)
    assert len(opened.notices()) == 1
    opened.export(tmp_path)
    assert opened.notices() == []


def test_long_scales_are_numbers_and_other_scales_have_their_keys(opening: Any, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(
        "criteria:\n  stars: {question: 'How many?', scale: [1, 5], lowest: 1}\n"
        "  percent: {question: 'How much?', scale: [0, 99]}\n",
        encoding="utf-8",
    )
    criteria = str(tmp_path / "own.yaml")
    out = sheets(tmp_path, rows(("en",), 3), per_language=3, criteria=criteria, repeats=0)
    opened = opening(out / "en-1.html")
    opened.press("0")
    expect(opened.page.locator(".criterion.rated")).to_have_count(0)
    opened.press("5")
    opened.page.keyboard.type("87")
    assert opened.page.locator(".progress").inner_text().endswith("1 of 9 rated")
    opened.page.locator("input[type=number]").fill("100")
    assert violations(opened.page) == []
    opened.page.locator("h1").click()
    path = opened.export(tmp_path)
    (record,) = read_export(path, {"stars": range(1, 6), "percent": range(100)}).records
    assert record.scores == {"stars": 5, "percent": 87}
    assert "1 annotators" in collect(
        path, "--key", out / "key.jsonl", "--out", tmp_path / "back", "--criteria", criteria
    )
