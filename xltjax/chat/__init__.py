"""A conversation with a model as a command: ``python -m xltjax.chat``."""
