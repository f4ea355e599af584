"""Language measures against hand-computed values and a second reading of the benchmark's definitions."""

import random
import re
import string
import sys
import types

import pytest
from helpers.sentences import CHINESE, ENGLISH, FRENCH, JAPANESE, RUSSIAN, RUSSIAN_2, WORDS, marked

from xltjax.common.errors import UserError
from xltjax.eval import language as module
from xltjax.eval.language import (
    BenchmarkReading,
    EnglishDictionary,
    LanguageIdentifier,
    benchmark_reading,
    benchmark_scores,
    default_model,
    language_correct,
    language_scores,
    line_accuracy,
    line_language,
    line_pass_rate,
    read_english_words,
    word_pass_rate,
)
from xltjax.eval.scores import Unavailable
from xltjax.eval.text import segmenters as segmenters_module

# The paper's measure.


def test_the_first_guess_for_the_whole_answer_decides(identify):
    assert language_correct("a", FRENCH, "fr", identify).value == 1.0
    assert language_correct("a", FRENCH, "en", identify).value == 0.0
    # Mostly English with a French line: the measure does not see the mixture.
    assert language_correct("a", f"{ENGLISH}\n" * 4 + FRENCH, "en", identify).value == 1.0


def test_the_whole_answer_is_read_as_it_stands():
    seen = []
    text = "Un\n\n`deux` <b>\ttrois\n"
    language_correct("a", text, "fr", lambda given: (seen.append(given), ("fr", 0.5))[1])
    assert seen == [text]


def test_the_identifier_reads_lines_as_one_text(identify):
    assert identify("Bonjour\nà\ntous") == identify("Bonjour à tous")


@pytest.mark.parametrize("text", ["42, 3.5!", "🙂🎉"])
def test_text_without_a_language_is_not_scored(identify, text):
    score = language_correct("a", text, "en", identify)
    assert (score.value, score.state, score.detail["reason"]) == (None, "abstain", "no letters")


@pytest.mark.parametrize("text", ["", " \n\t", "\0\u200b", ".", '\n\n"', ". , . , .\n\n. ,"])
@pytest.mark.parametrize("metric", [language_correct, line_language])
def test_an_answer_that_says_nothing_is_not_in_the_right_language(identify, metric, text):
    score = metric("a", text, "en", identify)
    assert (score.value, score.detail["reason"]) == (0.0, "empty")


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("VOIR LA MER AU PRINTEMPS", "fr"),
        ("TOUT VA BIEN", "fr"),
        ("O GATO DORME NO SOFÁ", "pt"),
        ("DIE KATZE SCHLÄFT", "de"),
    ],
)
def test_answers_in_capitals_are_read_in_lower_case(identify, text, language):
    assert language_correct("a", text, language, identify).value == 1.0
    seen = []
    language_correct("a", text, language, lambda given: (seen.append(given), ("fr", 0.5))[1])
    language_correct(
        "a", "Le Chat DORT sur un canapé", language, lambda given: (seen.append(given), ("fr", 0.5))[1]
    )
    assert seen == [text.lower(), "Le Chat DORT sur un canapé"]


# The benchmark's measures, by hand.


def read(*texts):
    return [benchmark_reading(text, marked) for text in texts]


def test_only_lines_of_five_tokens_count():
    (reading,) = read("fr1 b c d\nfr1 b c d e\nen1 b\n")
    assert reading.lines == ("fr1 b c d e",)


def test_rates_by_hand():
    readings = read(
        "fr1 b c d e",  # right
        "fr1 b c d e\nen1 b c d e",  # one of two lines wrong
        "en1 b c d e",  # wrong
        "fr1 b",  # skipped
    )
    assert line_pass_rate(readings, "fr") == pytest.approx(1 - 2 / 3)
    assert line_accuracy(readings, "fr") == pytest.approx((1 + 0.5 + 0) / 3)


def test_an_unsure_guess_is_an_error_and_point_three_is_unsure():
    assert line_pass_rate(read("fr2 b c d e"), "fr") == 0.0
    assert line_pass_rate(read("fr3 b c d e"), "fr") == 1.0
    assert line_pass_rate(read("a b c d e"), "fr") == 0.0


