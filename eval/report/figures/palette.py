"""Colors that color-blind readers can tell apart; each language and each configuration has one in all figures.

The colors of languages are those of Okabe and Ito (2008), the colors of configurations those of Paul Tol's "muted"
scheme. Markers and dashes differ too, so that nothing depends on color alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

# Fixed for the languages of the paper and a few more, so that reports of different studies look alike.
_LANGUAGES = {
    "en": "#0072B2", "fr": "#D55E00", "pt": "#009E73", "ru": "#CC79A7", "de": "#B8860B", "es": "#56B4E9",
}  # fmt: skip
_FURTHER = ("#7F7F7F", "#882255", "#117733", "#332288", "#AA4499", "#999933", "#6699CC", "#661100")
_CONFIGURATIONS = (
    "#332288", "#CC6677", "#117733", "#B08D00", "#5AA9D6", "#882255", "#2F8F83", "#777722", "#AA4499",
)  # fmt: skip
_MARKERS = "osD^vPX*<>"
DASHES = ("-", "--", "-.", ":")


class Look(NamedTuple):
    """How one series is drawn."""

    color: str
    marker: str
    dashes: str


def language_looks(languages: Iterable[str]) -> dict[str, Look]:
    """The look of each language. The colors of languages that are not known beforehand follow their order."""
    looks: dict[str, Look] = {}
    free = 0
    for number, language in enumerate(languages):
        color = _LANGUAGES.get(language)
        if color is None:
            color = _FURTHER[free % len(_FURTHER)]
            free += 1
        looks[language] = Look(color, _MARKERS[number % len(_MARKERS)], DASHES[0])
    return looks


def configuration_looks(configurations: Sequence[str]) -> dict[str, Look]:
    """The look of each configuration; after nine of them the colors come again with other markers and dashes."""
    count = len(_CONFIGURATIONS)
    return {
        name: Look(
            _CONFIGURATIONS[number % count],
            _MARKERS[(number // count) % len(_MARKERS)],
            DASHES[(number // count) % len(DASHES)],
        )
        for number, name in enumerate(configurations)
    }


# Causes of words that a dictionary does not accept, and states: used in stacked bars.
KINDS = {"accepted": "#88CCEE", "name": "#DDCC77", "foreign": "#CC6677", "nonword": "#332288"}
EMPHASIS, MUTED = "#222222", "#8A8A8A"
