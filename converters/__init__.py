"""Hugging Face and PEFT checkpoints to and from ``xltjax.llama.Llama``."""

from xltjax.converters.export_hf import save_hf
from xltjax.converters.load import load_hf

__all__ = ["load_hf", "save_hf"]
