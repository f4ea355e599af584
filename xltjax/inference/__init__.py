"""Inference: prefill and decoding with a KV cache, sampling, log-probabilities and the responses file.

The modules in this folder may import ``common``, ``data`` and the model, but neither training nor a command.
"""
