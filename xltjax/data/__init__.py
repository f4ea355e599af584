"""From files to model input: formats of instruction data, chat templates, tokenizers, packing and prompt sets.

The modules in this folder import only ``xltjax.common`` and each other.
"""
