"""Spelling against dictionaries written here, whose verdicts can be told by eye."""

import sys
import types
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xltjax.common.errors import UserError
from xltjax.doctor import DoctorConfig, findings
from xltjax.eval import spelling as module
from xltjax.eval.scores import Unavailable
from xltjax.eval.spelling import (
    Dictionaries,
    Dictionary,
    classify_words,
    dictionary_folders,
    find_dictionaries,
    read_word_list,
    spelling_scores,
    tokenize,
)
from xltjax.eval.text.segmentation import says_nothing

WORDS = {
    "en_GB": "colour the cat",
    "en_US": "the cat sleeps on sofa house rings lord of my friend London didn't well-known I",
    "fr_FR": "le la chat dort sur canapé maison peut-être aujourd'hui l'homme est là mon ami je lis et une Paris",
    "pt_BR": "o gato dorme ônibus casa",
    "pt_PT": "o gato dorme autocarro casa económico",
    "ru_RU": "кошка спит на диване дом мой друг читает и Москва замок",
    "de_DE": "die Katze schläft auf dem Sofa Haus und ich lese",
}


def write_dictionary(folder, name, words, encoding="utf-8"):
    folder.mkdir(exist_ok=True)
    words = words.split()
    (folder / f"{name}.aff").write_text(f"SET {encoding.upper()}\n", encoding=encoding)
    (folder / f"{name}.dic").write_text("\n".join([str(len(words)), *words, ""]), encoding=encoding)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dictionaries")
    for name, words in WORDS.items():
        write_dictionary(folder, name, words)
    return folder


@pytest.fixture
def dictionaries(folder):
    return Dictionaries([folder])


def scores(text, language, dictionaries, languages=("en", "fr", "pt", "ru")):
    return {s.metric: s for s in spelling_scores("a", text, language, dictionaries, languages)}


def classes(text, language, folder, languages=("en", "fr", "ru", "de")):
    found = classify_words(text, language, {name: Dictionary(name, [folder]).accepts for name in languages})
    return (
        found.total,
        dict(found.names),
        {k: dict(v) for k, v in found.foreign.items()},
        dict(found.nonwords),
    )


def test_shares_of_one_answer_by_hand(dictionaries):
    # 10 words: кошка спит и, Barsik (name), reads (nothing), the house (English), на диване, абвыр (non-word).
    got = scores("Кошка Барсик спит и the house на диване, абвыр мурк.", "ru", dictionaries)
    assert {metric: score.value for metric, score in got.items()} == {
        "spelling": pytest.approx(0.5),
        "spelling_name": pytest.approx(0.1),
        "spelling_foreign": pytest.approx(0.2),
        "spelling_nonword": pytest.approx(0.2),
    }
    assert got["spelling"].detail == {"words": 10}
    assert got["spelling_name"].detail == {"words": {"Барсик": 1}}
    assert got["spelling_foreign"].detail == {"words": {"en": {"house": 1, "the": 1}}}
    assert got["spelling_nonword"].detail == {"words": {"абвыр": 1, "мурк": 1}}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("L'homme qu'on aime, peut-être.", ["L'homme", "qu'on", "aime", "peut-être"]),
        ("aujourd’hui, l’homme", ["aujourd'hui", "l'homme"]),
        ("«из‑за» 'hello' dogs' – non-", ["из-за", "hello", "dogs", "non"]),
        ("50% of 3 GPT-4 and 5-й, €7, 10th", ["of", "and"]),
        ("**gras** _souligné_ mot1", ["gras", "souligné"]),
        ("за\u0301мок", ["замок"]),
        ("l´homme l′homme l＇homme", ["l'homme"] * 3),
        ("می\u200cخواهم col·lecció a·b", ["می\u200cخواهم", "col·lecció", "a", "b"]),
        ("🙂 -- ... 12", []),
    ],
)
def test_words_keep_apostrophes_and_hyphens_and_have_no_digits(text, words):
    assert [token.word for token in tokenize(text)] == words


