"""How five languages ask for a list of N and for an answer in another language, by ISO 639-1 code."""

from __future__ import annotations

# The numbers from one to twenty in "list N options", in every gender and case that the phrase can take.
_NUMBER_WORDS: dict[str, str] = {
    "en": "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen twenty",
    "fr": "un|une deux trois quatre cinq six sept huit neuf dix onze douze treize quatorze quinze seize dix-sept "
    "dix-huit dix-neuf vingt",
    "pt": "um|uma dois|duas três quatro cinco seis sete oito nove dez onze doze treze quatorze|catorze quinze "
    "dezesseis|dezasseis dezessete|dezassete dezoito dezenove|dezanove vinte",
    "ru": "один|одну|одно два|две|двух три|трёх|трех четыре|четырёх|четырех пять|пяти шесть|шести семь|семи "
    "восемь|восьми девять|девяти десять|десяти одиннадцать двенадцать тринадцать четырнадцать пятнадцать "
    "шестнадцать семнадцать восемнадцать девятнадцать двадцать",
    "de": "ein|eine|einen zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn fünfzehn "
    "sechzehn siebzehn achtzehn neunzehn zwanzig",
}
# The tens from twenty, which the numbers from one to nine follow.
_TENS: dict[str, str] = {
    "en": "twenty thirty forty fifty sixty seventy eighty ninety",
    "fr": "vingt trente quarante cinquante soixante soixante-dix|septante quatre-vingts|huitante "
    "quatre-vingt-dix|nonante",
    "pt": "vinte trinta quarenta cinquenta sessenta setenta oitenta noventa",
    "ru": "двадцать|двадцати тридцать|тридцати сорок|сорока пятьдесят|пятидесяти шестьдесят|шестидесяти "
    "семьдесят|семидесяти восемьдесят|восьмидесяти девяносто",
    "de": "zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig",
}
_OTHER_NUMBERS: dict[str, dict[str, int]] = {
    "en": {"half a dozen": 6, "a half dozen": 6, "a dozen": 12, "dozen": 12, "two dozen": 24, "a couple of": 2,
           "a pair of": 2, "a hundred": 100, "hundred": 100, "one hundred": 100},
    "fr": {"une demi douzaine": 6, "une huitaine": 8, "une dizaine": 10, "une douzaine": 12, "une quinzaine": 15,
           "une vingtaine": 20, "une trentaine": 30, "une centaine": 100, "cent": 100},
    "pt": {"meia dúzia": 6, "uma dezena": 10, "uma dúzia": 12, "duas dúzias": 24, "um par de": 2, "cem": 100},
    "ru": {"полдюжины": 6, "десяток": 10, "дюжину": 12, "дюжина": 12, "два десятка": 20, "пару": 2, "сто": 100},
    "de": {"ein halbes dutzend": 6, "ein dutzend": 12, "zwei dutzend": 24, "ein paar": 2, "hundert": 100},
}  # fmt: skip


def _forms(text: str, first: int, step: int = 1) -> dict[str, int]:
    """The numbers in ``text`` by their forms, which ``|`` parts; a hyphen in a form counts as a space."""
    values = enumerate(text.split())
    return {form.replace("-", " "): first + step * at for at, forms in values for form in forms.split("|")}


def _numbers(language: str) -> dict[str, int]:
    """The numbers from one to ninety-nine and a few more, with single spaces between their words."""
    small = _forms(_NUMBER_WORDS[language], 1)
    tens = _forms(_TENS[language], 20, 10)
    numbers = small | tens | _OTHER_NUMBERS[language]
    for name, ten in tens.items():
        for unit, value in small.items():
            if value < 10 or (language == "fr" and value < 20 and ten in (60, 80)):
                for compound in _compounds(language, name, unit):
                    numbers.setdefault(compound, ten + value)
    return numbers


def _compounds(language: str, ten: str, unit: str) -> tuple[str, ...]:
    """The ways to write a number of a ten and a unit."""
    if language == "de":
        return (f"{'ein' if unit in ('eine', 'einen') else unit}und{ten}",)
    if language == "pt":
        return (f"{ten} e {unit}",)
    if language == "fr":
        return (f"{ten.removesuffix('s')} {unit}", f"{ten} et {unit}")
    return (f"{ten} {unit}",)


NUMBERS: dict[str, dict[str, int]] = {language: _numbers(language) for language in _NUMBER_WORDS}
# Between the ends of a range: "3 to 5", "three or four".
RANGES: dict[str, str] = {"en": "to|or", "fr": "à|ou", "pt": "a|à|ou|até", "ru": "до|или", "de": "bis|oder"}
# Before a range and between its ends: "between 3 and 5".
BETWEEN: dict[str, tuple[str, str]] = {
    "en": ("between", "and"),
    "fr": ("entre", "et"),
    "pt": ("entre", "e"),
    "ru": ("между", "и"),
    "de": ("zwischen", "und"),
}


# Verbs that ask for a list, as regular expressions matched at the start of a word.
LIST_VERBS: dict[str, str] = {
    "en": r"list|name|give|suggest|provide|offer|write|mention",
    "fr": r"énumér\w+|enumer\w+|list\w+|cite\w*|donne\w*|propose\w*|indique\w*|nomme\w*",
    "pt": r"list[ae]\w*|enumer[ae]\w*|cit[ae]\w*|d[êáa]|suger\w*|sugir\w*|propo\w+|indi(?:ca|que)\w*|nomei\w+",
    "ru": r"перечисл\w+|назов\w+|привед\w+|предлож\w+|укаж\w+|дай\w*|напиш\w+|составь\w*",
    "de": r"nenn\w*|list\w*|zähl\w*|gib|geben|schlag\w*|führ\w*|schreib\w*",
}


# For "answer in X": the preposition and the names of languages that follow it, as regular expressions.
LANGUAGE_PREPOSITIONS: dict[str, str] = {
    "en": r"in(?:to)?(?:\s+the)?\s+",
    "fr": r"en(?:\s+langue)?\s+|dans\s+la\s+langue\s+",
    "pt": r"(?:em|no|na)(?:\s+(?:idioma|língua))?\s+",
    "ru": r"на\s+|по-",
    "de": r"(?:auf|ins?)(?:\s+der)?\s+",
}


LANGUAGE_NAMES: dict[str, dict[str, str]] = {
    "en": {"en": "english", "fr": "french", "pt": "portuguese", "ru": "russian", "de": "german"},
    "fr": {"en": "anglaise?", "fr": "français(?:e)?", "pt": "portugaise?", "ru": "russe", "de": "allemande?"},
    "pt": {"en": "ingl[êe]sa?", "fr": "franc[êe]sa?", "pt": "portugu[êe]sa?", "ru": "russ[oa]", "de": "alemão|alemã"},
    "ru": {
        "en": r"английск\w+", "fr": r"французск\w+", "pt": r"португальск\w+", "ru": r"русск\w+", "de": r"немецк\w+",
    },
    "de": {
        "en": r"englisch(?:e\w?)?", "fr": r"französisch(?:e\w?)?", "pt": r"portugiesisch(?:e\w?)?",
        "ru": r"russisch(?:e\w?)?", "de": r"deutsch(?:e\w?)?",
    },
}  # fmt: skip
