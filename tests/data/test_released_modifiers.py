"""The type names of the authors' modifier files, and parameters read from an instruction's text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xltjax.common.errors import UserError
from xltjax.data.released import TYPE_NAMES, params_from_instruction, read_types, released_modifier
from xltjax.eval.modifiers.catalog import MODIFIERS


@pytest.mark.parametrize(
    ("type_name", "name", "params"),
    [
        ("short", "briefly", {}),
        ("long", "detailed", {}),
        ("num_items_9", "list_n", {"n": 9}),
        ("lang_pt", "answer_in", {"language": "pt"}),
        ("markdown_template", "markdown", {}),
        ("html_template", "html_page", {}),
        ("arrow_template", "arrow", {}),
        ("cap_template", "capitalise", {}),
        ("scientific_style", "scientific", {}),
        ("simple_style", "simple", {}),
        ("complex_inst", "two_hop", {}),
        ("num_items", "list_n", {}),
        ("cap", "capitalise", {}),
    ],
)
def test_a_released_type_is_one_of_our_modifiers(type_name: str, name: str, params: dict[str, Any]) -> None:
    assert released_modifier(type_name) == {"name": name, "params": params}


def test_the_released_types_are_all_our_modifiers() -> None:
    assert sorted(TYPE_NAMES.values()) == sorted(MODIFIERS)


@pytest.mark.parametrize("type_name", ["shorter", "", "num_items_x", "markdown-template", "short long"])
def test_an_unknown_type_is_refused(type_name: str) -> None:
    with pytest.raises(UserError, match="unknown modifier type"):
        released_modifier(type_name)


@pytest.mark.parametrize("end", ["", "\n"])
def test_types_are_read_with_and_without_a_final_line_end(tmp_path: Path, end: str) -> None:
    path = tmp_path / "modifiers.en.types"
    path.write_text("short\nnum_items_2\nlang_ru" + end, encoding="utf-8")
    assert [modifier["name"] for modifier in read_types(path)] == ["briefly", "list_n", "answer_in"]


def test_an_unknown_type_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "modifiers.en.types"
    path.write_text("short\nshrt\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"line 2: unknown modifier type 'shrt'; did you mean 'short'"):
        read_types(path)


@pytest.mark.parametrize(
    ("language", "instruction", "n"),
    [
        ("en", "What music of the 1920s is cool? List 7 options.", 7),
        ("en", "List the 50 states. Give me three reasons.", 3),
        ("en", "Name exactly 12 rivers.", 12),
        ("en", "The 1990s were great. Tell me why.", None),
        ("en", "List twenty-one options.", 21),
        ("fr", "J'aime la musique _douce_ Énumérez 3 options.", 3),
        ("fr", "Citez une dizaine ? Donne-moi cinq idées.", 5),
        ("fr", "Donne-moi vingt et une idées.", 21),
        ("fr", "Quelles sont les 7 merveilles ?", None),
        ("pt", "O que fazer em 2024? Liste 4 opções.", 4),
        ("pt", "Cite duas cidades. Sugira dezesseis nomes.", 16),
        ("pt", "Liste vinte e uma opções.", 21),
        ("ru", "Музыка 1920-х годов? Перечисли 2 варианта.", 2),
        ("ru", "Перечислите, пожалуйста, ровно пять вариантов", 5),
        ("ru", "Назови двадцать один город.", 21),
        ("de", "Was tun am 3. Oktober? Nenne fünf Möglichkeiten.", 5),
        ("de", "Nennen Sie mir bitte 11 Gründe.", 11),
        ("de", "Wir waren zwölf Leute.", None),
        ("it", "Elenca 5 opzioni.", None),
        ("en", "List a dozen ideas.", 12),
        ("en", "Give me half a dozen names.", 6),
        ("en", "List one hundred and twenty names.", None),
        ("fr", "Citez soixante et onze villes.", 71),
        ("fr", "Citez quatre-vingt-dix-neuf villes.", 99),
        ("fr", "Citez une dizaine de villes.", 10),
        ("pt", "Cite trinta e cinco cidades.", 35),
        ("pt", "Cite meia dúzia de cidades.", 6),
        ("ru", "Назови тридцать пять городов.", 35),
        ("ru", "Перечисли дюжину вариантов.", 12),
        ("de", "Nenne fünfunddreißig Gründe.", 35),
        ("de", "Nenne ein halbes Dutzend Gründe.", 6),
    ],
)
def test_the_number_of_options_is_read_from_the_text(language: str, instruction: str, n: int | None) -> None:
    expected = None if n is None else {"n": n}
    assert params_from_instruction("list_n", instruction, language) == expected


@pytest.mark.parametrize(
    ("language", "instruction", "n", "most"),
    [
        ("en", "List 3-5 options.", 3, 5),
        ("en", "List between three and five options.", 3, 5),
        ("fr", "Citez 3 à 5 villes.", 3, 5),
        ("fr", "Citez deux ou trois villes.", 2, 3),
        ("pt", "Liste de 3 a 5 opções.", 3, 5),
        ("pt", "Liste entre três e cinco opções.", 3, 5),
        ("ru", "Перечисли от 3 до 5 вариантов.", 3, 5),
        ("ru", "Назови 3–5 городов.", 3, 5),
        ("de", "Nenne 3 bis 5 Gründe.", 3, 5),
        ("de", "Nenne zwischen drei und fünf Gründe.", 3, 5),
    ],
)
def test_a_range_of_options_is_read_from_the_text(language: str, instruction: str, n: int, most: int) -> None:
    assert params_from_instruction("list_n", instruction, language) == {"n": n, "most": most}


@pytest.mark.parametrize(
    ("language", "instruction", "target"),
    [
        ("en", "How do you say cat in German? Answer in French language.", "fr"),
        ("en", "Translate this into Russian.", "ru"),
        ("en", "I like French wine and English tea.", None),
        ("fr", "Que veut dire « in English » ? Répondez en portugais.", "pt"),
        ("fr", "Réponds en langue allemande.", "de"),
        ("fr", "Que se passe-t-il en Allemagne ?", None),
        ("pt", "Traduza para mim. Responda em Inglês.", "en"),
        ("pt", "Responda na língua russa.", "ru"),
        ("pt", "O que há na Alemanha?", None),
        ("ru", "Как это по-английски? Ответь на немецком языке.", "de"),
        ("ru", "Ответь по-французски.", "fr"),
        ("ru", "Что есть в русском лесу?", None),
        ("de", "Was heißt das auf Deutsch? Antworte auf Portugiesisch.", "pt"),
        ("de", "Antworten Sie in russischer Sprache.", "ru"),
        ("de", "Was ist los in Deutschland?", None),
    ],
)
def test_the_target_language_is_read_from_the_text(
    language: str, instruction: str, target: str | None
) -> None:
    expected = None if target is None else {"language": target}
    assert params_from_instruction("answer_in", instruction, language) == expected


@pytest.mark.parametrize("name", sorted(MODIFIERS.keys() - {"list_n", "answer_in"}))
def test_other_modifiers_have_no_parameters_to_read(name: str) -> None:
    assert params_from_instruction(name, "List 5 options in French.", "en") == {}


@given(st.text(max_size=200), st.sampled_from(["en", "fr", "pt", "ru", "de"]))
def test_any_text_is_read_without_failing(text: str, language: str) -> None:
    number = params_from_instruction("list_n", text, language)
    assert number is None or 0 <= number["n"] <= 999
    assert params_from_instruction("answer_in", text, language) in [
        None,
        *({"language": code} for code in ("en", "fr", "pt", "ru", "de")),
    ]