def test_a_word_is_inside_a_sentence_after_blanks_and_commas_only():
    text = "Le chat, Tom dort. Paris est «Grand» : Oui\n- Non 7 Sept"
    assert [token.word for token in tokenize(text) if token.within] == ["chat", "Tom", "dort", "est", "Sept"]


@pytest.mark.parametrize("word", ["aujourd’hui", "l'homme", "L’homme", "peut-être", "PEUT-ÊTRE"])
def test_elisions_and_compounds_are_looked_up_whole(dictionaries, word):
    assert scores(f"{word} là", "fr", dictionaries)["spelling"].value == 1.0


@pytest.mark.parametrize("word", ["ônibus", "autocarro", "económico"])
def test_portuguese_of_either_country_is_right(dictionaries, word):
    assert scores(f"o {word}", "pt", dictionaries)["spelling"].value == 1.0


@pytest.mark.parametrize("word", ["colour", "house"])
def test_english_of_either_country_is_right(dictionaries, word):
    assert scores(f"the {word}", "en", dictionaries)["spelling"].value == 1.0


def test_the_other_spelling_may_stand_in_another_folder(tmp_path):
    write_dictionary(tmp_path / "own", "en_GB", "colour")
    write_dictionary(tmp_path / "system", "en_US", "color")
    write_dictionary(tmp_path / "system", "en_GB", "")
    folders = [tmp_path / "own", tmp_path / "system"]
    assert names(find_dictionaries("en", folders)) == ["system/en_US.dic", "own/en_GB.dic"]


def test_the_doctor_names_missing_dictionaries_and_spellings(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SYSTEM_FOLDERS", ())
    monkeypatch.delenv("DICPATH", raising=False)
    write_dictionary(tmp_path, "en_US", "color")
    write_dictionary(tmp_path, "fr_FR", "chat")
    found = {what: rest for what, *rest in findings(DoctorConfig(dictionaries=(str(tmp_path),)))}
    assert found["dictionary fr"] == ["found", ""]
    assert found["dictionary en"][0] == "found"
    assert "apt install hunspell-en-us hunspell-en-gb" in found["dictionary en"][1]
    assert found["dictionary ru"][0] == "not installed"


def test_code_tags_and_addresses_are_not_words(dictionaries):
    text = "Le `xyzzy` chat <b>dort</b>\n```\nqwerty asdf\n```\nsur https://a.example/zxcv le canapé"
    assert scores(text, "fr", dictionaries)["spelling"].detail == {"words": 6}
    assert scores(text, "fr", dictionaries)["spelling"].value == 1.0


# The classes of unknown words.


@pytest.mark.parametrize(
    ("text", "names", "foreign", "nonwords"),
    [
        # A capital inside a sentence, or after the first letter, makes a name.
        ("le chat Gribouille dort", {"Gribouille": 1}, {}, {}),
        ("le chat OTAN et iPhone", {"OTAN": 1, "iPhone": 1}, {}, {}),
        ("le chat lit l'OTAN et l'Xavier", {"l'OTAN": 1, "l'Xavier": 1}, {}, {"lit": 1}),
        # At a sentence's start it does not, unless the word stands inside a sentence elsewhere.
        ("Gribouille dort et le chat est là", {}, {}, {"Gribouille": 1}),
        ("Gribouille dort et le chat Gribouille est là", {"Gribouille": 2}, {}, {}),
        # Words of other languages, also with a capital where no name can be told.
        ("le chat dort et the house", {}, {"en": {"the": 1, "house": 1}}, {}),
        ("The house est là et le chat dort", {}, {"en": {"The": 1, "house": 1}}, {}),
        ("le chat et l'sofa", {}, {"en": {"l'sofa": 1}}, {}),
        (
            "je lis the Lord of the Rings et le chat",
            {},
            {"en": {"the": 2, "Lord": 1, "of": 1, "Rings": 1}},
            {},
        ),
        ("je lis et la Lord dort", {"Lord": 1}, {}, {}),
        # Only with a capital: the name of a place. In German a noun.
        ("London et le chat", {"London": 1}, {}, {}),
        ("Haus et le chat", {}, {"de": {"Haus": 1}}, {}),
        ("le chat glorbe", {}, {}, {"glorbe": 1}),
        # Half the words have capitals: those say nothing.
        ("Le Chat Gribouille Dort Sur Le Canapé", {}, {}, {"Gribouille": 1}),
        ("LE CHAT GLORBE DORT", {}, {}, {"GLORBE": 1}),
    ],
)
def test_unknown_words_are_names_foreign_or_nonwords(folder, text, names, foreign, nonwords):
    assert classes(text, "fr", folder)[1:] == (names, foreign, nonwords)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        # Abbreviations with full stops.
        ("мой друг читает и т.д. и т. п., т.е. спит", "ru"),
        ("le chat dort, p. ex. sur le canapé, c.-à-d. là", "fr"),
        ("ich lese z. B. die Katze usw. und d.h. das", "de"),
        ("o gato dorme, p. ex. etc.", "pt"),
        ("the cat sleeps, e.g. on sofa, i.e. I. etc.", "en"),
        ("le chat est là (pág. 5) et qqch. est là", "fr"),
        # Units and numerals.
        ("le chat dort 5 km, 90 km/h, 20 °C, 3 kWh et 12 gtt", "fr"),
        ("кошка спит 5 км и 100 мл, 20 мкм", "ru"),
        ("le chat XIV est le XIXe et la IIe", "fr"),
        ("мой XXI-го и XIV", "ru"),
        # Parts of compounds.
        ("ich lese die Gesundheits- und Haus", "de"),
        ("die Katze und -haus", "de"),
        # "Wie geht's?"
        ("die Katze schläft's und ich lese's", "de"),
        ("o gato pré-, casa", "pt"),
    ],
)
def test_what_is_no_misspelling_is_not_counted_as_one(folder, text, language):
    assert classes(text, language, folder, ("en", "fr", "pt", "ru", "de"))[3] == (
        {"das": 1} if "das" in text else {}
    )


