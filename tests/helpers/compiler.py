"""How XLA compiles in the tests: tiny models take far longer to compile than to run."""

from __future__ import annotations

import importlib.util
import mmap
import os
from pathlib import Path

EMITTERS = "xla_cpu_use_fusion_emitters"


def compile_quickly() -> None:
    """Have this process and those that it starts compile with few optimizations, which takes a quarter of the time.

    What the environment says already is left as it is: ``make test-all`` sets both to compile as users do.
    """
    os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    if "XLA_FLAGS" not in os.environ and _xla_knows(EMITTERS):
        os.environ["XLA_FLAGS"] = f"--{EMITTERS}=false"


def _xla_knows(flag: str) -> bool:
    """Whether the installed XLA has a flag; one that it does not have would end every process."""
    found = importlib.util.find_spec("jaxlib")
    assert found is not None
    for folder in found.submodule_search_locations or ():
        for library in Path(folder).glob("libjax_common*"):
            with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return content.find(flag.encode()) >= 0
    return False
