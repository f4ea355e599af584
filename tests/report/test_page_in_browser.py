"""The page of a report in a real browser: it runs, asks for nothing, finds what it should, and hurts nobody."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from helpers.pages.browser import PHONE, WIDE, violations
from helpers.pages.opened_reports import READY, opened_reports
from helpers.pages.reports import EVIL, small_report, table
from helpers.scored import answer, score, write_lines
from playwright.sync_api import Browser, Page, expect

from xltjax.eval.report.command import ReportConfig, run
from xltjax.eval.report.content import Report
from xltjax.eval.report.page import write_page


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("a report") / "report #1.html"
    write_page(small_report(), path)
    return path


@pytest.fixture
def opening(browser: Browser) -> Iterator[Any]:
    """``opening(path, hash, **settings)`` opens a page."""
    yield from opened_reports(browser)


def written(report: Report, folder: Path) -> Path:
    write_page(report, folder / "report.html")
    return folder / "report.html"


def test_the_page_opens_without_an_error_or_a_request(opening: Any, small: Path) -> None:
    opened = opening(small)
    assert opened.page.title() == "A study of <cats> & dogs"
    assert opened.status() == "7 of 7 answers, to 5 of 5 instructions."
    assert opened.page.locator("main").inner_text().count("<script>window.broken = 5</script>") == 1


def test_the_policy_forbids_what_the_page_does_not_need(opening: Any, small: Path) -> None:
    opened = opening(small)
    blocked = opened.page.evaluate(
        """async () => {
            const blocked = [];
            addEventListener("securitypolicyviolation", (event) => blocked.push(event.effectiveDirective));
            await fetch("https://example.org/").catch(() => {});
            for (const [tag, name, value] of [["script", "textContent", "window.broken = 9"],
                ["style", "textContent", "body { display: none }"], ["img", "src", "https://example.org/a.png"],
                ["iframe", "src", "https://example.org/"], ["object", "data", "https://example.org/"]]) {
                const made = document.createElement(tag);
                made[name] = value;
                document.body.append(made);
            }
            document.body.setAttribute("onclick", "window.broken = 9");
            document.body.click();
            for (let turn = 0; turn < 200 && blocked.length < 7; turn++)
                await new Promise((done) => setTimeout(done, 50));
            return [blocked.sort(), window.broken ?? null, getComputedStyle(document.body).display];
        }"""
    )
    assert blocked == [
        [
            "connect-src",
            "frame-src",
            "img-src",
            "object-src",
            "script-src-attr",
            "script-src-elem",
            "style-src-elem",
        ],
        None,
        "block",
    ]
    assert opened.said != []  # of what was tried here
    opened.said.clear()
    opened.requests[1:] = []  # the browser reports them before it blocks them


def test_an_answer_that_looks_like_a_page_does_nothing(opening: Any, small: Path) -> None:
    opened = opening(small, "#q1-fr")
    assert opened.card("model b").locator(".text").inner_text() == EVIL
    opened.card("model b").locator("details.judgment summary").click()
    assert opened.card("model b").locator("blockquote").inner_text() == EVIL
    for number in range(5):
        opened.page.locator(".prompts a").nth(number).click()
    opened.page.locator("input[type=search]").fill("<script>")
    expect(opened.page.locator("#browser-status")).to_have_text("2 of 7 answers, to 2 of 5 instructions.")
    inside = opened.page.locator("#browser :is(script, img, style, iframe, b, i, textarea)")
    assert inside.count() == 0
    assert opened.page.locator("script").count() == 1  # that of the page; the data have been taken out
    assert opened.page.evaluate("window.broken ?? null") is None


def test_unknown_words_and_foreign_lines_are_marked(opening: Any, small: Path) -> None:
    card = opening(small, "#q1-fr").card("model a")
    marks = card.locator("mark").evaluate_all(
        "all => all.map(mark => [mark.textContent, mark.className, mark.title])"
    )
    assert marks == [
        ["cats", "foreign", "a word of English"],
        ["Blorp", "nonword", "a word of no dictionary"],
        ["Zidane", "name", "a name"],
    ]
    lines = card.locator(".line").evaluate_all("all => all.map(line => line.className)")
    assert lines == ["line", "line other", "line", "line"]
    assert card.locator(".line .tag").all_text_contents() == ["en"]
    tag, bar = (
        card.locator(".line.other" + part).evaluate(f"it => getComputedStyle(it).{look}")
        for part, look in ((" .tag", "color"), ("", "borderInlineStartColor"))
    )
    assert tag == bar
    assert card.locator(".text").get_attribute("lang") == "fr"
    looks = card.locator("mark").evaluate_all(
        "all => all.map(mark => getComputedStyle(mark).textDecorationStyle)"
    )
    assert len(set(looks)) == 3  # not told apart by color alone


def test_scores_states_and_the_judges_words_are_shown(opening: Any, small: Path) -> None:
    card = opening(small, "#q1-fr").card("model a")
    card.locator("details.scores summary").click()
    assert card.locator("details.scores dl").inner_text().split("\n") == [
        "language correct", "1", "spelling", "0.8765", "lpr", "abstain: no long line",
    ]  # fmt: skip
    card.locator("details.judgment summary").click()
    assert card.locator("details.judgment").inner_text().split("\n") == [
        "judge: relevance 1",
        "Helpful: <b>yes</b>",
    ]


def test_what_is_wrong_with_an_answer_stands_above_it(opening: Any, small: Path) -> None:
    opened = opening(small, "#q1-fr")
    assert opened.card("model b").locator(".notes li").all_text_contents() == [
        "in English, not in French", "cut off at the token limit",
    ]  # fmt: skip
    opened.go("#q1-en")
    assert opened.card("model b").locator("p.nothing").inner_text() == "The answer is empty."
    assert opened.card("model b").locator(".notes").inner_text() == "failed: too long"


FILTERS = (
    (lambda page: choose(page, "model", "model a"), 3, 3),
    (lambda page: choose(page, "language", "French (fr)"), 3, 2),
    (lambda page: choose(page, "task", "email"), 1, 1),
    (lambda page: choose(page, "modifier", "list_n"), 1, 1),
    (lambda page: choose(page, "modifier", "none"), 6, 4),
    (lambda page: page.get_by_label("wrong language").check(), 1, 1),
    (lambda page: page.get_by_label("judge against program").check(), 1, 1),
    (lambda page: page.get_by_label("cut off or failed").check(), 2, 2),
    (lambda page: page.locator("select").select_option("unknown"), 1, 1),
    (lambda page: page.locator("select").select_option("foreign"), 1, 1),
    (lambda page: page.locator("select").select_option("nonword"), 1, 1),
    (lambda page: page.locator("select").select_option("name"), 1, 1),
    (lambda page: page.locator("input[type=search]").fill("ZOÉ"), 1, 1),
    (lambda page: page.locator("input[type=search]").fill("helpful"), 1, 1),
    (lambda page: page.locator("input[type=search]").fill("nowhere"), 0, 0),
)


def test_each_filter_finds_its_answers_and_the_address_keeps_it(opening: Any, small: Path) -> None:
    opened, again = opening(small), opening(small)
    for act, answers, instructions in FILTERS:
        act(opened.page)
        expected = f"{answers} of 7 answers, to {instructions} of 5 instructions."
        expect(opened.page.locator("#browser-status")).to_have_text(expected)
        again.go(opened.page.evaluate("location.hash"))
        assert (again.status(), again.models()) == (expected, opened.models())
        opened.page.get_by_role("button", name="Clear all filters").click()
        assert opened.status() == "7 of 7 answers, to 5 of 5 instructions."


def choose(page: Page, choice: str, label: str) -> None:
    """Tick one name in the list of a choice."""
    details = page.locator(f"[data-choice={choice}]")
    details.locator("summary").click()
    details.get_by_label(label, exact=True).check()
    page.keyboard.press("Escape")
    assert not details.locator("fieldset").is_visible()


def test_filters_join_and_answers_that_do_not_match_can_be_shown_beside(opening: Any, small: Path) -> None:
    opened = opening(small)
    choose(opened.page, "language", "French (fr)")
    choose(opened.page, "model", "model a")
    assert (opened.status(), opened.models()) == ("1 of 7 answers, to 1 of 5 instructions.", ["model a"])
    opened.page.get_by_role("button", name="Show all").click()
    assert opened.models() == ["model a", "model b"]
    opened.page.reload()
    opened.page.wait_for_selector(READY)
    assert opened.models() == ["model a", "model b"]


PERMALINKS = (
    ("#q1-en-list", "What do cats do? List 2.", []),
    ("#q1-fr@model%20b", "Que font les chats ?", ["model b"]),
    # Although the filter leaves it out.
    ("#q1-fr@model%20b?model=model+a", "Que font les chats ?", ["model b"]),
    ("#" + quote("100%@b?c#d", safe=""), "Écris un courriel à Zoé.", []),
    ("#100%@b?c#d", "Écris un courriel à Zoé.", []),  # as it stands in the file
)


def test_a_permalink_leads_to_its_answer(opening: Any, small: Path) -> None:
    opened = opening(small, "#q1-fr@model%20b")
    for address, question, here in (PERMALINKS[1], *PERMALINKS):
        opened.go(address)
        assert opened.question() == question
        assert opened.page.locator(".answer.here h4").all_text_contents() == here
        target = opened.page.locator(".answer.here" if here else ".prompt")
        top = target.evaluate("it => it.getBoundingClientRect().top")
        assert -1 <= top < WIDE["height"]


def test_an_address_that_names_nothing_shows_the_first_answers(opening: Any, small: Path) -> None:
    opened = opening(small, "#nothing@nobody")
    for address in ("#%E0%A4%A", "#?model=nobody&words=none"):
        assert opened.question() == "Que font les chats ?"
        opened.go(address)
    assert opened.status() == "7 of 7 answers, to 5 of 5 instructions."


def test_every_link_of_the_browser_leads_back_to_what_it_stands_at(opening: Any, small: Path) -> None:
    opened, again = opening(small), opening(small)
    for number in range(opened.page.locator(".prompts a").count()):
        with opened.following():
            opened.page.locator(".prompts a").nth(number).click()
        question, shown = opened.question(), opened.models()
        for link in opened.page.locator(".permalink").evaluate_all(
            "all => all.map(it => it.getAttribute('href'))"
        ):
            again.go(link)
            assert (again.question(), again.models()) == (question, shown)
    opened.page.go_back()
    expect(opened.page.locator(".question h3")).to_contain_text("window.broken")


def test_links_to_parts_of_the_page_leave_the_browser_alone(opening: Any, small: Path) -> None:
    opened = opening(small, "#q1-en")
    opened.page.get_by_role("link", name="Language and spelling").click()
    expect(opened.page.locator("#heading-surface")).to_be_in_viewport()
    expect(opened.page.locator("#browser-status")).not_to_be_in_viewport()
    assert opened.question() == "What do cats do?"


def test_keys_go_through_the_answers(opening: Any, small: Path) -> None:
    opened = opening(small)
    opened.page.locator("#section-browser").scroll_into_view_if_needed()
    opened.page.locator(".question h3").click()
    for key, question in (
        ("j", "What do cats do?"),
        ("j", "What do cats do? List 2."),
        ("k", "What do cats do?"),
    ):
        opened.page.keyboard.press(key)
        assert opened.question() == question
    opened.page.keyboard.press("/")
    opened.page.keyboard.type("jk /")
    assert opened.page.locator("input[type=search]").input_value() == "jk /"
    expect(opened.page.locator(".answer")).to_have_count(0)
    opened.page.locator("input[type=search]").fill("sleep all")
    expect(opened.page.locator(".answer")).to_have_count(1)
    opened.page.keyboard.press("Escape")
    opened.page.keyboard.press("Control+a")  # is the browser's own
    assert opened.models() == ["model a"]
    opened.page.keyboard.press("a")
    assert opened.models() == ["model a", "model b"]


def test_axe_finds_nothing(opening: Any, small: Path) -> None:
    page = opening(small, "#q1-fr@model%20b").page
    assert violations(page) == []
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    for scheme, size in (("dark", WIDE), ("light", PHONE)):
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size(size)
        assert violations(page) == []


def test_nothing_is_wider_than_the_screen(opening: Any, small: Path) -> None:
    page = opening(small, "#q1-fr").page
    for width in (1440, 900, 390, 320):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_first_screen_has_the_sentences_and_the_figure(opening: Any, small: Path) -> None:
    page = opening(small).page
    sentences, drawing = page.locator(".findings"), page.locator(".headline svg")
    for part in (page.locator("h1"), sentences, drawing):
        expect(part).to_be_in_viewport(ratio=1)
    width = sentences.bounding_box()["width"]
    page.locator(".headline details summary").click()
    assert sentences.bounding_box()["width"] == width
    page.set_viewport_size(PHONE)  # one below the other
    assert drawing.bounding_box()["y"] > sentences.bounding_box()["y"] + sentences.bounding_box()["height"]


def test_short_names_in_tables_do_not_break(opening: Any, tmp_path: Path) -> None:
    name, wide = "llama2-7b-dolly-en-ft", table()
    columns = tuple(replace(wide.columns[0], key=f"k{k}", heading="a model") for k in range(12))
    broad = replace(wide, columns=columns, rows=[dict.fromkeys((c.key for c in columns), name)])
    section = replace(small_report().sections[0], figures=(), tables=(broad,))
    page = opening(written(replace(small_report(), sections=(section,)), tmp_path)).page
    cells = page.locator("#table-surface td").evaluate_all(
        "all => all.map(it => it.getClientRects()[0].height)"
    )
    assert max(cells) < 40
    box = page.locator("#table-surface .scroll")
    assert box.evaluate("it => it.scrollWidth > it.clientWidth")
    box.evaluate("it => { it.scrollLeft = 500 }")  # what a row is about stays in sight
    assert (
        box.evaluate(
            "it => it.querySelector('td').getBoundingClientRect().left - it.getBoundingClientRect().left"
        )
        >= 0
    )
    assert violations(page) == []


def test_printing_unfolds_the_tables_and_leaves_the_answers_out(opening: Any, small: Path) -> None:
    page = opening(small).page
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("#table-long tbody tr").last.is_visible()
    assert not page.locator("#browser").is_visible()
    assert page.get_by_text("The answers can be read on a screen only.").is_visible()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("#table-long details").get_attribute("open") is None


def test_figures_keep_their_look_without_styles_of_their_own(opening: Any, small: Path) -> None:
    page = opening(small).page
    look = (
        "path => { const it = getComputedStyle(path); return [it.stroke, it.strokeWidth, it.strokeLinejoin] }"
    )
    assert page.locator("#surface-by-rate-dot").evaluate(look) == ["rgb(0, 114, 178)", "3px", "round"]
    used = page.locator("#figure-surface-by-rate use").evaluate("use => use.getBBox().width")
    assert used == 8  # the link within the drawing holds
    assert (
        page.locator("#figure-surface-by-rate text").evaluate("it => getComputedStyle(it).fontSize") == "10px"
    )


def test_a_page_without_scripts_shows_everything_but_the_answers(opening: Any, small: Path) -> None:
    page = opening(small, java_script_enabled=False).page
    assert page.get_by_text("which needs JavaScript").is_visible()
    assert page.locator("#table-surface tbody tr").count() == 3


def test_a_report_with_nothing_in_it_says_so(opening: Any, tmp_path: Path) -> None:
    page = opening(written(Report("Nothing", ()), tmp_path)).page
    assert page.locator("h1").inner_text() == "Nothing"
    text = page.locator("main").inner_text()
    assert "The report was made without answers." in text
    assert "Nothing is known about how these answers came about." in text


def test_one_model_in_no_language_is_enough(opening: Any, tmp_path: Path) -> None:
    answer = replace(
        small_report().answers[0],
        model="",
        language="",
        task="",
        instruction="",
        instruction_id="",
        passages=(),
        words=(),
    )
    opened = opening(written(replace(small_report(), answers=[answer]), tmp_path))
    assert opened.status() == "1 of 1 answers, to 1 of 1 instructions."
    assert opened.question() == "q1-fr"
    assert violations(opened.page) == []


def test_one_id_for_different_questions_of_different_models(opening: Any, tmp_path: Path) -> None:
    first = small_report().answers[0]
    answers = [first, replace(first, model="other", instruction="Something else?", instruction_id="")]
    opened = opening(written(replace(small_report(), answers=answers), tmp_path), "#q1-fr@other")
    assert opened.question() == "Something else?"
    link = opened.page.locator(".prompts a[aria-current]").get_attribute("href")
    assert opening(tmp_path / "report.html", link).question() == "Something else?"


def test_a_long_list_grows_to_the_answer_that_is_asked_for(opening: Any, tmp_path: Path) -> None:
    few = small_report().answers
    answers = [
        replace(few[0], id=f"n{k}", instruction=f"Question {k}", instruction_id="") for k in range(1000)
    ]
    path = written(replace(small_report(), answers=answers), tmp_path)
    opened = opening(path)
    assert opened.page.locator(".prompts li").count() == 400
    opened.page.get_by_role("button", name="Show more").click()
    assert opened.page.locator(".prompts li").count() == 800
    assert opening(path, "#n950").page.locator(".prompts a[aria-current] .ask").inner_text() == "Question 950"


def test_the_command_makes_a_page_that_holds_all_this(opening: Any, tmp_path: Path) -> None:
    rows = [
        answer(
            f"model-{EVIL[:9]}",
            number,
            language,
            response=EVIL,
            instruction=f"{number} {EVIL}",
            task=EVIL[:8],
        )
        for language in ("en", "fr")
        for number in range(4)
    ]
    write_lines(tmp_path / "run" / "responses.jsonl", rows)
    write_lines(
        tmp_path / "run" / "scores.jsonl",
        (score(row, "language_correct", k % 2) for k, row in enumerate(rows)),
    )
    run(
        ReportConfig(
            sources=(str(tmp_path / "run"),), out=str(tmp_path / "report.html"), title=EVIL, draws=50
        )
    )
    opened = opening(tmp_path / "report.html", "#q1-fr")
    assert opened.status() == "8 of 8 answers, to 8 of 8 instructions."
    assert opened.question() == f"1 {EVIL}"
    assert opened.page.locator(".answer .text").inner_text() == EVIL
    assert opened.page.evaluate("window.broken ?? null") is None
    assert opened.page.locator("script").count() == 1
    assert violations(opened.page) == []
    opened.page.get_by_label("wrong language").check()
    assert opened.status() == "4 of 8 answers, to 4 of 8 instructions."