@pytest.mark.parametrize(
    "address",
    [
        "exemple.photography",
        "amazon.de/chat",
        "пример.рф",
        "a-b.co.uk",
        "museum.art",
        "exemple.com.br",
        "ville.québec",
        "t.co",
    ],
)
def test_domains_of_any_top_level_are_not_words(dictionaries, address):
    assert scores(f"le chat dort sur {address}.", "fr", dictionaries)["spelling"].value == 1.0


@pytest.mark.parametrize(
    ("text", "nonword"),
    [
        ("le chat glorb. Le chat dort", "glorb"),
        ("le chat dort 5 glorbe", "glorbe"),
        ("le chat glorbe - est là", "glorbe"),
        ("le chat mmm dort", "mmm"),
    ],
)
def test_misspellings_beside_numbers_and_stops_still_count(folder, text, nonword):
    assert classes(text, "fr", folder)[3] == {nonword: 1}


@pytest.mark.parametrize(
    ("text", "language", "foreign"),
    [
        ("le chat привыт est là", "fr", {"Cyrillic": {"привыт": 1}}),
        ("le chat дом est là", "fr", {"ru": {"дом": 1}}),
        # Eight letters that say as much as five words.
        ("le chat 今天天气很好我们 est là", "fr", {"Han": {"今天天气很好我们": 5}}),
        ("le chat " + "今天天气很好" * 50 + " dort", "fr", {"Han": {"今天天气很好" * 50: 180}}),
        ("кошка glorbe спит", "ru", {"Latin": {"glorbe": 1}}),
        ("кошка नमस्ते спит", "ru", {"Devanagari": {"नमस्ते": 1}}),
        ("кошка さくら спит 안녕하세요", "ru", {"Hiragana": {"さくら": 1}, "Hangul": {"안녕하세요": 2}}),
    ],
)
def test_words_of_another_script_are_foreign(folder, text, language, foreign):
    assert classes(text, language, folder)[2:] == (foreign, {})


