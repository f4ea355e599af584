"""What is doubted in a translation, and what is not."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest

from xltjax.eval.language import LanguageIdentifier
from xltjax.translate.checks import doubts, length_limit, within_length
from xltjax.translate.numbers import lost_numbers

SETS = Path(__file__).parents[2] / "eval" / "sets" / "xlt113"
ENGLISH = (
    "The small ship left the harbor at noon. It carried 250 barrels of oil. Nobody waved. The captain slept."
)
FRENCH = (
    "Le petit navire a quitté le port à midi. Il portait 250 barils d'huile. Personne n'a salué. "
    "Le capitaine dormait."
)


@pytest.fixture(scope="module")
def identify() -> LanguageIdentifier:
    return LanguageIdentifier()


def instructions(language: str) -> list[str]:
    lines = (SETS / f"{language}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["instruction"] for line in lines]


@pytest.mark.parametrize(("source", "target"), list(pairwise(("en", "fr", "ru", "de", "pt", "en"))))
def test_true_translations_are_not_doubted(source: str, target: str, identify: LanguageIdentifier) -> None:
    for text, translation in zip(instructions(source)[::3], instructions(target)[::3], strict=True):
        assert doubts(text, translation, target=target, identify=identify) == [], text


@pytest.mark.parametrize(
    ("source", "target", "output"),
    [
        ("The train leaves at 10:30 and costs 1,250 yen.", "ja", "電車は10時30分に出発し、料金は1,250円です。"),
        ("About 30,000 people live in this small town.", "zh", "这个小镇大约有3万人居住。"),
        ("How many days are there in the year 2024?", "ar", "كم عدد الأيام في عام ٢٠٢٤؟"),
        ("Please write a short poem about the autumn.", "ko", "가을에 대한 짧은 시를 써 주세요."),
        ("Please write a short poem about the autumn.", "hi", "कृपया शरद ऋतु के बारे में एक छोटी कविता लिखें।"),
        ("We arrived late. Nobody was there. So we went home.", "th", "เรามาถึงช้า ไม่มีใครอยู่ที่นั่น เราจึงกลับบ้าน"),
        ("OK", "fr", "D'accord"),
        ("Microsoft Windows", "ru", "Microsoft Windows"),
        ("Berlin, Paris, London", "de", "Berlin, Paris, London"),
        ("AC/DC, Iron Maiden, Nirvana, Pink Floyd", "fr", "AC/DC, Iron Maiden, Nirvana, Pink Floyd"),
        ("He has 3 dogs, 4 cats, and 5 birds.", "ja", "彼は犬を三匹、猫を四匹、鳥を五羽飼っています。"),
    ],
)  # fmt: skip
def test_other_scripts_and_names_are_not_doubted(
    source: str, target: str, output: str, identify: LanguageIdentifier
) -> None:
    assert doubts(source, output, target=target, identify=identify) == []


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (FRENCH, []),
        ("", ["empty"]),
        (" ...", ["empty"]),
        (ENGLISH, ["wrong_language", "copied"]),
        ("Das kleine Schiff verließ den Hafen mittags. Es trug 250 Fässer Öl. Keiner winkte. Der Kapitän schlief.",
         ["wrong_language"]),
        (FRENCH.replace("250", ""), ["numbers"]),
        (FRENCH.replace("250", "260"), ["numbers"]),
        ("Le petit navire a quitté le port à midi. Il portait 250 barils d'huile.", ["sentences"]),
        ("Le petit navire.", ["length_ratio", "sentences", "numbers"]),
        (FRENCH + " Il dormait bien" + ", il dormait bien" * 4, ["repetition"]),
        (FRENCH + " Et le navire partit loin du port" * 9, ["length_ratio", "repetition"]),
        ("Voici la traduction :\n\n" + FRENCH, ["line_breaks"]),
        (FRENCH.replace("huile", "huile**"), ["markup"]),
        (FRENCH.replace("huile", "⁇"), ["unknown"]),
    ],
)  # fmt: skip
def test_each_kind_of_damage_is_named(output: str, expected: list[str], identify: LanguageIdentifier) -> None:
    assert doubts(ENGLISH, output, target="fr", identify=identify) == expected


def test_lost_items_of_a_list_are_doubted() -> None:
    source = "Choose one of these: (1) the red door, (2) the green door, (3) the blue door."
    kept = "Choisis une de celles-ci : (1) la porte rouge, (2) la porte verte, (3) la porte bleue."
    lost = "Choisis une de celles-ci : la porte rouge, la porte verte ou bien la porte bleue, dans la liste."
    assert doubts(source, kept, target="fr", identify=None) == []
    assert "list_items" in doubts(source, lost, target="fr", identify=None)


def test_a_loop_of_the_source_is_no_doubt() -> None:
    source = "Sing la la la, la la la, la la la, la la la, la la la until the end of the song."
    output = "Chante la la la, la la la, la la la, la la la, la la la jusqu'à la fin de la chanson."
    assert doubts(source, output, target="fr", identify=None) == []


def test_most_of_a_source_in_the_output_is_a_copy() -> None:
    output = ENGLISH.replace("The captain slept.", "Le capitaine dormait.")
    assert "copied" in doubts(ENGLISH, output, target="fr", identify=None)


def test_languages_that_cannot_be_told_apart_are_one() -> None:
    text = "Ovo je jedna sasvim obična rečenica o moru i brodovima."
    guesses = iter(("hr", "hr", "en"))

    def identify(text: str) -> tuple[str, float]:
        return next(guesses), 0.9

    assert doubts("x", text, target="sr", identify=identify).count("wrong_language") == 0
    assert doubts("x", text, target="sl", identify=identify).count("wrong_language") == 1
    assert doubts("x", text, target="sr", identify=identify).count("wrong_language") == 1


def test_a_language_that_the_identifier_does_not_know_is_not_judged(identify: LanguageIdentifier) -> None:
    text = "Kuyo yinto encinci engaphezu kwelitye elikhulu emlanjeni."
    assert "xh" not in identify.languages
    assert doubts("This is a small thing on top of a big stone.", text, target="xh", identify=identify) == []


def test_the_limit_of_length_narrows_with_the_length() -> None:
    assert length_limit(20) > length_limit(100) > length_limit(500) > 1.35
    text = "word " * 100
    assert within_length(text, "слово " * 100)
    assert within_length("词" * 100, "letters " * 40)  # Chinese letters say as much as three
    assert not within_length(text, "word " * 50)
    assert not within_length(text, "word " * 200)


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("It costs 1,000.50 dollars.", "Cela coûte 1 000,5 dollars."),
        ("It costs 1,000.50 dollars.", "Cela coûte 1\u202f000,50 dollars."),
        ("It costs 1'250.00 francs.", "Стоит 1250 франков."),
        ("It costs 5,000 reais.", "Custa 5 mil reais."),
        ("They paid $1,200,000.", "Ils ont payé 1,2 million de dollars."),
        ("There were 1,234,567 of them.", "उनमें से 12,34,567 थे।"),
        ("Chapter 314 of 2019", "الفصل ٣١٤ من ٢٠١٩"),
        ("Five or 5 apples", "Cinq ou cinq pommes"),
        ("In the 20th century", "Au XXe siècle"),
        ("In the 1990s", "В 90-е годы"),
        ("In the 1800s", "Im 19. Jahrhundert"),
        ("In the 1800s", "Au XIXe siècle"),
        ("On 05/12/2020 at 3:30 PM", "Am 12.5.2020 um 15:30 Uhr"),
        ("In 2010 200 people came.", "En 2010, 200 personnes sont venues."),
        ("Some 150,000 yen", "約15万円"),
        ("No number at all", "Aucun nombre, sauf 99"),
    ],
)
def test_numbers_are_found_however_they_are_written(source: str, output: str) -> None:
    assert lost_numbers(source, output) == []


@pytest.mark.parametrize(
    ("source", "output", "lost"),
    [
        ("It has 45 % of 128 parts.", "Il a 54 % des 128 parties.", ["45"]),
        ("Exactly 150 of them", "Exactement 15", ["150"]),
        ("Exactly 10 of 1,000 or 99", "Exactement 10 sur 1 000", ["99"]),
        ("In 1969", "En 1968", ["1969"]),
        ("It is 3.14", "C'est 3,41", ["3.14"]),
        ("Take 1, then 2, then 3.", "Prends-les.", ["1", "2", "3"]),
        ("Room 215", "Pièce", ["215"]),
    ],
)
def test_numbers_that_are_missing_are_named(source: str, output: str, lost: list[str]) -> None:
    assert lost_numbers(source, output) == lost
