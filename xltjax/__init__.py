"""Zero-shot cross-lingual instruction tuning of LLaMA in JAX: train, generate, evaluate, export.

From Python::

    model = xltjax.load("meta-llama/Llama-2-7b-hf")          # or a run, or a directory
    answers = model.generate(["Ciao, come stai?"], max_new_tokens=64)
    run = xltjax.fit(model="meta-llama/Llama-2-7b-hf", data="mine.jsonl", out="runs/mine", learning_rate=1e-5)
    scores = xltjax.evaluate("responses.jsonl", ["language_correct", "spelling"])

``docs/python.md`` has more. Importing the package is cheap: these names are imported when they are first used.
The evaluators (``xltjax.eval``) run on machines without JAX.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from xltjax.common import lazy_names
from xltjax.common.errors import UserError
from xltjax.common.signals import exit_when_interrupted

if TYPE_CHECKING:
    from xltjax.api import Model, fit, load
    from xltjax.eval.api import evaluate

__version__ = "0.1.0"
__all__ = ["Model", "UserError", "__version__", "evaluate", "fit", "load"]

__getattr__ = lazy_names(
    __name__,
    {"Model": "xltjax.api", "fit": "xltjax.api", "load": "xltjax.api", "evaluate": "xltjax.eval.api"},
)

# Python imports the package for ``python -m xltjax.COMMAND`` before it replaces ``-m`` by the command's file.
if sys.argv[:1] == ["-m"]:
    exit_when_interrupted()


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