def test_the_word_that_was_cut_at_the_token_limit_does_not_count(dictionaries):
    def nonwords(text, truncated):
        found = spelling_scores("a", text, "fr", dictionaries, ("fr",), truncated=truncated)
        return {s.metric: s for s in found}["spelling_nonword"].detail["words"]

    assert nonwords("le chat glorbe et cana", False) == {"glorbe": 1, "cana": 1}
    assert nonwords("le chat glorbe et cana", True) == {"glorbe": 1}
    assert nonwords("le chat glorbe et l'hom", True) == {"glorbe": 1}
    assert nonwords("le chat **glor", True) == {}
    # A mark or a blank at the end: the last word is whole.
    assert nonwords("le chat glorbe.", True) == nonwords("le chat glorbe ", True) == {"glorbe": 1}


def test_a_word_list_makes_names_and_neologisms_right(tmp_path, dictionaries):
    (tmp_path / "words").write_text("Zorglub\nmétavers\n\nÀ-côté\n", encoding="utf-8")
    known = read_word_list(tmp_path / "words")
    assert known == {"zorglub", "métavers", "à-côté"}
    text = "Zorglub’s chat, l'métavers, MÉTAVERS, à-côté, glorbe"
    found = spelling_scores("a", text, "fr", dictionaries, ("fr",), known=known)
    assert {s.metric: s for s in found}["spelling_nonword"].detail["words"] == {"glorbe": 1}
    (tmp_path / "words").write_text("\n1\n")
    with pytest.raises(UserError, match="words holds no words"):
        read_word_list(tmp_path / "words")


def test_german_capitals_do_not_make_names(folder):
    text = "ich lese und die Katze auf dem Glorbs schläft"
    assert classes(text, "de", folder)[1:] == ({}, {}, {"Glorbs": 1})


def test_without_other_dictionaries_nothing_is_foreign(folder):
    text = "le chat dort et the house"
    assert classes(text, "fr", folder, ("fr",))[2:] == ({}, {"the": 1, "house": 1})


def test_evidence_keeps_the_most_frequent_words_only(dictionaries):
    vowels = "aeiou"
    unknown = [f"zz{a}{b}{c}" for a in vowels for b in vowels for c in vowels]
    got = scores(" ".join(["zz", "zz", *unknown]), "fr", dictionaries)["spelling_nonword"]
    assert got.value == 1.0
    assert len(got.detail["words"]) == 50
    assert next(iter(got.detail["words"].items())) == ("zz", 2)


# What is missing.


def test_a_missing_dictionary_abstains_and_names_the_package(tmp_path):
    got = scores("un chat", "fr", Dictionaries([tmp_path]))
    assert {score.state for score in got.values()} == {"abstain"}
    assert "apt install hunspell-fr" in got["spelling"].detail["reason"]


def test_a_missing_other_dictionary_leaves_only_the_share(tmp_path):
    write_dictionary(tmp_path, "fr_FR", WORDS["fr_FR"])
    got = scores("le chat dort, glorbe", "fr", Dictionaries([tmp_path]), ("fr", "ru"))
    assert got["spelling"].value == 0.75
    assert {score.state for metric, score in got.items() if metric != "spelling"} == {"abstain"}
    assert "hunspell-ru" in got["spelling_foreign"].detail["reason"]
    # Not evaluated, not needed.
    assert scores("le chat", "fr", Dictionaries([tmp_path]), ("fr",))["spelling_foreign"].value == 0.0


def test_a_missing_module_abstains(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "hunspell", None)
    got = scores("le chat", "fr", Dictionaries([folder]))
    assert "pip install chunspell" in got["spelling"].detail["reason"]


def test_pyhunspell_works_as_well(folder, monkeypatch):
    class HunSpell:
        def __init__(self, dictionary, affixes):
            assert Path(affixes).read_text().startswith("SET")
            self.words = set(Path(dictionary).read_text(encoding="utf-8").split()[1:])

        def spell(self, word):
            word.encode("latin-1")  # raises as the binding does for letters the dictionary cannot write
            return word in self.words

    monkeypatch.setitem(sys.modules, "hunspell", types.SimpleNamespace(HunSpell=HunSpell))
    accepts = Dictionary("fr", [folder]).accepts
    assert accepts("canapé")
    assert not accepts("canape")
    assert not accepts("кошка")


