"""Language data of the modifier checks: abbreviations, number words and language names in five languages.

Keys are ISO 639-1 codes. All words are lower-case.
"""

from __future__ import annotations

# Abbreviations after which a sentence goes on even before a capital. Those that often end a sentence
# ("etc.", "usw.", "и т. д.") are left out: after them the next word's case decides.
_ABBREVIATIONS: dict[str, str] = {
    "en": "mr mrs ms dr prof rev hon gen col capt lt sgt st mt ft vs cf approx dept e.g i.e u.s u.k",
    "fr": "m mm mme mmes mlle mlles dr pr st ste av env p.ex c.-à-d",
    "pt": "sr sra srs sras srta dr dra drs prof profa exmo exma d eng av p.ex sto sta",
    "ru": "т.е т.к т.н т.о напр см ср ул пер пл им проф акад доц св",
    "de": "dr prof hr fr st str bzw ca z.b d.h u.a o.ä z.t i.d.r s.o s.u vgl evtl ggf inkl sog",
}
# Abbreviations only before a number: "No. 5" goes on, "He said no." does not.
_BEFORE_NUMBERS: dict[str, str] = {
    "en": "no nos fig figs eq vol p pp ch sec jan feb mar apr jun jul aug sept sep oct nov dec",
    "fr": "n no art chap fig p pp vol",
    "pt": "n núm art cap fig p pp pág págs vol",
    "ru": "стр рис табл гл ст п пп г д",
    "de": "nr art abs abb kap bd s jan feb apr aug sept okt nov dez",
}
ABBREVIATIONS = {language: frozenset(text.split()) for language, text in _ABBREVIATIONS.items()}
BEFORE_NUMBERS = {language: frozenset(text.split()) for language, text in _BEFORE_NUMBERS.items()}

# One to twenty as they stand in "list N options", in every gender and case that the phrase takes.
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

NUMBERS: dict[str, dict[str, int]] = {
    language: {form: value for value, forms in enumerate(text.split(), start=1) for form in forms.split("|")}
    for language, text in _NUMBER_WORDS.items()
}

# Verbs that ask for a list, as regular expressions matched at the start of a word.
LIST_VERBS: dict[str, str] = {
    "en": r"list|name|give|suggest|provide|offer|write|mention",
    "fr": r"énumér\w+|enumer\w+|list\w+|cite\w*|donne\w*|propose\w*|indique\w*|nomme\w*",
    "pt": r"list[ae]\w*|enumer[ae]\w*|cit[ae]\w*|d[êáa]|suger\w*|sugir\w*|propo\w+|indi(?:ca|que)\w*|nomei\w+",
    "ru": r"перечисл\w+|назов\w+|привед\w+|предлож\w+|укаж\w+|дай\w*|напиш\w+|составь\w*",
    "de": r"nenn\w*|list\w*|zähl\w*|gib|geben|schlag\w*|führ\w*|schreib\w*",
}

# "Answer in X": the preposition and the names of the languages as they follow it, as regular expressions.
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
