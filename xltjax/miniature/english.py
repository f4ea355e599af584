"""The miniature's English (United States)."""

from __future__ import annotations

from xltjax.miniature.grammar import Language, enumeration
from xltjax.miniature.world import PARTS, Fact

TEMPLATES = {
    "color": (
        "What color is {the}?",
        "What is the color of {the}?",
        "Please tell me the color of {the}.",
        "The color of {the} is {value}.",
    ),
    "kind": (
        "What is {a}?",
        "What kind of thing is {a}?",
        "Please tell me what {a} is.",
        "Every {subject} is a kind of {kind}.",
    ),
    "opposite": (
        "What is the opposite of {subject}?",
        "Which word means the opposite of {subject}?",
        "Please tell me the opposite of {subject}.",
        "The opposite of {subject} is {value}.",
    ),
    "number": (
        "How many {parts} does {a} have?",
        "What is the number of {parts} of {a}?",
        "Please tell me how many {parts} {a} has.",
        "{a} has exactly {value} {parts}.",
    ),
    "place": (
        "Where does {the} live?",
        "In what place does {the} live?",
        "Please tell me where {the} lives.",
        "{the} lives {place}.",
    ),
    "food": (
        "What does {the} like to eat?",
        "What food does {the} like?",
        "Please tell me what {the} likes to eat.",
        "{the} likes to eat {value}.",
    ),
    "use": (
        "What is {a} used for?",
        "What do people do with {a}?",
        "Please explain what {a} is used for.",
        "{a} is used to {value}.",
    ),
    "material": (
        "What is {a} made of?",
        "What material is {a} made of?",
        "Please tell me what {a} is made of.",
        "{a} is usually made of {value}.",
    ),
    "season": (
        "When {do} {who} {act}?",
        "In which season {do} {who} {act}?",
        "Please tell me in which season {who} {acts}.",
        "Every year, {who} {acts} in {value}.",
    ),
    "list_color": (
        "Name three things that are {subject}.",
        "Which three things are {subject}?",
        "Please list three {subject} things.",
        "{things} are {subject}.",
    ),
    "list_kind": (
        "Name three {plural}.",
        "Which three {plural} do you know?",
        "Please list three {plural}.",
        "{things} are {plural}.",
    ),
}
PLURALS = {"leaf": "leaves", "tomato": "tomatoes"}
MASS_NOUNS = {"snow", "milk", "coal"}
KINDS = {
    # kind: (what follows "a kind of", plural)
    "fruit": ("fruit", "fruits"),
    "vegetable": ("vegetable", "vegetables"),
    "bird": ("bird", "birds"),
    "tool": ("tool", "tools"),
    "instrument": ("musical instrument", "musical instruments"),
    "furniture": ("furniture", "pieces of furniture"),
}
PLACES = {
    "sea": "in the sea",
    "forest": "in the forest",
    "desert": "in the desert",
    "farm": "on the farm",
    "river": "in the river",
    "pond": "in the pond",
    "jungle": "in the jungle",
    "hive": "in the hive",
}
SEASONS = {
    # event: (who, does what after "do" or "does", does what)
    "snow falls": ("snow", "fall", "falls"),
    "people ski": ("people", "ski", "ski"),
    "flowers bloom": ("flowers", "bloom", "bloom"),
    "birds return": ("the birds", "come back", "come back"),
    "people swim": ("people", "swim in the sea", "swim in the sea"),
    "children play on the beach": ("children", "play on the beach", "play on the beach"),
    "leaves fall": ("the leaves", "fall", "fall"),
    "people pick grapes": ("people", "pick grapes", "pick grapes"),
}
NUMERALS = {
    "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8", "twelve": "12",
}  # fmt: skip
FORMS = {
    # values that are recognized by other words than their name
    "instrument": ("instrument", "instruments"),
    "furniture": ("furniture",),
    "carrots": ("carrots", "carrot"),
    "nuts": ("nuts", "nut"),
    "insects": ("insects", "insect"),
    "cut bread": ("bread",),
    "drive nails": ("nails", "nail"),
    "cut trees": ("trees", "tree"),
    "dig holes": ("holes", "hole"),
    "open doors": ("doors", "door"),
    "sweep the floor": ("floor", "floors"),
    "write letters": ("letters", "letter"),
    "sew clothes": ("clothes",),
}


def a(noun: str) -> str:
    """The noun with its indefinite article."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def the(noun: str) -> str:
    """The noun with its definite article; a mass noun in general, such as "snow", takes none."""
    return noun if noun in MASS_NOUNS else f"the {noun}"


def plural(noun: str) -> str:
    """The plural of the noun."""
    if noun in PLURALS:
        return PLURALS[noun]
    if noun[-1] == "y" and noun[-2] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}es" if noun.endswith(("s", "ch")) else f"{noun}s"


def slots(fact: Fact) -> dict[str, str]:
    """The English words for the templates."""
    subject = fact.subject
    if fact.relation.startswith("list"):
        things = enumeration([the(thing) for thing in fact.values], "and")
        return {"subject": subject, "things": things, "plural": KINDS.get(subject, ("", ""))[1]}
    words = {"subject": subject, "value": fact.value, "a": a(subject), "the": the(subject)}
    match fact.relation:
        case "kind":
            words["kind"] = KINDS[fact.value][0]
        case "number":
            words["parts"] = PARTS[subject][0] + "s"
        case "place":
            words["place"] = PLACES[fact.value]
        case "season":
            words["who"], words["act"], words["acts"] = SEASONS[subject]
            words["do"] = "do" if words["act"] == words["acts"] else "does"
    return words


def forms(relation: str, name: str) -> tuple[str, ...]:
    """The words by which the value ``name`` is recognized."""
    if relation.startswith("list"):
        return (name, plural(name))
    if relation == "number":
        return (name, NUMERALS[name])
    if relation == "kind" and name not in FORMS:
        return (name, f"{name}s")
    return FORMS.get(name, (name,))


ENGLISH = Language(
    code="en",
    templates=TEMPLATES,
    slots=slots,
    forms=forms,
    frames={
        "aside": "Everyone knows that",
        "next_question": "Next question:",
        "new_topic": "Now something else:",
    },
)
