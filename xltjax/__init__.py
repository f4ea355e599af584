"""Zero-shot cross-lingual instruction tuning of LLaMA in JAX: train, generate, evaluate, export.

Importing the package is cheap: no module here loads JAX, so that the evaluators
(``xltjax.eval``) run on machines that have none.
"""

__version__ = "0.1.0"
