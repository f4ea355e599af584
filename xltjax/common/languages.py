"""Language codes: what users write, as the ISO 639 code that all parts of xltjax use."""

from __future__ import annotations

import re

from xltjax.common.errors import UserError


def language_code(name: str) -> str:
    """The ISO 639 code of a language, without its region: ``pt`` for ``pt-BR``, ``pt_PT`` and ``PT``.

    Raises:
        UserError: when ``name`` does not begin with a code of two or three letters.
    """
    match = re.fullmatch(r"([a-z]{2,3})(?:[-_]\w+)*", name.strip().lower(), re.ASCII)
    if match is None:
        raise UserError(f"language {name!r} is not a code such as 'fr' (ISO 639-1)")
    return match[1]