def test_when_everything_is_skipped_the_benchmark_says_one():
    readings = read("", "fr1 b")
    assert line_pass_rate(readings, "fr") == line_accuracy(readings, "fr") == 1.0
    assert word_pass_rate(readings, "ru", set()) == 1.0
    # Our scores abstain instead.
    assert {s.state for s in benchmark_scores("a", "ru1 b", "ru", marked, set())} == {"abstain"}


def test_text_after_a_new_question_is_cut():
    assert read("fr1 b c d e\nQ: en1 b c d e\nen1 b c d e")[0].lines == ("fr1 b c d e",)
    assert read("Q: fr1 b c d e")[0].lines == ("Q fr1 b c d e",)


def test_punctuation_is_deleted_not_replaced():
    # "l'homme" and "pão-de-ló" become one token, a dash between blanks vanishes, "—" becomes a blank.
    assert read("fr1 l'homme pão-de-ló - est là")[0].tokens == (("fr1", "lhomme", "pãodeló", "est", "là"),)
    assert read("fr1 l'homme a—b c")[0].tokens == (("fr1", "lhomme", "a", "b", "c"),)
    assert read("fr1 l'homme - est là") == [BenchmarkReading((), (), ())]
    assert read("# fr1 **b** c، d e!")[0].tokens == (("fr1", "b", "c", "d", "e"),)


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ("ru1 b c d house", False),
        ("ru1 b c d house!", False),
        ("ru1 b c d House", True),  # not in lower case
        ("ru1 b c d cat", True),  # three letters
        ("ru1 b c d houses", True),  # not the very word
        ("ru1 b c d don't", True),  # "dont" after the deletion
        ("ru1 b c d e\nhouse water", True),  # in a line too short to be read
    ],
)
def test_english_words_are_long_lower_case_and_listed(text, passes):
    assert word_pass_rate(read(text), "ru", WORDS) == float(passes)


def test_word_errors_are_counted_among_answers_without_line_errors():
    readings = read(
        "ru1 b c d e",
        "ru1 b c d house",
        "ru1 b c d house\nen1 b c d e",  # a wrong line: not in the ratio at all
        "ru1 b",  # skipped
    )
    assert word_pass_rate(readings, "ru", WORDS) == 0.5


@pytest.mark.parametrize("language", ["en", "fr", "pt", "de"])
def test_word_pass_rate_is_not_defined_for_latin_script(language):
    assert word_pass_rate(read("fr1 b c d house"), language, WORDS) is None
    assert "wpr" not in {s.metric for s in benchmark_scores("a", "fr1 b c d e", language, marked, WORDS)}


@pytest.fixture
def segmenters():
    """``segmenters``, which keeps what it has loaded, before and after with nothing loaded."""
    segmenters_module.segmenter.cache_clear()
    yield segmenters_module
    segmenters_module.segmenter.cache_clear()


@pytest.mark.parametrize(("language", "package"), [("zh", "rjieba"), ("ja", "fugashi")])
def test_without_the_extra_the_benchmark_abstains_and_names_it(monkeypatch, segmenters, language, package):
    monkeypatch.setitem(sys.modules, package, None)
    scores = benchmark_scores("a", CHINESE, language, marked, WORDS)
    assert {s.metric for s in scores} == {"lpr", "line_accuracy", "wpr"}
    assert all("pip install 'xltjax[cjk]'" in s.detail["reason"] for s in scores)


