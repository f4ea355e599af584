"""Language codes."""

from __future__ import annotations

import re

from xltjax.common.errors import UserError


def language_code(name: str) -> str:
    """The ISO 639 code of ``name``, without region: ``pt-BR``, ``pt_PT`` and ``PT`` are ``pt``.

    Raises:
        UserError: when ``name`` is not a code of two or three letters.
    """
    match = re.fullmatch(r"([a-z]{2,3})(?:[-_]\w+)*", name.strip().lower(), re.ASCII)
    if match is None:
        raise UserError(f"language {name!r} is not a code such as 'fr' (ISO 639-1)")
    return match[1]
