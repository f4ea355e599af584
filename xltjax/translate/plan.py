"""``--plan``: how many segments and tokens there are, and how long engines take for them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from rich import box
from rich.table import Table

from xltjax.eval.table_files import table_console

# Translated tokens per second of one core, times billions of parameters, with beam 4: measured with NLLB's shape of
# 600M parameters on two idle cores (benchmarks/translate.py).
CT2_A_CORE = 20.0
HF_A_CORE = 5.8
# An estimate: NLLB-3.3B in float16 on an H100.
CT2_A_GPU = 9000.0
SERVER = 1000.0  # tokens per second that a server is assumed to give; it depends on the model and the server
NLLB_3_3B = 3.3e9


@dataclass(frozen=True)
class Load:
    """The work on one language.

    Attributes:
        segments: different ones.
        tokens: of them.
        done: tokens of those that are in the journal.
    """

    segments: int
    tokens: int
    done: int


def print_plan(loads: Mapping[str, Load], parameters: float | None, repeated: int) -> None:
    """Print the work on each language, and the hours that engines need for what is not done.

    Args:
        loads: the work by language.
        parameters: of the engine's model; those of NLLB-200-3.3B when they are not known.
        repeated: segments that occur more than once and are translated once, counted each further time.
    """
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("lang", "segments", "tokens", "tokens done"):
        table.add_column(name, justify="left" if name == "lang" else "right")
    for language, load in loads.items():
        table.add_row(language, f"{load.segments:,}", f"{load.tokens:,}", f"{load.done:,}")
    console = table_console(120)
    console.print(table)
    print(f"{repeated:,} segments are repetitions, which are not translated again")
    left = sum(load.tokens - load.done for load in loads.values())
    billions = (parameters or NLLB_3_3B) / 1e9
    cores = len(os.sched_getaffinity(0))
    speeds = {
        f"ct2, int8, {cores} cores (as here)": CT2_A_CORE * cores / billions,
        "ct2, float16, one H100 (estimate)": CT2_A_GPU / billions,
        f"hf, float32, {cores} cores (as here)": HF_A_CORE * cores / billions,
        f"openai, at {SERVER:,.0f} tokens/s (the server decides)": SERVER,
    }
    hours = Table(
        title=f"{left:,} tokens left, a model of {billions:.1f} billion",
        title_justify="left",
        box=box.SIMPLE_HEAD,
    )
    hours.add_column("engine")
    hours.add_column("tokens/s", justify="right")
    hours.add_column("hours", justify="right")
    for name, speed in speeds.items():
        hours.add_row(name, f"{speed:,.0f}", f"{left / speed / 3600:,.1f}")
    console.print(hours)
