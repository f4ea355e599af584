"""Judges: language models that score responses by a rubric, and how far they can be trusted."""
