"""Conversion of Hugging Face and PEFT checkpoints to and from ``xltjax.llama.Llama``."""

from xltjax.converters.export_hf import save_hf
from xltjax.converters.load import load_hf
from xltjax.converters.peft import load_peft, save_peft

__all__ = ["load_hf", "load_peft", "save_hf", "save_peft"]
