"""Our measure of language by the line, on the words of an answer without its markup."""

import pytest
from helpers.sentences import CHINESE, ENGLISH, FRENCH, JAPANESE, RUSSIAN, RUSSIAN_2, WORDS
from hypothesis import given
from hypothesis import strategies as st

from xltjax.eval.language import language_scores, line_language
from xltjax.eval.text.markup import prose

# Our line measure.


def test_the_share_is_by_letters_and_says_which_line_is_which(identify):
    score = line_language("a", f"{RUSSIAN}\n{ENGLISH}", "ru", identify)
    letters = [sum(c.isalpha() for c in line) for line in (RUSSIAN, ENGLISH)]
    assert score.value == pytest.approx(letters[0] / sum(letters))
    assert [(line["language"], line["letters"]) for line in score.detail["lines"]] == [
        ("ru", letters[0]),
        ("en", letters[1]),
    ]


def test_code_tags_addresses_and_formulas_have_no_language(identify):
    text = (
        f"{RUSSIAN}\n```python\nfor line in open('the file of words'): print(line)\n```\n"
        "<div class='a wide and long column'>https://example.com/the/cat/on/the/sofa</div>\n"
        "$the = cat + on^{the} \\cdot sofa + for + all$\n" + RUSSIAN_2
    )
    score = line_language("a", text, "ru", identify)
    assert score.value == 1.0
    assert len(score.detail["lines"]) == 2


def test_short_items_of_a_list_are_read_together(identify):
    text = "\n".join(f"- {item}" for item in ("яблоки и груши", "свежий хлеб", "молоко", "зелёный чай"))
    assert line_language("a", text, "ru", identify).value == 1.0
    (line,) = line_language("a", text, "en", identify).detail["lines"]
    assert line["language"] == "ru"


@pytest.mark.parametrize("text", ["Да.", "a b c d e f", "Электрификация железнодорожная", "42 43 44 45 46"])
def test_text_under_20_letters_or_5_words_is_not_judged(identify, text):
    score = line_language("a", text, "ru", identify)
    assert (score.state, score.detail["reason"]) == ("abstain", "too little text")


@pytest.mark.parametrize(
    ("text", "language"),
    [
        (CHINESE, "zh"),
        ("我喜欢在早上喝咖啡。", "zh"),
        ("私は毎朝コーヒーを飲みます。", "ja"),
        ("저는 매일 아침 커피를 마십니다.", "ko"),
        ("हाँ, मैं आपकी मदद कर सकता हूँ।", "hi"),  # 17 letters, with its vowel signs 27
        ("សួស្តី ខ្ញុំអាចជួយអ្នកបាន", "km"),
    ],
)
def test_what_is_enough_text_is_measured_by_the_script(identify, text, language):
    assert line_language("a", text, language, identify).value == 1.0
    assert line_language("a", text, "fr", identify).value == 0.0


def test_a_share_of_chinese_and_english_is_by_what_they_say(identify):
    # 24 Chinese letters count as 72; as single ones they would be a third of the answer.
    score = line_language("a", f"{CHINESE}\n{ENGLISH}", "zh", identify)
    letters = 3 * sum(map(str.isalpha, CHINESE)), sum(map(str.isalpha, ENGLISH))
    assert score.value == pytest.approx(letters[0] / sum(letters))


def test_a_chinese_line_is_not_taken_for_japanese(identify):
    text = "风和日丽的春日早晨，李明拖着他"
    assert identify(text)[0] == "ja"
    assert line_language("a", text, "zh", identify).state == "abstain"
    assert line_language("a", f"{text}\n{CHINESE}", "zh", identify).value == 1.0
    assert line_language("a", JAPANESE, "zh", identify).value == 0.0


