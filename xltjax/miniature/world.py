"""The miniature's world: things, what is true of them, and which of them tuning never mentions.

Facts carry no language: subjects and values are names that each language's grammar turns into words.
They are plain truths of everyday life, so that anyone can read the answers and judge them.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

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
"""What each thing has several of, and how many."""
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
    """One truth.

    Attributes:
        relation: what kind of truth, such as ``color``.
        subject: the thing it is about; for lists, the color or the kind shared by the things.
        values: the one right value; for lists, the three things named.
    """

    relation: str
    subject: str
    values: tuple[str, ...]

    @property
    def value(self) -> str:
        """The value of a fact that has one."""
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
"""Relation -> subject -> value, for every relation with one value."""
GROUPS = {"list_color": COLORS, "list_kind": KINDS}
"""List relation -> subject -> the things that belong to it."""


def facts(without: Iterable[str] = ()) -> tuple[Fact, ...]:
    """Every fact that does not mention a thing of ``without``, in a fixed order.

    A list is told once per run of three neighbours among its things, taken as a ring: four things
    give four answers. With fewer than three things left there is no list.
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
    """The things that tuning never mentions: at least ``share`` of every relation's subjects.

    A thing is held out of all its relations at once. Of two opposites both are held out, since
    "the opposite of hot is cold" would tell the answer for "cold".

    Args:
        seed: draws the things.
        share: of the subjects of each relation that has one value, between 0 and 1.
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
