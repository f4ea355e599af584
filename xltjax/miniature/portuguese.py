"""The miniature's Portuguese (Brazil)."""

from __future__ import annotations

from xltjax.miniature.grammar import Language, enumeration
from xltjax.miniature.world import PARTS, Fact

TEMPLATES = {
    "color": (
        "Qual é a cor {do}?",
        "De que cor é {o}?",
        "Por favor, diga qual é a cor {do}.",
        "A cor mais comum {do} é o {color}.",
    ),
    "kind": (
        "O que é {um}?",
        "Que tipo de coisa é {um}?",
        "Por favor, diga o que é {um}.",
        "{every} {noun} é um tipo de {kind}.",
    ),
    "opposite": (
        "Qual é o contrário de {subject}?",
        "Que palavra é o contrário de {subject}?",
        "Por favor, diga qual é o contrário de {subject}.",
        "O contrário de {subject} é {value}.",
    ),
    "number": (
        "{how_many} {parts} tem {um}?",
        "Qual é o número de {parts} de {um}?",
        "Por favor, diga {how_many} {parts} tem {um}.",
        "{um} tem exatamente {value} {parts}.",
    ),
    "place": (
        "Onde vive {o}?",
        "Em que lugar vive {o}?",
        "Por favor, diga onde vive {o}.",
        "{o} tem a sua casa {place}.",
    ),
    "food": (
        "O que {o} gosta de comer?",
        "Qual é a comida preferida {do}?",
        "Por favor, diga o que {o} gosta de comer.",
        "{o} gosta de comer {food}.",
    ),
    "use": (
        "Para que serve {um}?",
        "O que se faz com {um}?",
        "Por favor, explique para que serve {um}.",
        "{um} serve para {use}.",
    ),
    "material": (
        "De que é {made} {um}?",
        "De que material é {made} {um}?",
        "Por favor, diga de que é {made} {um}.",
        "{um} geralmente é {made} de {material}.",
    ),
    "season": (
        "Quando é que {event}?",
        "Em que estação do ano {event}?",
        "Por favor, diga em que estação do ano {event}.",
        "Todos os anos, {event} {season}.",
    ),
    "list_color": (
        "Cite três coisas que são {color_fp}.",
        "Quais são três coisas {color_fp}?",
        "Por favor, diga o nome de três coisas {color_fp}.",
        "{things} são {colors}.",
    ),
    "list_kind": (
        "Cite três {plural}.",
        "Que três {plural} você conhece?",
        "Por favor, diga o nome de três {plural}.",
        "{things} são {plural}.",
    ),
}
NOUNS = {
    # name: noun and gender
    "ant": "formiga f", "apple": "maçã f", "banana": "banana f", "bear": "urso m", "bed": "cama f",
    "bee": "abelha f", "book": "livro m", "broom": "vassoura f", "cabbage": "repolho m", "cactus": "cacto m",
    "camel": "camelo m", "candle": "vela f", "car": "carro m", "carrot": "cenoura f", "castle": "castelo m",
    "chair": "cadeira f", "cherry": "cereja f", "cloud": "nuvem f", "coal": "carvão m", "cow": "vaca f",
    "crocodile": "crocodilo m", "cucumber": "pepino m", "drill": "furadeira f", "eagle": "águia f",
    "flute": "flauta f", "frog": "rã f", "guitar": "guitarra f", "hammer": "martelo m", "hand": "mão f",
    "hen": "galinha f", "horse": "cavalo m", "key": "chave f", "knife": "faca f", "leaf": "folha f",
    "lemon": "limão m", "milk": "leite m", "monkey": "macaco m", "mouse": "rato m", "nail": "prego m",
    "needle": "agulha f", "ocean": "oceano m", "onion": "cebola f", "owl": "coruja f", "panda": "panda m",
    "panther": "pantera f", "pear": "pera f", "pen": "caneta f", "piano": "piano m", "rabbit": "coelho m",
    "raspberry": "framboesa f", "raven": "corvo m", "ring": "anel m", "sapphire": "safira f",
    "saw": "serra f", "sea": "mar m", "shark": "tubarão m", "shoe": "sapato m", "shovel": "pá f",
    "sky": "céu m", "snow": "neve f", "sofa": "sofá m", "spider": "aranha f", "squirrel": "esquilo m",
    "strawberry": "morango m", "sun": "sol m", "sunflower": "girassol m", "swan": "cisne m",
    "sweater": "suéter m", "table": "mesa f", "tire": "pneu m", "tomato": "tomate m",
    "triangle": "triângulo m", "violin": "violino m", "week": "semana f", "whale": "baleia f",
    "window": "janela f", "wolf": "lobo m", "year": "ano m",
}  # fmt: skip
COLORS = {
    # color: masculine, feminine, masculine plural, feminine plural
    "red": ("vermelho", "vermelha", "vermelhos", "vermelhas"),
    "yellow": ("amarelo", "amarela", "amarelos", "amarelas"),
    "green": ("verde", "verde", "verdes", "verdes"),
    "white": ("branco", "branca", "brancos", "brancas"),
    "black": ("preto", "preta", "pretos", "pretas"),
    "blue": ("azul", "azul", "azuis", "azuis"),
}
KINDS = {
    # kind: (singular, plural)
    "fruit": ("fruta", "frutas"),
    "vegetable": ("hortaliça", "hortaliças"),
    "bird": ("ave", "aves"),
    "tool": ("ferramenta", "ferramentas"),
    "instrument": ("instrumento musical", "instrumentos musicais"),
    "furniture": ("móvel", "móveis"),
}
ADJECTIVES = {
    "hot": "quente", "cold": "frio", "big": "grande", "small": "pequeno", "young": "jovem", "old": "velho",
    "long": "comprido", "short": "curto", "fast": "rápido", "slow": "lento", "strong": "forte",
    "weak": "fraco", "clean": "limpo", "dirty": "sujo", "full": "cheio", "empty": "vazio",
}  # fmt: skip
PART_NOUNS = {
    # part: plural and gender
    "leg": "patas f", "wheel": "rodas f", "string": "cordas f", "finger": "dedos m", "day": "dias m",
    "month": "meses m", "side": "lados m",
}  # fmt: skip
NUMERALS = {
    # number: masculine, feminine, digits
    "two": "dois duas 2", "three": "três três 3", "four": "quatro quatro 4", "five": "cinco cinco 5",
    "six": "seis seis 6", "seven": "sete sete 7", "eight": "oito oito 8", "twelve": "doze doze 12",
}  # fmt: skip
PHRASES = {
    # value: (phrase of the answer, the words by which it is recognized)
    "sea": ("no mar", "mar mares"),
    "forest": ("na floresta", "floresta florestas"),
    "desert": ("no deserto", "deserto desertos"),
    "farm": ("na fazenda", "fazenda fazendas"),
    "river": ("no rio", "rio rios"),
    "pond": ("na lagoa", "lagoa lagoas"),
    "jungle": ("na selva", "selva selvas"),
    "hive": ("na colmeia", "colmeia colmeias"),
    "grass": ("capim", "capim grama"),
    "carrots": ("cenouras", "cenouras cenoura"),
    "cheese": ("queijo", "queijo queijos"),
    "honey": ("mel", "mel"),
    "bamboo": ("bambu", "bambu"),
    "nuts": ("nozes", "nozes noz"),
    "hay": ("feno", "feno"),
    "insects": ("insetos", "insetos inseto"),
    "cut bread": ("cortar o pão", "pão"),
    "drive nails": ("bater pregos", "pregos prego"),
    "cut trees": ("cortar as árvores", "árvores árvore"),
    "dig holes": ("cavar buracos", "buracos buraco"),
    "open doors": ("abrir as portas", "portas porta"),
    "sweep the floor": ("varrer o chão", "chão"),
    "write letters": ("escrever cartas", "cartas carta"),
    "sew clothes": ("costurar roupas", "roupas roupa"),
    "glass": ("vidro", "vidro"),
    "paper": ("papel", "papel"),
    "wood": ("madeira", "madeira"),
    "wool": ("lã", "lã"),
    "gold": ("ouro", "ouro"),
    "leather": ("couro", "couro"),
    "rubber": ("borracha", "borracha"),
    "wax": ("cera", "cera"),
    "stone": ("pedra", "pedra pedras"),
    "iron": ("ferro", "ferro"),
    "winter": ("no inverno", "inverno"),
    "spring": ("na primavera", "primavera"),
    "summer": ("no verão", "verão"),
    "autumn": ("no outono", "outono"),
}
EVENTS = {
    "snow falls": "a neve cai",
    "people ski": "as pessoas esquiam",
    "flowers bloom": "as flores se abrem",
    "birds return": "os pássaros voltam",
    "people swim": "as pessoas nadam no mar",
    "children play on the beach": "as crianças brincam na praia",
    "leaves fall": "as folhas caem",
    "people pick grapes": "as pessoas colhem as uvas",
}


