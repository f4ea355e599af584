"""Conversion of Hugging Face and PEFT checkpoints to and from ``xltjax.llama.Llama``.

The names are imported when they are first used, so that the commands' ``--help`` needs no JAX.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xltjax.common import lazy_names

if TYPE_CHECKING:
    from xltjax.converters.export_hf import save_hf
    from xltjax.converters.load import load_hf
    from xltjax.converters.peft import load_peft, save_peft

__all__ = ["load_hf", "load_peft", "save_hf", "save_peft"]

__getattr__ = lazy_names(
    __name__,
    {
        "load_hf": "xltjax.converters.load",
        "load_peft": "xltjax.converters.peft",
        "save_hf": "xltjax.converters.export_hf",
        "save_peft": "xltjax.converters.peft",
    },
)