def test_eight_bit_dictionaries_reject_letters_that_they_cannot_write(tmp_path):
    write_dictionary(tmp_path, "fr_FR", "café", encoding="iso8859-1")
    accepts = Dictionary("fr", [tmp_path]).accepts
    assert accepts("café")
    assert not accepts("кафе")


@pytest.mark.parametrize("content", ["", "version https://git-lfs.github.com/spec/v1\n", "<html>", "0\n"])
def test_a_file_that_is_no_dictionary_abstains(tmp_path, content):
    (tmp_path / "fr_FR.aff").write_text("SET UTF-8\n")
    (tmp_path / "fr_FR.dic").write_text(content)
    got = scores("le chat", "fr", Dictionaries([tmp_path]))
    assert got["spelling"].state == "abstain"
    assert "is not a Hunspell dictionary" in got["spelling"].detail["reason"]


def test_very_long_words_are_not_accepted(folder):
    accepts = Dictionary("fr", [folder]).accepts
    assert not accepts("a" * 100_000)
    assert not accepts("-".join(["chat"] * 40))


# Where dictionaries are found.


def names(paths):
    return [str(path.parent.name + "/" + path.name) for path in paths]


def test_the_first_folder_with_the_language_wins(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    write_dictionary(one, "es_MX", "gato")
    write_dictionary(two, "es_ES", "gato")
    write_dictionary(two, "fr", "chat")
    write_dictionary(two, "pt_PT", "gato")
    write_dictionary(two, "pt_BR", "gato")
    write_dictionary(two, "de_DE_frami", "Katze")
    (one / "fr_FR.dic").write_text("1\nchat\n")  # without its affixes: incomplete
    folders = [tmp_path / "none", one, two]
    assert names(find_dictionaries("es", folders)) == ["one/es_MX.dic"]
    assert names(find_dictionaries("fr", folders)) == ["two/fr.dic"]
    assert names(find_dictionaries("pt", folders)) == ["two/pt_BR.dic", "two/pt_PT.dic"]
    assert names(find_dictionaries("de", folders)) == ["two/de_DE_frami.dic"]
    with pytest.raises(Unavailable, match="apt install hunspell-it, or --dictionaries FOLDER"):
        find_dictionaries("it", folders)


def test_folders_are_searched_in_the_documented_order(tmp_path, monkeypatch):
    monkeypatch.setenv("DICPATH", f"{tmp_path}/a:{tmp_path}/b")
    monkeypatch.setattr(module, "SYSTEM_FOLDERS", ("/usr/share/hunspell", "~/x"))
    assert dictionary_folders([tmp_path]) == [
        tmp_path,
        tmp_path / "a",
        tmp_path / "b",
        Path("/usr/share/hunspell"),
        Path.home() / "x",
    ]
    with pytest.raises(UserError, match="no such folder"):
        dictionary_folders([tmp_path / "none"])


def test_the_english_dictionary_inside_chunspell_knows_english():
    import hunspell

    shipped = Path(hunspell.__file__).parent / "dictionaries"
    got = scores(
        "The cats didn’t walk in New York, colour isn't glorbed.", "en", Dictionaries([shipped]), ("en",)
    )
    assert got["spelling_nonword"].detail == {"words": {"colour": 1, "glorbed": 1}}
    assert got["spelling"].value == pytest.approx(8 / 10)


@given(st.text(st.characters(exclude_categories=())))
def test_the_four_shares_of_any_text_sum_to_one_or_abstain(folder, text):
    got = scores(text, "fr", Dictionaries([folder]))
    states = {score.state for score in got.values()}
    if states == {"ok"}:
        assert sum(score.value for score in got.values()) == pytest.approx(1)
        assert all(0 <= score.value <= 1 for score in got.values())
    elif says_nothing(text):
        # An empty answer has no word that is right, as in every metric, and none to sort.
        assert (got["spelling"].value, got["spelling"].detail["reason"]) == (0.0, "empty")
        assert {score.state for name, score in got.items() if name != "spelling"} == {"abstain"}
    else:
        assert states == {"abstain"}
