"""How XLA compiles in the tests: tiny models take far longer to compile than to run."""

from __future__ import annotations

import importlib.util
import mmap
import os
from pathlib import Path

EMITTERS = "xla_cpu_use_fusion_emitters"


def quick_compiler() -> dict[str, str]:
    """The environment in which XLA compiles with few optimizations, which takes a quarter of the time.

    What is set already stays as it is: ``make test-all`` sets both variables, to compile as users do.
    """
    quick = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    if _xla_knows(EMITTERS):
        quick["XLA_FLAGS"] = f"--{EMITTERS}=false"
    return {name: os.environ.get(name, value) for name, value in quick.items()}


def _xla_knows(flag: str) -> bool:
    """Whether the installed XLA has a flag; one that it does not have would end every process."""
    found = importlib.util.find_spec("jaxlib")
    assert found is not None
    for folder in found.submodule_search_locations or ():
        for library in Path(folder).glob("libjax_common*"):
            with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return content.find(flag.encode()) >= 0
    return False