def slots(fact: Fact) -> dict[str, str]:
    """The Portuguese words for the templates."""
    if fact.relation.startswith("list"):
        return _list_slots(fact)
    words = {}
    noun, gender = NOUNS.get(fact.subject, " ").split(" ")
    feminine = gender == "f"
    if noun:
        words["o"] = f"{'a' if feminine else 'o'} {noun}"
        words["do"] = f"d{words['o']}"
        words["um"] = f"{'uma' if feminine else 'um'} {noun}"
        words["every"], words["noun"] = "toda" if feminine else "todo", noun
        words["made"] = "feita" if feminine else "feito"
    match fact.relation:
        case "color":
            words["color"] = COLORS[fact.value][0]
        case "kind":
            words["kind"] = KINDS[fact.value][0]
        case "opposite":
            words["subject"], words["value"] = ADJECTIVES[fact.subject], ADJECTIVES[fact.value]
        case "number":
            words["parts"], gender = PART_NOUNS[PARTS[fact.subject][0]].split()
            words["value"] = NUMERALS[fact.value].split()[1 if gender == "f" else 0]
            words["how_many"] = "quantas" if gender == "f" else "quantos"
        case "season":
            words["event"], words["season"] = EVENTS[fact.subject], PHRASES[fact.value][0]
        case relation:
            words[relation] = PHRASES[fact.value][0]
    return words


