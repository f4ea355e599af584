"""The four languages of the miniature, by their ISO 639-1 code."""

from __future__ import annotations

from xltjax.miniature.english import ENGLISH
from xltjax.miniature.french import FRENCH
from xltjax.miniature.grammar import Language
from xltjax.miniature.portuguese import PORTUGUESE
from xltjax.miniature.russian import RUSSIAN

LANGUAGES: dict[str, Language] = {
    language.code: language for language in (ENGLISH, FRENCH, PORTUGUESE, RUSSIAN)
}
