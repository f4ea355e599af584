"""The shipped evaluation set and its modifiers, as data to be proof-read."""

from __future__ import annotations

import json
import re
import statistics
import unicodedata
from collections import Counter
from functools import cache

import pytest

from xltjax.data.prompt_sets import Instruction, compose, load_set
from xltjax.data.released import params_from_instruction
from xltjax.eval.language import LanguageIdentifier
from xltjax.eval.spelling import Dictionary, dictionary_folders

LANGUAGES = ("en", "fr", "pt", "ru", "de")
MODIFIER_COUNTS = {
    "briefly": 20,
    "detailed": 20,
    "list_n": 12,
    "answer_in": 100,
    "markdown": 14,
    "html_page": 14,
    "arrow": 14,
    "capitalise": 14,
    "scientific": 14,
    "simple": 14,
    "two_hop": 15,
}
ANSWER_LANGUAGES = {"en": "fr pt ru", "fr": "pt ru de", "pt": "fr ru de", "ru": "fr pt de", "de": "fr pt ru"}
# Shares of accepted words that human-corrected prompts reach with the same dictionaries.
ACCEPTED_WORDS = {"en": 0.99, "fr": 0.985, "pt": 0.97, "ru": 0.97, "de": 0.97}
WORD = re.compile(r"[^\W\d_]+(?:['’\-][^\W\d_]+)*")


@cache
def plain(language: str) -> list[Instruction]:
    return load_set("xlt113", [language])


@cache
def modified(language: str) -> list[Instruction]:
    return [item for item in load_set("xlt113", [language], modifiers=True) if item.modifier]


# The set


def test_every_language_has_the_same_113_instructions_in_the_same_order() -> None:
    expected = [f"xlt113-{number:03d}" for number in range(1, 114)]
    sets = {language: plain(language) for language in LANGUAGES}
    for language, items in sets.items():
        assert [item.instruction_id for item in items] == expected
        assert [item.id for item in items] == [f"{id}-{language}" for id in expected]
        assert {item.language for item in items} == {language}
        assert [(item.task, item.human) for item in items] == [(i.task, i.human) for i in sets["en"]]


def test_25_tasks_have_4_or_5_instructions_each() -> None:
    tasks = Counter(item.task for item in plain("en"))
    assert len(tasks) == 25
    assert set(tasks.values()) == {4, 5}


def test_the_30_instructions_for_people_cover_every_task() -> None:
    chosen = [item for item in plain("en") if item.human]
    assert len(chosen) == 30
    assert {item.task for item in chosen} == {item.task for item in plain("en")}
    assert not any(item.human for item in modified("en"))


def test_no_instruction_comes_twice_in_any_language() -> None:
    items = load_set("xlt113", modifiers=True)
    assert len(items) == len({item.id for item in items}) == 5 * (113 + 251)
    # Upper and lower case apart, so that a copy with another capital is found too.
    assert len({item.instruction.casefold() for item in items}) == len(items)


def test_translations_have_the_same_digits_and_paragraphs() -> None:
    for versions in zip(*map(plain, LANGUAGES), strict=True):
        digits = {tuple(sorted(re.findall(r"\d+", item.instruction))) for item in versions}
        lines = {item.instruction.count("\n") for item in versions}
        assert len(digits) == len(lines) == 1, versions[0].id


def test_texts_are_clean_unicode_without_stray_blanks() -> None:
    for item in load_set("xlt113", modifiers=True):
        text = item.instruction
        assert text == text.strip()
        assert unicodedata.is_normalized("NFC", text)
        assert not re.search(r"(?<!\n) {2}|[ \t]\n|\n{3}|[\u00a0\u200b\ufeff\t]", text), item.id


@pytest.mark.parametrize("language", LANGUAGES)
def test_lengths_run_from_a_short_question_to_a_text_of_100_words(language: str) -> None:
    lengths = [len(WORD.findall(item.instruction)) for item in plain(language)]
    assert min(lengths) <= 6
    assert 10 <= statistics.median(lengths) <= 20
    assert 100 <= max(lengths) <= 150


