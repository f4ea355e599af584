"""What the page of a report holds, without a browser: packed answers, drawings, lines, and the policy."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from helpers.pages.reports import EVIL, SVG, figure, small_report, table

from xltjax.common.errors import UserError
from xltjax.eval.report.content import NO_VALUE, Answer, Column, Passage, Report
from xltjax.eval.report.drawings import inline_svg
from xltjax.eval.report.lines import line_languages
from xltjax.eval.report.packing import pack, unpacked
from xltjax.eval.report.page import page_html, write_page


class Elements(HTMLParser):
    """Every element of a page with its attributes, and the text inside of scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open = ""
        self.inside: dict[str, str] = {}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.found.append((tag, attributes))
        if tag in ("script", "style"):
            self.open = attributes.get("id") or attributes.get("type") or tag

    def handle_endtag(self, tag: str) -> None:
        self.open = ""

    def handle_data(self, data: str) -> None:
        if self.open:
            self.inside[self.open] = self.inside.get(self.open, "") + data


def packed_answers(page: str) -> Any:
    return json.loads(gzip.decompress(base64.b64decode(Elements(page).inside["answers"])))


def test_the_page_has_only_its_own_script_and_style_and_the_policy_knows_both() -> None:
    page = page_html(small_report())
    elements = Elements(page)
    assert {tag for tag, _ in elements.found} & {
        "link",
        "img",
        "iframe",
        "object",
        "base",
        "form",
        "image",
        "a:href",
    } == set()
    assert [attributes.get("type") for tag, attributes in elements.found if tag == "script"] == [
        "application/gzip",
        "module",
    ]
    policy = next(a["content"] for tag, a in elements.found if tag == "meta" and "http-equiv" in a)
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    for kind, text in (("style-src", elements.inside["style"]), ("script-src", elements.inside["module"])):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules[kind] == f"'sha256-{digest}'"
    for _, attributes in elements.found:
        assert not any(name.startswith("on") or name in ("style", "src") for name in attributes)
        href = attributes.get("href") or "#"
        assert href.startswith("#")


def test_every_answer_comes_back_as_it_was() -> None:
    report = small_report()
    data = packed_answers(page_html(report))
    assert [row.get("text", "") for row in data["answers"]] == [a.response for a in report.answers]
    assert [data["models"][row["model"]] for row in data["answers"]] == [a.model for a in report.answers]
    prompts = [data["prompts"][row["prompt"]] for row in data["answers"]]
    assert [prompt["instruction"] for prompt in prompts] == [a.instruction for a in report.answers]
    assert len(data["prompts"]) == 5
    first = data["answers"][0]
    assert first["scores"] == {"language_correct": 1, "spelling": 0.8765, "lpr": None}
    assert first["lines"] == ["fr", "en", "", ""]
    assert first["words"] == {
        "foreign": {"en": ["cats"]},
        "nonword": {"": ["blorp"]},
        "name": {"": ["Zidane"]},
    }
    assert first["judgments"] == [
        {"judge": "judge", "scores": {"relevance": 1}, "words": "Helpful: <b>yes</b>"}
    ]


def test_only_a_score_of_zero_is_a_wrong_language() -> None:
    answers = [Answer("a", "m", scores={"language_correct": value}) for value in (0.0, 1.0, None)] + [
        Answer("a", "m")
    ]
    assert [row.get("wrong") for row in unpacked(answers, {}, {})["answers"]] == [1, None, None, None]


