"""Language codes: what users write, as the code that all parts of xltjax use, and the scripts of a language."""

from __future__ import annotations

import functools
import re

from xltjax.common.errors import UserError

# ``langcodes`` is imported in functions, so that commands that name no language start without its tables.

# Two codes of one language, of which language identifiers and dictionaries know the second.
_SAME = {"nb": "no", "fil": "tl"}

# Scripts that a language is also written in; the first one of each language is known to ``langcodes``.
_FURTHER_SCRIPTS = {
    "az": "Cyrl Arab",
    "bs": "Cyrl",
    "ckb": "Latn",
    "ha": "Arab",
    "ja": "Hani",
    "kk": "Arab Latn",
    "ku": "Arab Cyrl",
    "ky": "Arab",
    "mn": "Mong",
    "ms": "Arab",
    "pa": "Arab",
    "sd": "Deva",
    "sh": "Latn Cyrl",
    "sr": "Latn",
    "tg": "Arab",
    "tk": "Cyrl Arab",
    "tt": "Latn Arab",
    "ug": "Cyrl Latn",
    "uz": "Cyrl Arab",
}
# Codes of ISO 15924 that stand for several scripts or for a style of one.
_PARTS = {
    "Jpan": "Hani Hira Kana",
    "Kore": "Hang Hani",
    "Hans": "Hani Bopo",
    "Hant": "Hani Bopo",
}


def language_code(name: str) -> str:
    """The code of a language, without its region or script.

    It takes codes of ISO 639-1, 639-2 and 639-3 (``fr``, ``fra``, ``fre``), old ones too (``iw``), tags and
    locales (``pt-BR``, ``pt_BR.UTF-8``, ``zh-Hans-CN``), and names in English or in any large language
    (``French``, ``français``). Two tags of one language get one code: of two letters where there is one,
    ``no`` for Norwegian Bokmål (``nb``), ``tl`` for Filipino (``fil``), ``zh`` for Mandarin (``cmn``).

    Raises:
        UserError: when no such language is known.
    """
    code = find_language(name)
    if code is None:
        raise UserError(f"language {name!r} is not a code such as 'fr' (ISO 639) or a name such as 'French'")
    return code


@functools.lru_cache(maxsize=1024)
def find_language(name: str) -> str | None:
    """The code that ``language_code`` gives, or None where no such language is known."""
    import langcodes

    tag = re.split("[.@]", name.strip())[0].replace("_", "-")
    if re.fullmatch(r"[A-Za-z]{2,3}(-\w+)*", tag, re.ASCII):
        # Only the language counts: a region or a variant that does not exist does no harm.
        language = "yue" if tag.lower() == "zh-yue" else tag.split("-")[0]
        code, large = (
            langcodes.Language.get(langcodes.standardize_tag(language, macro=macro)).language or ""
            for macro in (False, True)
        )
        code = large if len(large) == 2 else code
        return _SAME.get(code, code) if langcodes.Language.make(language=code).is_valid() else None
    if not re.match(r"[^\W\d_]", name.strip()) or len(name.strip().encode()) < 4:
        return None
    try:
        found = langcodes.find(name.strip()).language
    except LookupError:
        return None
    return find_language(found) if found else None


@functools.lru_cache(maxsize=256)
def scripts(language: str) -> frozenset[str]:
    """The scripts in which ``language`` is written, as codes of ISO 15924 such as ``Cyrl``; empty if unknown.

    >>> sorted(scripts("ja")), sorted(scripts("sr"))
    (['Hani', 'Hira', 'Kana'], ['Cyrl', 'Latn'])
    """
    import langcodes

    usual = langcodes.Language.get(language).maximize().script
    if usual is None:
        return frozenset()
    return frozenset(f"{_PARTS.get(usual, usual)} {_FURTHER_SCRIPTS.get(language, '')}".split())