@pytest.mark.parametrize("language", LANGUAGES)
def test_dictionaries_accept_the_words(language: str) -> None:
    accepts = Dictionary(language, dictionary_folders()).accepts
    words = [word for item in plain(language) for word in WORD.findall(item.instruction)]
    unknown = Counter(word for word in words if not accepts(word))
    assert 1 - unknown.total() / len(words) >= ACCEPTED_WORDS[language], unknown.most_common()


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_word_of_the_modifiers_is_in_the_dictionary(language: str) -> None:
    accepts = Dictionary(language, dictionary_folders()).accepts
    texts = {instruction_text(item) for item in modified(language)}
    technical = {"Markdown", "HTML", "HTML-страницу", "HTML-Seite"}
    words = {word for text in texts for word in WORD.findall(text)} - technical
    assert not {word for word in words if not accepts(word)}


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_language_identifier_agrees_on_every_instruction(language: str) -> None:
    identify = LanguageIdentifier()
    items = load_set("xlt113", [language], modifiers=True)
    assert not [item.id for item in items if identify(item.instruction.replace("\n", " "))[0] != language]


# Its modifiers


def instruction_text(item: Instruction) -> str:
    """The modifier's text alone."""
    base = {one.instruction_id: one for one in plain(source_language(item))}[item.instruction_id]
    return item.instruction.removeprefix(base.instruction).strip()


def source_language(item: Instruction) -> str:
    return item.id.split("-")[2]


@pytest.mark.parametrize("language", LANGUAGES)
def test_modifiers_have_the_counts_of_the_paper_and_suit_the_same_instructions(language: str) -> None:
    items = modified(language)
    assert Counter(item.modifier["name"] for item in items if item.modifier) == MODIFIER_COUNTS
    english = [item.id.replace("-en-", f"-{language}-") for item in modified("en")]
    assert [item.id for item in items] == english


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_modified_instruction_is_the_plain_one_and_the_text_of_the_modifier(language: str) -> None:
    base = {item.instruction_id: item for item in plain(language)}
    texts: dict[str, set[str]] = {}
    for item in modified(language):
        assert item.modifier is not None
        own = base[item.instruction_id]
        assert item.id == f"{own.id}-{item.modifier['name']}"
        assert item.task == own.task
        text = instruction_text(item)
        assert item.instruction == compose(own.instruction, text) != own.instruction
        # The text depends on nothing but the modifier and its parameters.
        texts.setdefault(json.dumps(item.modifier), set()).add(text)
    assert all(len(values) == 1 for values in texts.values())
    assert len({text for values in texts.values() for text in values}) == len(texts)


@pytest.mark.parametrize("language", LANGUAGES)
def test_answer_in_asks_for_three_other_languages_equally_often(language: str) -> None:
    items = [item for item in modified(language) if item.modifier and item.modifier["name"] == "answer_in"]
    for item in items:
        assert item.modifier == {"name": "answer_in", "params": {"language": item.language}}
    counts = Counter(item.language for item in items)
    assert set(counts) == set(ANSWER_LANGUAGES[language].split())
    assert set(counts.values()) == {33, 34}


@pytest.mark.parametrize("language", LANGUAGES)
def test_only_answer_in_changes_the_language_of_the_answer(language: str) -> None:
    others = [item for item in modified(language) if item.modifier and item.modifier["name"] != "answer_in"]
    assert {item.language for item in others} == {language}


def test_list_n_states_its_number_and_needs_no_other_plural_in_russian() -> None:
    for language in LANGUAGES:
        for item in modified(language):
            if item.modifier and item.modifier["name"] == "list_n":
                n = item.modifier["params"]["n"]
                assert re.findall(r"\d+", instruction_text(item)) == [str(n)]
                assert 5 <= n <= 20  # "вариантов" from 5 to 20


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_parameters_can_be_read_from_the_text_alone(language: str) -> None:
    for item in modified(language):
        if item.modifier and item.modifier["name"] in ("list_n", "answer_in"):
            read = params_from_instruction(item.modifier["name"], item.instruction, language)
            assert read == item.modifier["params"], item.id


def test_two_hop_asks_about_serving_the_weather_and_the_area_of_mathematics() -> None:
    hops = {
        (item.modifier["params"]["hop"], item.task)
        for item in modified("fr")
        if item.modifier and item.modifier["name"] == "two_hop"
    }
    assert hops == {("serve", "suggest_recipe"), ("weather", "trip_itinerary"), ("area", "math_concept")}


def test_the_sign_of_arrow_and_the_words_markdown_and_html_stand_in_every_language() -> None:
    for language in LANGUAGES:
        for item in modified(language):
            wanted = {"arrow": "-->", "markdown": "Markdown", "html_page": "HTML"}
            assert item.modifier is not None
            assert wanted.get(item.modifier["name"], "") in instruction_text(item)
