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
