"""The miniature's French."""

from __future__ import annotations

from xltjax.miniature.grammar import Language, enumeration
from xltjax.miniature.world import PARTS, Fact

TEMPLATES = {
    "color": (
        "De quelle couleur est {le} ?",
        "Quelle est la couleur {du} ?",
        "Dis-moi quelle est la couleur {du}.",
        "{le} est de couleur {color}.",
    ),
    "kind": (
        "Qu'est-ce qu'{un} ?",
        "Quel genre de chose est {un} ?",
        "Dis-moi ce qu'est {un}.",
        "{un} est une sorte {of_kind}.",
    ),
    "opposite": (
        "Quel est le contraire de {subject} ?",
        "Quel mot est le contraire de {subject} ?",
        "Dis-moi quel est le contraire de {subject}.",
        "Le contraire de {subject} est {value}.",
    ),
    "number": (
        "Combien de {parts} a {un} ?",
        "Quel est le nombre de {parts} d'{un} ?",
        "Dis-moi combien de {parts} a {un}.",
        "{un} a exactement {value} {parts}.",
    ),
    "place": (
        "Dans quel endroit vit {le} ?",
        "À quel endroit est-ce que vit {le} ?",
        "Dis-moi où vit {le}.",
        "{le} passe sa vie {place}.",
    ),
    "food": (
        "Qu'est-ce que {le} aime manger ?",
        "De quoi se nourrit {le} ?",
        "Dis-moi ce que {le} aime manger.",
        "{le} aime manger {food}.",
    ),
    "use": (
        "À quoi sert {un} ?",
        "Que fait-on avec {un} ?",
        "Explique-moi à quoi sert {un}.",
        "{un} sert à {use}.",
    ),
    "material": (
        "De quoi est {made} {un} ?",
        "En quelle matière est {made} {un} ?",
        "Dis-moi de quoi est {made} {un}.",
        "{un} est souvent {made} {material}.",
    ),
    "season": (
        "Quand est-ce que {event} ?",
        "En quelle saison est-ce que {event} ?",
        "Dis-moi en quelle saison {event}.",
        "Chaque année, {event} {season}.",
    ),
    "list_color": (
        "Cite trois choses qui sont {color_fp}.",
        "Quelles sont trois choses {color_fp} ?",
        "Donne-moi le nom de trois choses {color_fp}.",
        "{things} sont {colors}.",
    ),
    "list_kind": (
        "Cite les noms de trois {plural}.",
        "Quels sont trois {plural} que tu connais ?",
        "Donne-moi le nom de trois {plural}.",
        "{things} sont des {plural}.",
    ),
}
NOUNS = {
    # name: noun and gender
    "ant": "fourmi f", "apple": "pomme f", "banana": "banane f", "bear": "ours m", "bed": "lit m",
    "bee": "abeille f", "book": "livre m", "broom": "balai m", "cabbage": "chou m", "cactus": "cactus m",
    "camel": "chameau m", "candle": "bougie f", "car": "voiture f", "carrot": "carotte f",
    "castle": "château m", "chair": "chaise f", "cherry": "cerise f", "cloud": "nuage m", "coal": "charbon m",
    "cow": "vache f", "crocodile": "crocodile m", "cucumber": "concombre m", "drill": "perceuse f",
    "eagle": "aigle m", "flute": "flûte f", "frog": "grenouille f", "guitar": "guitare f",
    "hammer": "marteau m", "hand": "main f", "hen": "poule f", "horse": "cheval m", "key": "clé f",
    "knife": "couteau m", "leaf": "feuille f", "lemon": "citron m", "milk": "lait m", "monkey": "singe m",
    "mouse": "souris f", "nail": "clou m", "needle": "aiguille f", "ocean": "océan m", "onion": "oignon m",
    "owl": "hibou m", "panda": "panda m", "panther": "panthère f", "pear": "poire f", "pen": "stylo m",
    "piano": "piano m", "rabbit": "lapin m", "raspberry": "framboise f", "raven": "corbeau m",
    "ring": "bague f", "sapphire": "saphir m", "saw": "scie f", "sea": "mer f", "shark": "requin m",
    "shoe": "chaussure f", "shovel": "pelle f", "sky": "ciel m", "snow": "neige f", "sofa": "canapé m",
    "spider": "araignée f", "squirrel": "écureuil m", "strawberry": "fraise f", "sun": "soleil m",
    "sunflower": "tournesol m", "swan": "cygne m", "sweater": "pull m", "table": "table f", "tire": "pneu m",
    "tomato": "tomate f", "triangle": "triangle m", "violin": "violon m", "week": "semaine f",
    "whale": "baleine f", "window": "fenêtre f", "wolf": "loup m", "year": "année f",
}  # fmt: skip
COLORS = {
    # color: masculine, feminine, masculine plural, feminine plural
    "red": ("rouge", "rouge", "rouges", "rouges"),
    "yellow": ("jaune", "jaune", "jaunes", "jaunes"),
    "green": ("vert", "verte", "verts", "vertes"),
    "white": ("blanc", "blanche", "blancs", "blanches"),
    "black": ("noir", "noire", "noirs", "noires"),
    "blue": ("bleu", "bleue", "bleus", "bleues"),
}
KINDS = {
    # kind: (singular, plural)
    "fruit": ("fruit", "fruits"),
    "vegetable": ("légume", "légumes"),
    "bird": ("oiseau", "oiseaux"),
    "tool": ("outil", "outils"),
    "instrument": ("instrument de musique", "instruments de musique"),
    "furniture": ("meuble", "meubles"),
}
ADJECTIVES = {
    "hot": "chaud", "cold": "froid", "big": "grand", "small": "petit", "young": "jeune", "old": "vieux",
    "long": "long", "short": "court", "fast": "rapide", "slow": "lent", "strong": "fort", "weak": "faible",
    "clean": "propre", "dirty": "sale", "full": "plein", "empty": "vide",
}  # fmt: skip
PART_NOUNS = {
    "leg": "pattes", "wheel": "roues", "string": "cordes", "finger": "doigts", "day": "jours",
    "month": "mois", "side": "côtés",
}  # fmt: skip
NUMERALS = {
    "two": "deux 2", "three": "trois 3", "four": "quatre 4", "five": "cinq 5", "six": "six 6",
    "seven": "sept 7", "eight": "huit 8", "twelve": "douze 12",
}  # fmt: skip
PHRASES = {
    # value: (phrase of the answer, the words by which it is recognized)
    "sea": ("dans la mer", "mer mers"),
    "forest": ("dans la forêt", "forêt forêts"),
    "desert": ("dans le désert", "désert déserts"),
    "farm": ("à la ferme", "ferme fermes"),
    "river": ("dans la rivière", "rivière rivières"),
    "pond": ("dans l'étang", "étang étangs"),
    "jungle": ("dans la jungle", "jungle jungles"),
    "hive": ("dans la ruche", "ruche ruches"),
    "grass": ("de l'herbe", "herbe herbes"),
    "carrots": ("des carottes", "carottes carotte"),
    "cheese": ("du fromage", "fromage fromages"),
    "honey": ("du miel", "miel"),
    "bamboo": ("du bambou", "bambou bambous"),
    "nuts": ("des noisettes", "noisettes noisette noix"),
    "hay": ("du foin", "foin"),
    "insects": ("des insectes", "insectes insecte"),
    "cut bread": ("couper le pain", "pain"),
    "drive nails": ("planter des clous", "clous clou"),
    "cut trees": ("couper les arbres", "arbres arbre"),
    "dig holes": ("creuser des trous", "trous trou"),
    "open doors": ("ouvrir les portes", "portes porte"),
    "sweep the floor": ("balayer le sol", "sol sols"),
    "write letters": ("écrire des lettres", "lettres lettre"),
    "sew clothes": ("coudre des vêtements", "vêtements vêtement"),
    "glass": ("de verre", "verre"),
    "paper": ("de papier", "papier"),
    "wood": ("de bois", "bois"),
    "wool": ("de laine", "laine"),
    "gold": ("d'or", "or"),
    "leather": ("de cuir", "cuir"),
    "rubber": ("de caoutchouc", "caoutchouc"),
    "wax": ("de cire", "cire"),
    "stone": ("de pierre", "pierre pierres"),
    "iron": ("de fer", "fer"),
    "winter": ("en hiver", "hiver"),
    "spring": ("au printemps", "printemps"),
    "summer": ("en été", "été"),
    "autumn": ("en automne", "automne"),
}
EVENTS = {
    "snow falls": "la neige tombe",
    "people ski": "les gens font du ski",
    "flowers bloom": "les fleurs s'ouvrent",
    "birds return": "les oiseaux reviennent",
    "people swim": "les gens nagent dans la mer",
    "children play on the beach": "les enfants jouent sur la plage",
    "leaves fall": "les feuilles tombent",
    "people pick grapes": "les gens cueillent le raisin",
}


