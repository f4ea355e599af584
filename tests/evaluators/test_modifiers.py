"""The modifier checks against hand-written cases."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from xltjax.eval.language import LanguageIdentifier
from xltjax.eval.modifiers.catalog import MODIFIERS, Answer, check, placebo
from xltjax.eval.scores import Unavailable
from xltjax.eval.text.segmentation import count_words

CASES = Path(__file__).parent / "modifier_cases"
LANGUAGES = ("en", "fr", "pt", "ru", "de")
CHECKED = ("briefly", "list_n", "answer_in", "markdown", "html_page", "arrow", "capitalise")
EXPECTED = {
    "pass": ("ok", True, True),
    "fail": ("ok", False, None),
    "loose": ("ok", False, True),
    "abstain": ("abstain", None, None),
}


@functools.cache
def identifier() -> LanguageIdentifier:
    return LanguageIdentifier()


def cases(name: str, language: str, outcome: str) -> Iterator[Answer]:
    document = yaml.safe_load((CASES / f"{name}.yaml").read_text(encoding="utf-8"))
    phrases = document.get("phrases", {}).get(language, {})
    own = document["languages"].get(language, {}).get(outcome, [])
    for case in [*document.get("templates", {}).get(outcome, []), *own]:
        yield as_answer(name, language, case, phrases)


def as_answer(name: str, language: str, case: Any, phrases: dict[str, str]) -> Answer:
    params: dict[str, Any] = {"language": language} if name == "answer_in" else {}
    if name == "list_n":
        params["n"], case = case
    if isinstance(case, str):
        case = {"text": case}
    text = case["text"] * case.get("times", 1)
    for key, phrase in phrases.items():
        text = text.replace(f"%{key}%", phrase)
    return Answer(text, language, params, case.get("truncated", False), identify=identifier())


def all_cases() -> list[Any]:
    return [
        pytest.param(name, answer, outcome, id=f"{name}-{language}-{outcome}-{number}")
        for name in CHECKED
        for language in LANGUAGES
        for outcome in EXPECTED
        for number, answer in enumerate(cases(name, language, outcome))
    ]


@pytest.mark.parametrize(("name", "answer", "outcome"), all_cases())
def test_a_hand_written_case_gets_its_verdict(name: str, answer: Answer, outcome: str) -> None:
    verdict = check(name, answer)
    state, strict, loose = EXPECTED[outcome]
    assert (verdict.state, verdict.strict) == (state, strict), (answer.response, verdict)
    if loose is not None:
        assert verdict.loose == loose, (answer.response, verdict)


# How many cases there are, and that they are not easy.


@pytest.mark.parametrize("outcome", ["pass", "fail"])
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", CHECKED)
def test_every_checker_has_twenty_different_cases_of_each_kind_in_each_language(
    name: str, language: str, outcome: str
) -> None:
    different = {(answer.response, str(answer.params)) for answer in cases(name, language, outcome)}
    assert len(different) >= 20


def test_the_examples_that_break_naive_checkers() -> None:
    def strict(name: str, text: str, language: str = "en", **params: Any) -> bool | None:
        return check(name, Answer(text, language, params, identify=identifier())).strict

    assert count_words("L'homme qu'on aime n'est pas là.") == 6
    assert strict("list_n", "1. a\n2. b", n=2)
    assert strict("capitalise", "Don't Worry")
    assert strict("html_page", "```html\n<html><body>Hi</body></html>\n```")
    assert strict("markdown", "2*3=6") is False
    assert strict("markdown", "2*3=6 and 4*5=20") is False
    assert strict("markdown", "# Title")


def test_a_page_inside_a_string_of_a_program_is_no_page() -> None:
    verdict = check("html_page", Answer('return "<html><body>Hi</body></html>";'))
    assert (verdict.strict, verdict.loose, verdict.detail["grade"]) == (False, False, "fragment")


# Principles: fail closed, pure, never silently passed.


@pytest.mark.parametrize("name", [*CHECKED, "detailed"])
@pytest.mark.parametrize("text", ["", " \n\t", "\0\0", "\u200b\ufeff", "\ud800"])
def test_an_empty_answer_fulfills_nothing(name: str, text: str) -> None:
    verdict = check(name, Answer(text, "en", {"n": 1, "language": "en"}, identify=identifier()))
    assert (verdict.state, verdict.strict, verdict.loose, verdict.span) == ("ok", False, False, None)


def test_an_unknown_modifier_fails_closed_and_names_the_nearest() -> None:
    for verdict in (check("markdwon", Answer("# Title")), placebo("markdwon", Answer("", own=Answer("# T")))):
        assert verdict.state == "failed:unknown modifier 'markdwon'; did you mean 'markdown'?"
        assert verdict.strict is verdict.loose is None


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("list_n", {}),
        ("list_n", {"n": 0}),
        ("list_n", {"n": "many"}),
        ("list_n", {"n": True}),
        ("list_n", {"n": 2.5}),
        ("list_n", {"n": 3, "most": 2}),
        ("list_n", {"n": 1, "most": "many"}),
        ("answer_in", {}),
        ("answer_in", {"language": None}),
        ("answer_in", {"language": "Elvish"}),
        ("answer_in", {"language": "qq"}),
    ],
)
def test_a_missing_or_impossible_parameter_is_failed_not_scored(name: str, params: dict[str, Any]) -> None:
    verdict = check(name, Answer("1. a\n2. b", "en", params, identify=identifier()))
    assert verdict.state.startswith("failed:")
    assert verdict.strict is verdict.loose is None


def test_without_language_identification_answer_in_abstains_and_says_why() -> None:
    missing = Unavailable("no module fasttext: pip install fasttext-predict")
    verdict = check("answer_in", Answer("Bonjour à tous", "fr", {"language": "fr"}, identify=missing))
    assert (verdict.state, verdict.strict) == ("abstain", None)
    assert verdict.detail["reason"] == str(missing)


@pytest.mark.parametrize("name", ["scientific", "simple", "two_hop"])
def test_style_and_two_hops_are_left_to_the_judge(name: str) -> None:
    for text in ("Some answer.", ""):
        verdict = check(name, Answer(text))
        assert (verdict.state, verdict.detail) == ("abstain", {"reason": "for the judge"})


def test_there_are_the_eleven_modifiers_of_the_paper() -> None:
    kinds = [modifier.kind for modifier in MODIFIERS.values()]
    assert (kinds.count("program"), kinds.count("relative"), kinds.count("judge")) == (7, 1, 3)


WORD = "word "


@pytest.mark.parametrize(
    ("n", "most", "strict"),
    [(1, 3, True), (2, "3", True), (1, 2, True), (3, 5, False), (1, 1, False), (2, None, True)],
)
def test_a_range_of_options_is_a_range_of_lengths(n: int, most: int | str | None, strict: bool) -> None:
    assert check("list_n", Answer("- a\n- b", params={"n": n, "most": most})).strict is strict


def test_an_english_remark_in_a_russian_line_is_shown() -> None:
    remark = "the capital of France is a very old city"
    text = f"Столица Франции, как знает каждый школьник в этой стране, стоит на Сене ({remark})."
    verdict = check("answer_in", Answer(text, params={"language": "ru"}, identify=identifier()))
    assert (verdict.strict, verdict.loose, verdict.detail["remarks"]) == (False, True, [remark])
    assert verdict.span is not None
    assert text[slice(*verdict.span)] == remark


@pytest.mark.parametrize(
    ("language", "text", "strict"),
    [
        # The line that was cut is left out, also when it is in another language so far ...
        ("ru", "Поезд отправляется каждое утро в семь часов с вокзала.\nThe train of the morning le", True),
        (
            "fr",
            "Le train part tous les matins à sept heures de la gare.\nThe train of the morning leaves",
            True,
        ),
        # ... but not a line that is most of the answer.
        ("ru", "Поезд.\nThe train leaves every morning at seven from the main stat", False),
        ("fr", "Le train part tous les matins à sept heures de la gare pri", True),
    ],
)
def test_the_line_that_was_cut_at_the_token_limit_is_no_answer_in_another_language(
    language: str, text: str, strict: bool
) -> None:
    cut = Answer(text, params={"language": language}, truncated=True, identify=identifier())
    assert check("answer_in", cut).strict is strict
    whole = check("answer_in", dataclasses.replace(cut, truncated=False))
    assert whole.strict is (language == "fr" and "\n" not in text)


@pytest.mark.parametrize(
    ("language", "text", "state", "strict"),
    [
        ("zh", "从火车站坐车到市中心大约需要半个小时，每小时有两班车。", "ok", True),
        ("zh", "OK!", "ok", False),
        ("zh", "好的。", "abstain", None),
        ("ja", "電車は毎朝七時に中央駅から出発します。切符は窓口で買えます。", "ok", True),
        ("ja", "Tokyo", "ok", False),
        ("hi", "Dilli", "ok", False),
        ("hi", "ट्रेन हर सुबह सात बजे मुख्य स्टेशन से चलती है और शाम को लौटती है।", "ok", True),
        ("ar", "Qahira", "ok", False),
        ("ko", "Seoul", "ok", False),
        ("sr", "Beograd", "abstain", None),  # written in both scripts
        (
            "ru",
            "Поезд отправляется каждое утро в семь часов (火车每天早上七点从中央车站出发) с вокзала города.",
            "ok",
            False,
        ),
    ],
)
def test_the_scripts_of_every_language_decide(
    language: str, text: str, state: str, strict: bool | None
) -> None:
    verdict = check("answer_in", Answer(text, params={"language": language}, identify=identifier()))
    assert (verdict.state, verdict.strict) == (state, strict), verdict


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("1- Lisboa\n- bonita\n- barata\n2- Porto\n- frio", "numbered lines"),
        ("a) Paris\n1. x\n2. y\nb) Rome\n1. x\n2. z", "numbered lines"),
        ("• Paris\n  – old\n  – large\n• Rome\n  – older", "bulleted lines"),
        ("**Option A**\n- x\n- y\n\n**Option B**\n- z", "headings"),
        ("<ol><li>Paris<ul><li>x<li>y</ul><li>Rome</ol>", "<li>"),
    ],
)
def test_a_list_inside_an_item_belongs_to_the_item(text: str, form: str) -> None:
    verdict = check("list_n", Answer(text, params={"n": 2}))
    assert (verdict.strict, verdict.detail["form"]) == (True, form)


@pytest.mark.parametrize(
    ("name", "text", "strict"),
    [
        ("list_n", "1、巴黎\n2、里昂\n3、尼斯", True),
        ("list_n", "一、巴黎\n二、里昂\n三、尼斯", True),
        ("list_n", "１．パリ\n２．リヨン\n３．ニース", True),
        ("list_n", "・パリ\n・リヨン", False),
        ("list_n", "\u200f1. פריז\n\u200f2. ליון\n\u200f3. ניס", True),
        ("markdown", "これは**「強調」**です", True),
        ("markdown", "**重点：**这是一本书", True),
        ("markdown", "三*四=十二，五*六=三十", False),
        ("briefly", "今天天气很好。我们去公园。", True),
        ("briefly", "今天天气很好我们去公园然后吃饭" * 20, False),
        ("briefly", "好。" * 8, False),
    ],
)
def test_other_scripts_have_lists_emphasis_words_and_sentences_too(
    name: str, text: str, strict: bool
) -> None:
    assert check(name, Answer(text, "zh", {"n": 3})).strict is strict


def test_seven_sentences_or_150_words_are_loosely_brief() -> None:
    assert check("briefly", Answer("One. " * 7)).loose
    assert not check("briefly", Answer("One. " * 8)).loose
    assert check("briefly", Answer(WORD * 150)).loose
    assert not check("briefly", Answer(WORD * 151)).loose
    assert not check("briefly", Answer("One.", truncated=True)).loose


def test_the_length_ratio_is_evidence_and_not_part_of_the_grade() -> None:
    verdict = check("briefly", Answer("Three words here.", own=Answer("Two words")))
    assert verdict.strict
    assert verdict.detail["length_ratio"] == 1.5


# The placebo.


def test_the_placebo_is_the_same_check_with_the_same_parameters_on_the_own_answer() -> None:
    own = Answer("1. a\n2. b\n3. c", "en")
    assert placebo("list_n", Answer("no list", params={"n": 3}, own=own)).strict
    assert placebo("list_n", Answer("no list", params={"n": 2}, own=own)).strict is False
    cut = Answer("Short.", truncated=True)
    assert placebo("briefly", Answer("Short.", own=cut)).strict is False
    english = Answer("The train leaves from the main station.", "en")
    asked = Answer("Le train part.", "fr", {"language": "fr"}, own=english, identify=identifier())
    assert placebo("answer_in", asked).strict is False


@pytest.mark.parametrize("name", MODIFIERS)
def test_without_an_own_answer_there_is_no_placebo(name: str) -> None:
    verdict = placebo(name, Answer("# Title", params={"n": 1, "language": "en"}))
    assert (verdict.state, verdict.strict) == ("abstain", None)


def test_a_relative_check_has_no_placebo() -> None:
    assert placebo("detailed", Answer(WORD * 99, own=Answer(WORD))).state == "abstain"


# Evidence.


@pytest.mark.parametrize(
    ("name", "text", "evidence"),
    [
        ("briefly", "One. Two. Three. Four. Five. Six. Seven.", "Six. Seven."),
        ("list_n", "Sure:\n\n1. a\n2. b\n\nBye", "1. a\n2. b"),
        ("markdown", "Plain.\n\nA **bold** word.\n\nPlain.", "A **bold** word."),
        ("html_page", "Here:\n<html><body>Hi</body></html>\nBye", "<html><body>Hi</body></html>"),
        ("arrow", "Steps:\n--> a\n- b\n--> c", "- b"),
        ("arrow", "Steps:\r\n--> a\r\n--> b\r\n\r\nBye", "--> a\r\n--> b"),
        ("capitalise", "The Quick brown Fox", "brown"),
        ("answer_in", "Bonjour à tous !\nThe train leaves at seven.", "The train leaves at seven."),
    ],
)
def test_the_span_points_at_what_fulfills_or_breaks_the_modifier(name: str, text: str, evidence: str) -> None:
    verdict = check(name, Answer(text, "en", {"n": 2, "language": "fr"}, identify=identifier()))
    assert verdict.span is not None
    assert text[slice(*verdict.span)] == evidence
