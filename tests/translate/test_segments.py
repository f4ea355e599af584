"""A text is cut into what an engine translates and what is copied, and nothing is lost between them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import regex
from helpers.marked_texts import MARKED, answer_of, fits, plain, segments_of, shouted
from hypothesis import given, settings
from hypothesis import strategies as st

from xltjax.translate.segments import Piece, finer, join, split

FRAGMENTS = (
    "`", "```", "~~~", "\n", "\r\n", "\r", "\t", "    ", "- ", "1. ", "a) ", "> ", "# ", "|", "|---|",
    "**", "_", "$", "$$", "\\(", "\\)", "\\[", "\\]", "\\textbf{", "}", "<b>", "</b>", "<!--", "-->",
    "<script>", "</script>", "&amp;", "[", "](", ")", "http://a.b/c", "a@b.org", "www.x.com", "😀", "🇫🇷",
    "1️⃣", "\u200d", "\ufe0f", "\u0301", "\ufeff", "\u2028", "\x00", "\ud83d", "Mr. X", "word ",
    "One. Two! ", "1,000.5", "天气。", "ก", "مرحبا؟ ", "İ", "ß", "def f(x):", "\\begin{align}",
    "\\end{align}",
)  # fmt: skip
CHARACTERS = st.characters(codec=None, exclude_categories=())  # lone surrogates too
TEXTS = st.lists(st.sampled_from(FRAGMENTS) | st.text(CHARACTERS, max_size=8), max_size=30).map("".join)


def through(text: str, engine: Callable[[str], str], source: str = "en") -> str:
    pieces = split(text, source, fits=fits)
    return join(pieces, [engine(piece.text) for piece in pieces if piece.translate])


@pytest.mark.parametrize("marked", MARKED.values(), ids=MARKED)
def test_only_what_is_translatable_is_translated(marked: str) -> None:
    text = plain(marked)
    assert [piece.text for piece in split(text, "en", fits=fits) if piece.translate] == segments_of(marked)
    assert through(text, str) == text
    assert through(text, str.upper) == shouted(marked)


def test_rows_of_several_kinds_keep_their_structure() -> None:
    # What is not closed reaches into the next.
    kinds = [marked for name, marked in MARKED.items() if name != "open fence"]
    long = answer_of(5000).replace("\n\n", "⟧\n\n⟦")
    for number in range(60):
        marked = "\n\n".join(kinds[(number * step + step) % len(kinds)] for step in (1, 7, 11, 5, 3))
        if number % 10 == 0:
            marked += f"\n\n⟦{long}⟧"
        marked = marked.replace("\r\n", "\n").replace("\n", "\r\n") if number % 2 else marked
        assert through(plain(marked), str) == plain(marked)
        assert through(plain(marked), str.upper) == shouted(marked)


def test_a_long_answer_goes_in_groups_of_sentences_that_fit() -> None:
    text = answer_of(5000)
    pieces = split(text, "en", fits=fits)
    assert through(text, str) == text
    assert through(text, str.upper) == text.upper()
    sent = [piece.text for piece in pieces if piece.translate]
    assert all(map(fits, sent))
    # No sentence is cut, and each group is as long as it can be.
    assert all(segment.endswith((".", "!", "?")) and not segment.endswith("Dr.") for segment in sent)
    paragraph = text.split("\n\n")[0]
    assert len([piece for piece in split(paragraph, "en", fits=fits) if piece.translate]) == 1
    assert len(sent) == len(text.split("\n\n"))


def test_an_engine_that_strips_gives_the_text_back() -> None:
    text = "  - first item. \t\n\n    And more.  \r\n"
    assert through(text, str.strip) == text


@given(TEXTS, st.sampled_from(("en", "fr", "zh", "th", "xx")))
@settings(max_examples=200, deadline=None)
def test_any_text_comes_back_from_an_engine_that_echoes(text: str, source: str) -> None:
    pieces = split(text, source, fits=lambda group: len(group) <= 12)
    assert "".join(piece.text for piece in pieces) == text
    assert join(pieces, [piece.text for piece in pieces if piece.translate]) == text
    for piece in pieces:
        assert piece.text
        if piece.translate:
            assert piece.text == piece.text.strip()
            assert regex.search(r"\p{L}", piece.text)
            piece.text.encode()  # an engine can read it
            again = finer(piece.text, source)
            if again is not None:
                assert join(again, [each.text for each in again if each.translate]) == piece.text


@pytest.mark.parametrize(
    "unit",
    ["One more sentence here. ", "word ", "天", "a", "`a ", "<a ", "$a ", "[a](", "«a. ", "| a b ", "http://a/",
     "\\a{", "> a\n", "a\tb\t", "```\n", "if a b ", "1. ", "**a "],
)  # fmt: skip
def test_the_tokenizer_is_asked_about_no_more_than_a_few_times_the_text(unit: str) -> None:
    text = unit * (60_000 // len(unit))
    asked = 0

    def count(group: str) -> bool:
        nonlocal asked
        asked += len(group)
        return len(group) <= 600

    assert "".join(piece.text for piece in split(text, "en", fits=count)) == text
    assert asked <= 25 * len(text)


def test_a_sentence_that_is_too_long_is_cut_at_clauses_then_words_then_characters() -> None:
    def parts(text: str, limit: int, source: str = "en") -> list[str]:
        pieces = split(text, source, fits=lambda group: len(group) <= limit)
        return [piece.text for piece in pieces if piece.translate]

    assert parts("When it rains, we stay inside; when it shines, we go.", 30) == [
        "When it rains, we stay inside;", "when it shines, we go.",
    ]  # fmt: skip
    assert parts("one two three four five six", 10) == ["one two", "three four", "five six"]
    assert parts("天地玄黄，宇宙洪荒，日月盈昃", 5, "zh") == ["天地玄黄，", "宇宙洪荒，", "日月盈昃"]
    assert parts("天地玄黄宇宙洪荒", 3, "zh") == ["天地玄", "黄宇宙", "洪荒"]
    assert parts("extraordinarily", 5) == ["extraordinarily"]  # a word stays whole


def test_sentences_do_not_end_at_abbreviations_and_initials() -> None:
    pieces = finer("M. Dupont et Mme. Durand arrivent. J. S. Bach, c.-à-d. lui, reste.", "fr")
    assert pieces is not None
    assert [piece.text for piece in pieces if piece.translate] == [
        "M. Dupont et Mme. Durand arrivent.", "J. S. Bach, c.-à-d. lui, reste.",
    ]  # fmt: skip


def test_the_finer_cut_of_a_single_sentence_is_none() -> None:
    assert finer("Only one sentence.", "en") is None
    assert finer("One here. Two there.", "en") == [
        Piece("One here.", True), Piece(" ", False), Piece("Two there.", True),
    ]  # fmt: skip


def test_sentences_that_touch_in_chinese_are_set_apart_in_french_alone() -> None:
    pieces = finer("你好吗？我很好。", "zh")
    assert pieces is not None
    assert join(pieces, ["Ça va ?", "Oui."]) == "Ça va ? Oui."
    assert join(pieces, ["元気？", "はい。"]) == "元気？はい。"
    assert join(pieces, ["你好吗？", "我很好。"]) == "你好吗？我很好。"


def test_translations_and_pieces_must_be_as_many() -> None:
    with pytest.raises(ValueError, match="1 translations for 2 segments"):
        join(split("One.\nTwo.", "en", fits=fits), ["Un."])