def _list_slots(fact: Fact) -> dict[str, str]:
    nouns = [NOUNS[thing].split() for thing in fact.values]
    articles = [f"{'a' if gender == 'f' else 'o'} {noun}" for noun, gender in nouns]
    words = {"things": enumeration(articles, "e")}
    if fact.relation == "list_kind":
        words["plural"] = KINDS[fact.subject][1]
    else:
        # One masculine noun makes the whole list masculine.
        masculine = any(gender == "m" for _, gender in nouns)
        words["color_fp"] = COLORS[fact.subject][3]
        words["colors"] = COLORS[fact.subject][2 if masculine else 3]
    return words


def forms(relation: str, name: str) -> tuple[str, ...]:
    """The words by which the value ``name`` is recognized."""
    if relation.startswith("list"):
        noun = NOUNS[name].split()[0]
        return (noun, f"{noun}s")
    match relation:
        case "color":
            return COLORS[name]
        case "kind":
            return (KINDS[name][0].split()[0], KINDS[name][1].split()[0])
        case "opposite":
            return (ADJECTIVES[name],)
        case "number":
            return tuple(NUMERALS[name].split())
        case _:
            return tuple(PHRASES[name][1].split())


PORTUGUESE = Language(
    code="pt",
    templates=TEMPLATES,
    slots=slots,
    forms=forms,
    frames={
        "aside": "Todo mundo sabe que",
        "next_question": "Próxima pergunta:",
        "new_topic": "Mudando de assunto:",
    },
)
