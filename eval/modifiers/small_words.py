"""Words that ordinary writing has in lower case inside a sentence, by ISO 639-1 code: mostly function words.

Left out is what may have a capital: "I", "May" and "Will", the German "Sie" and "Ihr", Russian "Да" as an answer.
"""

from __future__ import annotations

_SMALL_WORDS: dict[str, str] = {
    "en": """
a an the and or but nor so of to in on at by for from with without into onto over under about after
before between through during against as than that this these those it its is are was were be been
being am do does did has have had can could should would must not isn't don't doesn't didn't aren't
wasn't can't won't it's he she they we you his her their our your my me him them us if when where
while who what which how why there here then very more most some any all each every both just only
also too up down out off again because until first well good new 'n n""",
    "fr": """
la le les un une des du de et ou mais donc ni car à au aux en dans sur sous par pour avec sans chez
vers entre depuis pendant est sont était étaient a ont sera être avoir ce cet cette ces c'est son sa
ses leur leurs mon ma mes ton ta tes notre nos votre vos il elle on nous vous ils elles je tu que qu
qui quoi dont où ne n pas plus moins très se si comme quand puis aussi tout tous toute toutes y bien
lorsqu jusqu jusque faire fait""",
    "pt": """
o a os as um uma uns umas de do da dos das em no na nos nas por pelo pela pelos pelas para com sem
sob sobre entre até e ou mas nem que se não é são foi foram ser está estão tem têm há ao aos à às
este esta isto esse essa isso seu sua seus suas meu minha ele ela eles elas nós você vocês eu lhe me
te como quando onde muito muita mais menos já também só depois antes todo toda todos todas bem seja
fazer""",
    "ru": """
и а но или ни не в во на с со к ко у о об обо от до по за из под над при для без про через между
перед после около что как это этот эта эти его её ее их он она оно они мы вы я ты быть был была было
были будет есть если то же ли бы уже ещё еще очень все всё так там тут здесь сейчас когда где чтобы
потому поэтому затем потом который которая которые им ей нам вам мне вас нас себя свой свои своё
только можно нужно более очень""",
    "de": """
der die das den dem des ein eine einen einem einer eines und oder aber denn sondern doch nicht kein
keine keinen in im ins an am auf aus bei beim mit nach von vom vor zu zum zur für über unter um
durch gegen ohne bis seit während wegen zwischen ist sind war waren wird werden wurde wurden hat
haben hatte kann können muss müssen soll sollen sollte darf will er es wir ich man sich mich mir dir
uns sein seine seinen mein meine unser unsere dass ob wenn weil als wie so auch nur noch schon sehr
mehr dann da hier dort heute geht's geht dafür damit dazu daran alle allen viel viele kostet fragte
sagte groß schön gut jede jeder jedes diese dieser dieses etwa immer wieder fünf zwei drei vier""",
}
SMALL_WORDS: dict[str, frozenset[str]] = {
    language: frozenset(words.split()) for language, words in _SMALL_WORDS.items()
}
