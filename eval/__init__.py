"""Evaluators of responses from any model: files in, files out, and never JAX at import.

``responses`` reads what models said, ``scores`` is what every evaluator writes; each metric is a pure
function of one response.
"""