def elided(word: str, following: str) -> str:
    """The two words; before a vowel, the first loses its final vowel ("l'océan", "qu'une")."""
    return f"{word[:-1]}'{following}" if following[0] in "aeiouéèêâ" else f"{word} {following}"


def slots(fact: Fact) -> dict[str, str]:
    """The French words for the templates."""
    if fact.relation.startswith("list"):
        return _list_slots(fact)
    words = {}
    noun, gender = NOUNS.get(fact.subject, " ").split(" ")
    feminine = gender == "f"
    if noun:
        words["le"] = elided("la" if feminine else "le", noun)
        contracted = feminine or words["le"].startswith("l'")
        words["du"] = f"de {words['le']}" if contracted else f"du {noun}"
        words["un"] = f"{'une' if feminine else 'un'} {noun}"
        words["made"] = "faite" if feminine else "fait"
    match fact.relation:
        case "color":
            words["color"] = COLORS[fact.value][1]
        case "kind":
            words["of_kind"] = elided("de", KINDS[fact.value][0])
        case "opposite":
            words["subject"], words["value"] = ADJECTIVES[fact.subject], ADJECTIVES[fact.value]
        case "number":
            words["parts"] = PART_NOUNS[PARTS[fact.subject][0]]
            words["value"] = NUMERALS[fact.value].split()[0]
        case "season":
            words["event"], words["season"] = EVENTS[fact.subject], PHRASES[fact.value][0]
        case relation:
            words[relation] = PHRASES[fact.value][0]
    return words


def _list_slots(fact: Fact) -> dict[str, str]:
    nouns = [NOUNS[thing].split() for thing in fact.values]
    articles = [elided("la" if gender == "f" else "le", noun) for noun, gender in nouns]
    words = {"things": enumeration(articles, "et")}
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
        return (noun, f"{noun}s", f"{noun}x")
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


def join(opening: str, sentence: str) -> str:
    """The opening and then the sentence; "que" loses its vowel before another vowel."""
    return elided(opening, sentence) if opening.endswith("que") else f"{opening} {sentence}"


FRENCH = Language(
    code="fr",
    templates=TEMPLATES,
    slots=slots,
    forms=forms,
    frames={
        "aside": "Tout le monde sait que",
        "next_question": "Question suivante :",
        "new_topic": "Parlons d'autre chose :",
    },
    join=join,
)