@pytest.mark.parametrize(
    ("language", "text", "tokens"),
    [
        ("zh", CHINESE, ["今天天气", "很", "好", "，", "我们", "一起", "去", "公园", "散步"]),
        ("ja", JAPANESE, ["今日", "は", "とても", "天気", "が", "いい", "の", "で", "、"]),
    ],
)
def test_chinese_and_japanese_lines_are_cut_as_in_the_benchmark(identify, segmenters, language, text, tokens):
    tokenize = segmenters.segmenter(language)
    assert tokenize(text)[: len(tokens)] == tokens
    assert tokenize("\ud800\0") in ([" ", " "], ["  "], [])  # what the libraries do not take
    assert len(tokenize(text * 2000)) > 10_000
    values = {s.metric: s.value for s in benchmark_scores("a", text, language, identify, WORDS)}
    assert values == {"lpr": 1.0, "line_accuracy": 1.0, "wpr": 1.0}
    mixed = {s.metric: s.value for s in benchmark_scores("a", f"{text}house", language, identify, WORDS)}
    assert mixed == {"lpr": 1.0, "line_accuracy": 1.0, "wpr": 0.0}
    assert benchmark_scores("a", ENGLISH, language, identify, WORDS)[0].value == 0.0


# A second reading of the definition, and answers of mixed language.


def second_reading(answers, language, identify, words):
    """LPR, accuracy and WPR straight from the definition's sentences, in another form than ours."""
    table = []
    for answer in answers:
        cut = answer.find("\nQ:")
        answer = (answer if cut < 0 else answer[:cut]).strip()
        cleaned = ""
        for character in answer:
            if character == "—":
                cleaned += " "
            elif character not in string.punctuation and character != "،":
                cleaned += character
        verdicts, english = [], False
        for line in re.split("\n", cleaned):
            tokens = line.split()
            if len(tokens) < 5:
                continue
            label, probability = identify(line)
            verdicts.append(probability > 0.3 and label == language)
            english |= any(t in words and t == t.lower() and len(t) > 3 and t.islower() for t in tokens)
        if verdicts:
            table.append((verdicts, english))
    if not table:
        return 1.0, 1.0, 1.0
    clean = [english for verdicts, english in table if all(verdicts)]
    return (
        sum(all(verdicts) for verdicts, _ in table) / len(table),
        sum(sum(verdicts) / len(verdicts) for verdicts, _ in table) / len(table),
        sum(not english for english in clean) / len(clean) if clean else 1.0,
    )


PARTS = {
    "en": [ENGLISH, "Please water the plants — twice a week.", "Yes!", "1. Open the door",
           "It's raining; don't go out."],
    "fr": [FRENCH, "L'homme qu'on aime n'est pas là aujourd'hui.", "Oui.", "- Une pomme", "Qu'est-ce que c'est ?"],
    "pt": ["O pão-de-ló está em cima da mesa da cozinha.", "Não sei — talvez amanhã de manhã.", "Bom dia!", "* Um"],
    "ru": [RUSSIAN, RUSSIAN_2, "Да.", "Напишите code на языке python для house water.", "1) Откройте дверь в сад"],
    "ar": ["القط ينام على الأريكة، بينما يهطل المطر في الخارج.", "نعم، بالطبع",
           "اكتب house باللغة العربية من فضلك الآن"],
}  # fmt: skip


def mixed_answers(count, seed):
    draw = random.Random(seed)
    for _ in range(count):
        language = draw.choice(sorted(PARTS))
        lines = []
        for _ in range(draw.randint(0, 6)):
            source = language if draw.random() < 0.8 else draw.choice(sorted(PARTS))
            lines.append(draw.choice(PARTS[source]))
        answer = draw.choice(["\n", "\n\n", " "]).join(lines)
        if draw.random() < 0.2:
            answer += "\nQ: " + ENGLISH
        yield language, answer


def test_200_mixed_answers_get_the_rates_of_a_second_reading(identify):
    english = {"house", "water", "code", "table", "python", "Open"}
    answers = list(mixed_answers(200, seed=3))
    for language in PARTS:
        texts = [text for of, text in answers if of == language]
        readings = [benchmark_reading(text, identify) for text in texts]
        expected = second_reading(texts, language, identify, english)
        assert line_pass_rate(readings, language) == pytest.approx(expected[0])
        assert line_accuracy(readings, language) == pytest.approx(expected[1])
        if language in ("ru", "ar"):
            assert word_pass_rate(readings, language, english) == pytest.approx(expected[2])
            assert 0 < expected[2] < 1
        assert 0 < expected[0] < 1


