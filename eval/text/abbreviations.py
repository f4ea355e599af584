"""Abbreviations after which a sentence continues, in five languages.

The keys are ISO 639-1 codes, and all words are in lower case.
"""

from __future__ import annotations

# Abbreviations after which a sentence continues even before a capital. Those that often end a sentence ("etc.",
# "usw.", "и т. д.") are left out, so that after them the case of the next word decides.
_ABBREVIATIONS: dict[str, str] = {
    "en": "mr mrs ms dr prof rev hon gen col capt lt sgt st mt ft vs cf approx dept e.g i.e u.s u.k",
    "fr": "m mm mme mmes mlle mlles dr pr st ste av env p.ex c.-à-d",
    "pt": "sr sra srs sras srta dr dra drs prof profa exmo exma d eng av p.ex sto sta",
    "ru": "т.е т.к т.н т.о напр см ср ул пер пл им проф акад доц св",
    "de": "dr prof hr fr st str bzw ca z.b d.h u.a o.ä z.t i.d.r s.o s.u vgl evtl ggf inkl sog",
}
# These are abbreviations only before a number: the sentence continues in "No. 5", but not in "He said no."
_BEFORE_NUMBERS: dict[str, str] = {
    "en": "no nos fig figs eq vol p pp ch sec jan feb mar apr jun jul aug sept sep oct nov dec",
    "fr": "n no art chap fig p pp vol",
    "pt": "n núm art cap fig p pp pág págs vol",
    "ru": "стр рис табл гл ст п пп г д",
    "de": "nr art abs abb kap bd s jan feb apr aug sept okt nov dez",
}
# These often end a sentence. A dictionary does not have them, or only with their period.
_ENDING: dict[str, str] = {
    "en": "etc a.m p.m al jr inc ltd corp co esq ph.d b.c a.d b.a m.a tel ext min max est",
    "fr": "etc cie al tél env max min av apr j.-c hab s.v.p p.-s c.-à-d id ibid op.cit n.b",
    "pt": "etc cia ltda al tel a.c d.c obs ex mín máx séc hab i.e v.ex",
    "ru": "т.д т.п др пр г гг в вв н.э руб коп тыс млн млрд трлн чел тел мин сек час и.о обл р-н напр и.т.д и.т.п",
    "de": "usw etc u.ä bzgl dgl o.g u.a.m u.v.m mio mrd tel std min sek jh jhd n.chr v.chr gmbh max mind zzgl",
}
ABBREVIATIONS = {language: frozenset(text.split()) for language, text in _ABBREVIATIONS.items()}
BEFORE_NUMBERS = {language: frozenset(text.split()) for language, text in _BEFORE_NUMBERS.items()}
ENDING_SENTENCES = {language: frozenset(text.split()) for language, text in _ENDING.items()}
