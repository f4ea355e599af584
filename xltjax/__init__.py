"""Zero-shot cross-lingual instruction tuning of LLaMA in JAX: train, generate, evaluate, export.

Importing the package is cheap: no module here loads JAX, so that the evaluators
(``xltjax.eval``) run on machines that have none.
"""

import sys

from xltjax.common.signals import exit_when_interrupted

__version__ = "0.1.0"

# Python imports the package for ``python -m xltjax.COMMAND`` before it replaces ``-m`` by the command's file.
if sys.argv[:1] == ["-m"]:
    exit_when_interrupted()
