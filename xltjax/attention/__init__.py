"""Attention over packed rows for training, over the KV cache for decoding, and cuDNN's kernel."""
