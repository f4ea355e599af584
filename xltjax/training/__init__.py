"""Training: its settings, the loss, the optimizer, one update, validation, metrics and the run directory.

The modules in this folder may import ``common``, ``data``, the model and ``inference``, but
neither ``converters`` nor a command.
"""