def test_means_of_the_scores_are_the_rates(identify):
    texts = [text for of, text in mixed_answers(200, seed=4) if of == "ru"]
    readings = [benchmark_reading(text, identify) for text in texts]
    scores = [s for t in texts for s in benchmark_scores("a", t, "ru", identify, WORDS)]
    for metric, rate in (
        ("lpr", line_pass_rate(readings, "ru")),
        ("line_accuracy", line_accuracy(readings, "ru")),
        ("wpr", word_pass_rate(readings, "ru", WORDS)),
    ):
        values = [s.value for s in scores if s.metric == metric and s.state == "ok"]
        assert sum(values) / len(values) == pytest.approx(rate)


def test_the_english_dictionary_takes_letters_only():
    words = EnglishDictionary(lambda word: word in {"house", "10th"})
    assert "house" in words
    assert "10th" not in words
    reading = BenchmarkReading(("l",), (("дом", "house"),), (("ru", 0.9),))
    assert word_pass_rate([reading], "ru", words) == 0.0


def test_word_lists_are_read_one_a_line(tmp_path):
    (tmp_path / "words").write_text("house\n\n  water\nIBM\n")
    assert read_english_words(tmp_path / "words") == {"house", "water", "IBM"}
    (tmp_path / "none").write_text("\n")
    with pytest.raises(UserError, match="holds no words"):
        read_english_words(tmp_path / "none")


# The identifier itself.


def test_guesses_are_those_of_fasttext(identify):
    import fasttext

    model = fasttext.load_model(str(default_model()))
    for text in (FRENCH, ENGLISH, RUSSIAN, PARTS["pt"][0], PARTS["ar"][0]):
        labels, probabilities = model.predict(text)
        assert identify(text) == ("".join(labels).replace("__label__", ""), pytest.approx(probabilities[0]))
    assert len(identify.languages) == 176
    assert {"en", "fr", "pt", "ru", "de"} <= identify.languages


class Numpy2Model:
    """The original binding under NumPy 2: a single text raises, a list works."""

    def predict(self, text, k=1, threshold=0.0):
        if isinstance(text, str):
            raise ValueError("Unable to avoid copy while creating an array as requested.")
        labels = ["__label__fr", "__label__en"][:k]
        return [labels for _ in text], [[0.75, 0.25][:k] for _ in text]


def test_a_binding_that_fails_for_single_texts_is_given_lists(monkeypatch):
    fake = types.SimpleNamespace(load_model=lambda path: Numpy2Model())
    monkeypatch.setitem(sys.modules, "fasttext", fake)
    identify = LanguageIdentifier()
    assert identify("Bonjour") == ("fr", 0.75)
    assert identify.languages == {"fr", "en"}


def test_a_missing_module_or_model_is_unavailable(monkeypatch):
    monkeypatch.setitem(sys.modules, "fasttext", None)
    with pytest.raises(Unavailable, match="pip install fasttext-predict"):
        LanguageIdentifier()
    monkeypatch.setattr(module.util, "find_spec", lambda name: None)
    with pytest.raises(Unavailable, match="--lid-model"):
        default_model()


def test_an_unusable_model_is_a_mistake(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        LanguageIdentifier(tmp_path / "none.bin")
    (tmp_path / "page.bin").write_text("<html>not found</html>" * 20)
    with pytest.raises(UserError, match="is not a fastText model"):
        LanguageIdentifier(tmp_path / "page.bin")


def test_what_cannot_be_known_abstains_with_the_reason(identify):
    for identifier, language, reason in (
        (Unavailable("no model"), "ru", "no model"),
        (identify, "tlh", "does not know tlh"),
    ):
        scores = language_scores("a", RUSSIAN, language, identifier, WORDS)
        assert {s.state for s in scores} == {"abstain"}
        assert all(reason in s.detail["reason"] for s in scores)
    wpr = language_scores("a", RUSSIAN, "ru", identify, Unavailable("no dictionary for en"))[-1]
    assert (wpr.metric, wpr.state, wpr.detail["reason"]) == ("wpr", "abstain", "no dictionary for en")
