"""The miniature's world: things, the facts about them, and the things that tuning never mentions.

Facts do not belong to a language: subjects and values are names, which the grammar of each language turns into
words. They are everyday facts, so that anyone can judge the answers.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

SEED = 0  # of the world that is shipped

COLORS = {
    "red": ("strawberry", "tomato", "cherry", "raspberry"),
    "yellow": ("banana", "lemon", "sun", "sunflower"),
    "green": ("cucumber", "frog", "leaf", "cactus"),
    "white": ("snow", "milk", "swan", "cloud"),
    "black": ("raven", "coal", "panther", "tire"),
    "blue": ("sky", "sea", "ocean", "sapphire"),
}
KINDS = {
    "fruit": ("apple", "banana", "lemon", "pear"),
    "vegetable": ("carrot", "cucumber", "onion", "cabbage"),
    "bird": ("swan", "raven", "owl", "eagle"),
    "tool": ("hammer", "saw", "shovel", "drill"),
    "instrument": ("guitar", "violin", "piano", "flute"),
    "furniture": ("chair", "table", "bed", "sofa"),
}
OPPOSITES = (
    ("hot", "cold"),
    ("big", "small"),
    ("young", "old"),
    ("long", "short"),
    ("fast", "slow"),
    ("strong", "weak"),
    ("clean", "dirty"),
    ("full", "empty"),
)
PARTS = {
    "spider": ("leg", "eight"),
    "cow": ("leg", "four"),
    "hen": ("leg", "two"),
    "ant": ("leg", "six"),
    "car": ("wheel", "four"),
    "guitar": ("string", "six"),
    "hand": ("finger", "five"),
    "week": ("day", "seven"),
    "year": ("month", "twelve"),
    "triangle": ("side", "three"),
}
"""The parts that each thing has, and their number."""
PLACES = {
    "whale": "sea",
    "shark": "sea",
    "bear": "forest",
    "wolf": "forest",
    "camel": "desert",
    "cow": "farm",
    "crocodile": "river",
    "frog": "pond",
    "monkey": "jungle",
    "bee": "hive",
}
FOODS = {
    "cow": "grass",
    "rabbit": "carrots",
    "mouse": "cheese",
    "bear": "honey",
    "panda": "bamboo",
    "squirrel": "nuts",
    "horse": "hay",
    "frog": "insects",
}
USES = {
    "knife": "cut bread",
    "hammer": "drive nails",
    "saw": "cut trees",
    "shovel": "dig holes",
    "key": "open doors",
    "broom": "sweep the floor",
    "pen": "write letters",
    "needle": "sew clothes",
}
MATERIALS = {
    "window": "glass",
    "book": "paper",
    "table": "wood",
    "sweater": "wool",
    "ring": "gold",
    "shoe": "leather",
    "tire": "rubber",
    "candle": "wax",
    "castle": "stone",
    "nail": "iron",
}
SEASONS = {
    "snow falls": "winter",
    "people ski": "winter",
    "flowers bloom": "spring",
    "birds return": "spring",
    "people swim": "summer",
    "children play on the beach": "summer",
    "leaves fall": "autumn",
    "people pick grapes": "autumn",
}


@dataclass(frozen=True)
class Fact:
    """One fact.

    Attributes:
        relation: the kind of fact, such as ``color``.
        subject: the thing that the fact is about; for a list, the color or the kind that its things share.
        values: the right value alone; for a list, the three things that it names.
    """

    relation: str
    subject: str
    values: tuple[str, ...]

    @property
    def value(self) -> str:
        """The value of a fact that has exactly one."""
        (value,) = self.values
        return value


def _members(table: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    return {thing: group for group, things in table.items() for thing in things}


VALUES: dict[str, dict[str, str]] = {
    "color": _members(COLORS),
    "kind": _members(KINDS),
    "opposite": {a: b for pair in OPPOSITES for a, b in (pair, pair[::-1])},
    "number": {thing: number for thing, (_, number) in PARTS.items()},
    "place": PLACES,
    "food": FOODS,
    "use": USES,
    "material": MATERIALS,
    "season": SEASONS,
}
"""The value for each relation and subject, for the relations that have a single value."""
GROUPS = {"list_color": COLORS, "list_kind": KINDS}
"""The things that belong to each subject, for each relation that is a list."""


def facts(without: Iterable[str] = ()) -> tuple[Fact, ...]:
    """Every fact that does not mention a thing in ``without``, in a fixed order.

    There is a list for every three neighbors among its things when these are arranged in a circle: four things give
    four lists. With fewer than three things left there is no list.
    """
    hidden = frozenset(without)
    told = [
        Fact(relation, subject, (value,))
        for relation, table in VALUES.items()
        for subject, value in table.items()
        if not hidden & {subject, value}
    ]
    for relation, groups in GROUPS.items():
        for subject, things in groups.items():
            left = [thing for thing in things if thing not in hidden]
            told.extend(
                Fact(relation, subject, tuple(left[(start + step) % len(left)] for step in range(3)))
                for start in range(len(left) if len(left) > 3 else len(left) // 3)
            )
    return tuple(told)


def held_out(seed: int, share: float = 0.25) -> frozenset[str]:
    """The things that tuning never mentions: at least ``share`` of the subjects of every relation.

    A thing is held out of all its relations at once. Opposites are held out in pairs, since "the opposite of hot is
    cold" would give away the opposite of "cold".

    Args:
        seed: the seed of the draw.
        share: the share of the subjects of each relation with a single value, between 0 and 1.
    """
    rng = random.Random(f"held out {seed}")
    hidden: set[str] = set()
    for relation, table in VALUES.items():
        subjects = sorted(table)
        rng.shuffle(subjects)
        wanted = share * len(subjects)
        for subject in subjects:
            if len(hidden & table.keys()) >= wanted:
                break
            hidden |= {subject, table[subject]} if relation == "opposite" else {subject}
    return frozenset(hidden)