def test_texts_that_no_file_takes_are_written_all_the_same(tmp_path: Path) -> None:
    odd = "half a pair \ud800, a bell \x07, a null \x00, \u2028 and 🎈"
    answer = Answer("odd\ud800", odd, "fr", instruction=odd, response=odd, scores={"spelling": float("nan")})
    report = Report(odd, (odd, odd), figure(), (), ((odd, odd),), [answer])
    write_page(report, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "half a pair ?, a bell , a null , \u2028 and 🎈" in page
    assert packed_answers(page)["answers"][0]["text"] == odd.replace("\ud800", "?")
    assert packed_answers(page)["answers"][0]["scores"] == {"spelling": None}


def test_a_page_is_the_same_whenever_it_is_made() -> None:
    assert page_html(small_report()) == page_html(small_report())
    answers = small_report().answers
    assert pack(answers, {}, {}) == pack(list(answers), {}, {})


def test_a_page_that_cannot_be_written_is_an_error_of_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file"):
        write_page(small_report(), tmp_path / "file" / "report.html")


def test_numbers_and_intervals_of_a_table() -> None:
    column = Column("mean", "mean, %", ".1f", numeric=True, low="low", high="high")
    row = {"mean": 90.04, "low": 80.0, "high": 95.55}
    assert (column.text(row), column.interval(row)) == ("90.0", "[80.0, 95.5]")
    assert (column.text({}), column.interval(row | {"low": None})) == (NO_VALUE, "")
    assert column.text({"mean": float("nan")}) == NO_VALUE
    assert Column("n", "n", numeric=True).text({"n": 0}) == "0"
    assert Column("ok", "ok", ".2f").text({"ok": True}) == "True"


def test_what_is_missing_leaves_a_sentence() -> None:
    empty = replace(table(), rows=())
    report = replace(small_report(), answers=(), provenance=(), lead=None, headline=())
    report = replace(report, sections=(replace(report.sections[0], figures=(), tables=(empty,)),))
    page = page_html(report)
    for sentence in (
        "There are no rows.",
        "The report was made without answers.",
        "Nothing is known about how",
    ):
        assert sentence in page
    assert 'id="answers"' not in page


def test_commands_in_sentences_stand_out_and_markup_in_them_does_not_count() -> None:
    section = replace(small_report().sections[1], paragraphs=("Run `python -m <x>` & `see`; a ` alone.",))
    page = page_html(replace(small_report(), sections=(section,)))
    assert "<p>Run <code>python -m &lt;x&gt;</code> &amp; <code>see</code>; a ` alone.</p>" in page


def test_a_drawing_loses_scripts_and_styles_but_not_its_look() -> None:
    root = ET.fromstring(inline_svg(SVG, "fig", 'a "line" & <more>'))
    assert (root.get("role"), root.get("aria-label")) == ("img", 'a "line" & <more>')
    assert (root.get("width"), root.get("viewBox"), root.get("height")) == ("480", "0 0 360 120", None)
    assert root.get("class") is None
    assert ET.fromstring(inline_svg(SVG.replace("360pt", "440pt"), "fig", "")).get("class") == "wide"
    assert {element.tag for element in root.iter()} == {"svg", "defs", "path", "g", "use", "text"}
    path = root.find("defs/path")
    assert path is not None
    assert path.attrib == {"id": "fig-dot", "d": "M0 0 H8", "stroke": "#0072b2", "stroke-width": "3"}
    assert [g.attrib for g in root.iter("g")] == [{"fill": "none", "clip-path": "url(#fig-clip)"}]
    assert [use.get("href") for use in root.iter("use")] == ["#fig-dot"]
    assert [text.get("font-size") for text in root.iter("text")] == ["10px"]


@pytest.mark.parametrize(
    "evil",
    [
        "<a xlink:href='javascript:alert(1)'><text>x</text></a>",
        "<use xlink:href='https://example.org/#x'/>",
        "<image href='https://example.org/x.png'/>",
        "<path d='M0 0' onclick='alert(1)'/>",
        "<path d='M0 0' style='background: url(https://example.org/)'/>",
        "<foreignObject><div>x</div></foreignObject>",
        "<set attributeName='href' to='javascript:alert(1)'/>",
    ],
)
def test_a_drawing_leads_nowhere(evil: str) -> None:
    svg = f"<svg xmlns='http://www.w3.org/2000/svg' xmlns:xlink='http://www.w3.org/1999/xlink'>{evil}</svg>"
    assert not re.search("javascript|example|alert|div|<a", inline_svg(svg, "fig", "nothing"))


@pytest.mark.parametrize("text", ["", "no drawing", "<html/>", "<svg>"])
def test_what_is_no_drawing_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match="lead"):
        inline_svg(text, "lead", "nothing")


