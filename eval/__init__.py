"""Evaluators of the responses of any model: files in, files out, and no JAX at import.

Each metric is a pure function of one response, ``scores`` defines what every evaluator writes, and each command
is a module (``surface``, ``relevance``, ``modifiers``, ``judge``, ``comparison``, ``agreement``, ``sets_command``).
"""