def sure_of_nothing(text):
    return "hi", 0.2


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Mera naam Rahul hai aur main Dilli mein rehta hoon.", "hi"),
        ("Privet, menya zovut Ivan i ya zhivu v Moskve.", "ru"),
        ("Al-qitt yanam ala al-arika bi-sukun.", "ar"),
        ("Watashi wa maiasa koohii o nomimasu.", "ja"),
        ("Bhaarataantarraashtriya", "hi"),
        ("Кошка спит на диване, пока идёт дождь.", "fr"),
        # A word in brackets changes nothing.
        ("Ek din, ek chhota sa gaon mein, ek bachcha rehta tha. Uska naam Thoda (थोडा) tha.", "hi"),
    ],
)
def test_text_in_another_script_is_wrong_and_not_unsure(text, language):
    assert line_language("a", text, language, sure_of_nothing).value == 0.0


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("मेरा नाम राहुल है और मैं दिल्ली में रहता हूँ।", "hi"),
        ("Zovem se Ivan i živim u velikom gradu.", "sr"),
        ("Зовем се Иван и живим у великом граду.", "sr"),
        ("漢字仮名交文章日本語勉強", "ja"),
        ("Le chat et la souris vont au marché", "fr"),
    ],
)
def test_text_in_a_script_of_the_language_stays_unsure(text, language):
    assert line_language("a", text, language, sure_of_nothing).state == "abstain"


def test_short_text_in_another_script_may_be_a_name(identify):
    assert line_language("a", "Albert Einstein", "ru", identify).state == "abstain"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (f"{RUSSIAN}\n{RUSSIAN_2}\nHere is what I thi", 1.0),
        (f"{RUSSIAN}\n{ENGLISH}", 1.0),
        # The line that was cut is nearly all of the answer.
        (f"Sure, here is what you asked for:\n{' '.join([RUSSIAN] * 3)} Коне", 0.8),
        (f"{RUSSIAN} Коне", 1.0),
    ],
)
def test_the_line_that_was_cut_at_the_token_limit_is_left_out(identify, text, value):
    assert line_language("a", text, "ru", identify, truncated=True).value == pytest.approx(value, abs=0.05)


def test_only_our_line_measure_knows_of_the_token_limit(identify):
    text = f"{RUSSIAN}\n{ENGLISH}"
    cut, whole = (language_scores("a", text, "ru", identify, WORDS, truncated=t) for t in (True, False))
    assert {s.metric for s, t in zip(cut, whole, strict=True) if s != t} == {"line_language"}


@pytest.mark.parametrize("info", ["markdown", "md", "text", "", "français", "html"])
def test_an_answer_in_a_fence_is_judged_by_its_own_words(identify, info):
    text = f"Here is the text you asked me for, enjoy it:\n```{info}\n{FRENCH} {FRENCH}\n```"
    if info == "html":
        text = text.replace(FRENCH, f"<p>{FRENCH}</p>")
    score = line_language("a", text, "fr", identify)
    assert [line["language"] for line in score.detail["lines"]] == ["en", "fr"]
    assert score.value > 0.7


def test_an_unsure_line_counts_on_neither_side():
    guesses = {"a": ("ru", 0.9), "b": ("en", 0.49)}
    text = "a " + "слово " * 6 + "\nb " + "слово " * 6
    score = line_language("a", text, "ru", lambda line: guesses[line[0]])
    assert score.value == 1.0
    assert [line["language"] for line in score.detail["lines"]] == ["ru", "unknown"]
    score = line_language("a", text, "ru", lambda line: ("ru", 0.49))
    assert (score.state, score.detail["reason"]) == ("abstain", "unsure of every line")


def test_capitals_do_not_change_the_language(identify):
    assert line_language("a", FRENCH.upper(), "fr", identify).value == 1.0
    assert line_language("a", RUSSIAN.title(), "ru", identify).value == 1.0