def languages(response: str, *passages: tuple[str, str]) -> list[str]:
    return line_languages(response, [Passage(text, language) for text, language in passages])


def test_lines_find_their_passages_through_markup_and_cuts() -> None:
    long = "The weather is nice today and everybody goes to the beach, where it is even nicer than here in the town."
    assert languages(f"# **{long}**\n\nOui.", (long[:80], "en")) == ["en", "", ""]
    # What is not found is not marked.
    assert languages(f"Voir `code` ici : {long}", (f"Voir ici : {long}"[:80], "en")) == [""]
    assert (
        languages(
            "- un chat\n- deux chiens\n- trois oiseaux", ("- un chat - deux chiens - trois oiseaux", "fr")
        )
        == ["fr"] * 3
    )


def test_short_lines_after_a_cut_belong_to_the_passage_and_code_does_not() -> None:
    items = [f"- item number {k} of the list" for k in range(6)]
    passage = " ".join(items)[:80]
    response = "\n".join(
        [*items, "```", "print(1)", "```", "", "Une autre phrase qui est bien assez longue."]
    )
    found = languages(response, (passage, "en"), ("Une autre phrase qui est bien assez longue.", "fr"))
    assert found == ["en"] * 6 + ["", "", "", "", "fr"]


def test_the_same_line_twice_takes_the_passages_in_order() -> None:
    line = "Ceci est une phrase qui revient deux fois."
    assert languages(f"{line}\n{line}", (line, "fr"), (line, "fr")) == ["fr", "fr"]
    assert languages(
        "A\nB",
    ) == ["", ""]


def test_a_short_line_does_not_lead_past_other_passages() -> None:
    first, last = "Ceci est la toute première phrase.", "And this is the 2nd and very last sentence."
    assert languages(f"{first}\n2\n{first}\n{last}", (first, "fr"), (first, "fr"), (last, "en")) == [
        "fr",
        "",
        "fr",
        "en",
    ]


def test_lines_of_real_answers_get_the_language_that_the_metric_found(identify: Any) -> None:
    from xltjax.eval.language import line_language

    response = (
        "Les chats dorment beaucoup pendant la journée.\n\n**The second paragraph** is written in English, though.\n"
        "- premier point\n- deuxième point de la liste\n- troisième point, et le dernier\n"
    )
    score = line_language("id", response, "fr", identify)
    passages = [Passage(line["text"], line["language"]) for line in score.detail["lines"]]
    assert line_languages(response, passages) == ["fr", "", "en", "", "fr", "fr", ""]  # one is too short


def test_matplotlib_draws_what_the_page_can_hold() -> None:
    from io import StringIO

    from matplotlib import pyplot

    drawn, axes = pyplot.subplots()
    axes.errorbar([1, 2], [3, 4], yerr=[1, 1], label="<i>a</i> & b")
    axes.legend()
    text = StringIO()
    drawn.savefig(text, format="svg")
    pyplot.close(drawn)
    svg = inline_svg(text.getvalue(), "fig", "a line")
    assert "style" not in svg
    targets = set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', svg))
    ids = set(re.findall(r' id="([^"]+)"', svg))
    assert {a or b for a, b in targets} <= ids


def test_the_files_of_the_page_are_part_of_the_package() -> None:
    import tomllib

    root = Path(__file__).parents[2]
    setup = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    assert "xltjax.eval.report.assets" in setup["packages"]
    assert setup["package-data"]["xltjax.eval.report.assets"] == ["*"]


def test_a_page_needs_no_jax() -> None:
    code = "import sys, xltjax.eval.report.page; print('jax' in sys.modules or 'matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_evil_names_do_not_leave_the_head() -> None:
    page = page_html(replace(small_report(), title=EVIL, headline=(EVIL,)))
    assert page.count("<script") == 2
    assert page.count("</style>") == 1
