"""Comparisons of models, from their scores alone."""