# Markup.


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Un **mot** et `du code` ici", "Un mot et ici"),
        ("avant\n```\ncode ici\n```\naprès", "avant après"),
        ("avant\n~~~html\n<p>code</p>\n~~~\naprès", "avant après"),
        ("```html\n<!DOCTYPE html><html><head><title>Mon chat</title><style>p {}</style></head>\n"
         "<body><p>Il dort &amp; r&ecirc;ve.</p><script>let x = 1;</script></body></html>\n```",
         "Mon chat Il dort & rêve."),
        ("```markdown\n# Titre\nLe **chat** dort.\n```", "Titre Le chat dort."),
        ("````md\nUn exemple :\n```python\nx = 1\n```\nfin\n````", "Un exemple : fin"),
        ("```text\nUm gato\n```", "Um gato"),
        ("```\nКошка спит на диване, пока идёт дождь", "Кошка спит на диване, пока идёт дождь"),
        ("~~~\nHallo Anna,\ndie Katze schläft auf dem Sofa.\n~~~", "Hallo Anna, die Katze schläft auf dem Sofa."),
        ("```\n今天天气很好，我们一起去公园散步\n```", "今天天气很好，我们一起去公园散步"),
        ("```Le chat dort sur le canapé.```", "Le chat dort sur le canapé."),
        ("```email\nObjet : la réunion de lundi\nBonjour Paul !\n```", "Objet : la réunion de lundi Bonjour Paul !"),
        ('```json\n{"titre": "Le chat dort", "n": 3, "notes": ["Il \\"pleut\\"", "\\u00e9t\\u00e9"]}\n```',
         'Le chat dort Il "pleut" été'),
        ('```\n{"titre": "Le chat dort", "texte": "Il pleut à ver', "Le chat dort Il pleut à ver"),
        ('{"titre": "Le chat dort", "texte": "Il pleut"}', "Le chat dort Il pleut"),
        ('```json\n{"name": "xltjax", "version": 3}\n```', ""),
        ("```csv\nJour,Temps,Degrés\nlundi,Il pleut,-5\nmardi,Il neige,0\n```",
         "Jour,Temps,Degrés lundi,Il pleut,-5 mardi,Il neige,0"),
        ("```\nimport os\nimport sys\nfrom pathlib import Path\n```", ""),
        ("```\npip install transformers and datasets\ncd project\n```", ""),
        ("```\nSELECT name FROM users WHERE town IS NOT NULL\n```", ""),
        ("```\nfor each item in list:\n    add item to result\n```", ""),
        ("```\nconst cat = 5;\nreturn the cat and the dog;\n```", ""),
        ("```yaml\nthe cat sleeps on the sofa: yes\n```", ""),
        ("voir exemple.photography, пример.рф et amazon.de.", "voir , et ."),
        ("т.д. и z.B. p.ex. fin.Puis a.m.", "т.д. и z.B. p.ex. fin.Puis a.m."),
        ("avant\n```python\nsans fin", "avant"),
        ("un ``code ` avec`` deux", "un deux"),
        ("voir [le site](https://a.fr/b) et ![image](c.png)", "voir le site et"),
        ("écrire à marie.curie@example.org ou www.example.org/page", "écrire à ou"),
        ("voir example.com/a?b=c, vite", "voir vite"),
        ("<!DOCTYPE html><html><head><style>\n\np { color: red }\n</style></head>\n\n"
         "<body>\n    <h1>Titre</h1>\n<p>Du <b>texte</b></p></body></html>", "Titre Du texte"),
        ("<script>var x = 1;</script>fin <!-- note -->", "fin"),
        ("début <!-- sans fin", "début"),
        ("si a < b alors c > d", "si a < b alors c > d"),
        ("l'aire $\\pi r^2$ et $$x = y$$ puis \\(a\\) et \\[b\\]", "l'aire et puis et"),
        ("avant\n\\begin{align*}\n\\alpha &= \\frac{1}{2} \\\\\nx\n\\end{align*}\n\\textbf{après} \\n",
         "avant {après} \\n"),
        ("une ﬂeur Ｆｉｎｅ 𝐛𝐨𝐧𝐧𝐞", "une fleur Fine bonne"),
        ("de 5 $ à 10 $, ou R$ 50 e US$ 100 hoje, $5 or $6", "de 5 $ à 10 $, ou R$ 50 e US$ 100 hoje, $5 or $6"),
        ("[Anna]: Ja.", "[Anna]: Ja."),
        ("Bonne nuit\u00ad, bi\u200ben\u202e", "Bonne nuit, bien"),
        ("e\u0301te\u0301", "été"),
        ("Tom &amp; Anna", "Tom & Anna"),
        ("un\r\ndeux\u2028trois", "un deux trois"),
    ],
)  # fmt: skip
def test_prose_keeps_the_words_and_nothing_else(text, words):
    assert " ".join(prose(text).split()) == words


@given(st.text(st.characters(exclude_categories=())))
def test_prose_of_any_text_can_be_encoded_and_is_stable(text):
    once = prose(text)
    once.encode("utf-8")
    assert "\0" not in once
    assert prose(text) == once


@given(
    st.lists(
        st.sampled_from(["`", "```", "<", "a", " ", "\n", "$", "\\(", "[", "](", "<!--", "*", "&", "~~~"])
    )
)
def test_prose_of_any_markup_is_defined(pieces):
    assert isinstance(prose("".join(pieces)), str)
