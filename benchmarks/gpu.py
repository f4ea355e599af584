"""Speed and memory on one GPU, ours beside transformers on PyTorch: every case in a process of its own.

    python benchmarks/gpu.py [--only NAME,...] [--budget-seconds S] [--out DIR]      on a GPU
    python benchmarks/gpu.py --budget-seconds 300         the eight that matter most
    python benchmarks/gpu.py --small                      anywhere, tiny shapes

A budget below ten minutes is shared by training, in full and with LoRA, and decoding of 1 and of 64 answers, both
sides, once each; a case that has no time left keeps what it has measured. Compiled programs and tuned kernels of both
sides are kept in DIR/caches, which makes the next run quicker. --profile adds the kernels that take the most time.

Sides take turns (ours, baseline, ours, baseline); the table shows medians and ratios. Each result is added to
DIR/results.jsonl at once and DIR/table.md is made again from it. A run is named by --run, today's date by
default: the same command continues where it stopped, and earlier runs stay, as the table's last column.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from gpu_cases.cases import CASES, OURS, QUICK, Case, small
from gpu_cases.table import make_table

Record = dict[str, Any]
QUICK_SECONDS = 600  # a budget below this is for ``QUICK`` alone
MARK = "RESULT "  # begins a line of a child's output; the last one counts
DONE = ("ok", "absent")  # states that are not tried again


def main() -> None:
    """Run what the budget allows, then print the table."""
    arguments = _arguments()
    if arguments.child:
        _child(arguments.child, arguments.side, arguments.small, arguments.profile)
        return
    quick = arguments.budget_seconds < QUICK_SECONDS
    names = arguments.only.split(",") if arguments.only else list(QUICK if quick else CASES)
    unknown = [name for name in names if name not in CASES]
    if unknown:
        sys.exit(f"error: no case is called {', '.join(unknown)}; there are {', '.join(CASES)}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    results = arguments.out / "results.jsonl"
    run = ("small " if arguments.small else "") + arguments.run
    end = time.monotonic() + arguments.budget_seconds
    caches = arguments.out.absolute() / "caches"
    planned = list(_planned(names, arguments.turns or (1 if quick else 2)))
    for index, (name, side, turn) in enumerate(planned):
        key = {"run": run, "case": name, "side": side, "turn": turn}
        if any(key.items() <= r.items() and r["state"].startswith(DONE) for r in read_results(results)):
            continue
        left = end - time.monotonic()
        if left < CASES[name].least_seconds:
            print(f"{name}, {side}, turn {turn}: not run, {max(left, 0):.0f} s are left", flush=True)
            continue
        began = time.monotonic()
        # What comes later gets its least, as long as this one gets its own.
        later = sum(CASES[each].least_seconds for each, _, _ in planned[index + 1 :])
        limit = min(3 * CASES[name].seconds, max(left - later, CASES[name].least_seconds))
        found = run_case(name, side, arguments.small, limit, arguments.profile, caches)
        facts = {
            "small": arguments.small,
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "revision": _revision(),
        }
        command = " ".join(["python", *sys.argv])
        spent = {"process s": round(time.monotonic() - began, 1)}
        with results.open("a", encoding="utf-8") as file:
            file.write(json.dumps({**key, **found, **spent, **facts, "command": command}) + "\n")
        print(f"{name}, {side}, turn {turn}: {found['state']}, {spent['process s']} s", flush=True)
        (arguments.out / "table.md").write_text(make_table(read_results(results)), encoding="utf-8")
    if results.exists():
        print(make_table(read_results(results)))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", default="", help="names of cases, separated by commas; all by default")
    parser.add_argument(
        "--turns", type=int, default=0, help="turns of each side; 2, or 1 with a small budget, by default"
    )
    parser.add_argument(
        "--profile", action="store_true", help="also name the kernels that take the most time"
    )
    parser.add_argument(
        "--budget-seconds", type=float, default=3600.0, help="no case begins that may not end in it"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("benchmarks/results"), help="folder of results and table"
    )
    parser.add_argument("--run", default=datetime.now(UTC).date().isoformat(), help="name of the run")
    parser.add_argument("--small", action="store_true", help="tiny shapes, for trying it without a GPU")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    return parser.parse_args()


def _planned(names: list[str], turns: int) -> Iterator[tuple[str, str, int]]:
    """Every case once, sides in turn, before any case a second time."""
    for turn in range(1, turns + 1):
        for name in names:
            for side in CASES[name].sides:
                yield name, side, turn


def read_results(path: Path) -> list[Record]:
    """The records of a results file; of one measurement the last."""
    records: dict[tuple[str, ...], Record] = {}
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for line in lines:
        record = json.loads(line)
        key = tuple(str(record[name]) for name in ("run", "case", "side", "turn"))
        records.pop(key, None)
        records[key] = record
    return list(records.values())


def _caches(folder: Path) -> dict[str, str]:
    """The environment in which compilers of both sides keep what they have made; what the user has set stays.

    JAX keeps the choices of XLA's autotuner beside its programs.
    """
    kept = {
        "JAX_COMPILATION_CACHE_DIR": "jax", "TORCHINDUCTOR_CACHE_DIR": "inductor", "TRITON_CACHE_DIR": "triton",
    }  # fmt: skip
    return {name: os.environ.get(name, str(folder / place)) for name, place in kept.items()}


def run_case(
    name: str, side: str, is_small: bool, seconds: float, profile: bool = False, caches: Path | None = None
) -> Record:
    """One measurement in a process of its own: its ``state`` and ``measures``, and what it ran on."""
    flags = [*(["--small"] if is_small else []), *(["--profile"] if profile else [])]
    command = [sys.executable, __file__, "--child", name, "--side", side, *flags]
    environment = {
        **os.environ, **(_caches(caches) if caches else {}), "HF_HUB_OFFLINE": "1",
        "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.95", "JAX_TRACEBACK_FILTERING": "off",
        "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
    }  # fmt: skip
    with tempfile.TemporaryFile("w+", encoding="utf-8") as out, tempfile.TemporaryFile("w+") as errors:
        # A process group of its own, so that a stop reaches the compilers it has started.
        process = subprocess.Popen(
            command, env=environment, stdout=out, stderr=errors, start_new_session=True
        )
        try:
            process.wait(seconds)
            state = "ok"
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            state = f"stopped after {seconds:.0f} s"
        out.seek(0)
        errors.seek(0)
        results = [line.removeprefix(MARK) for line in out.read().splitlines() if line.startswith(MARK)]
        said = errors.read().strip().splitlines()
    found: Record = {"state": state, "measures": {}, **(json.loads(results[-1]) if results else {})}
    if state == "ok" and process.returncode:
        found["state"] = f"failed: {said[-1][:300] if said else process.returncode}"
        print("\n".join(said[-15:]), file=sys.stderr)
    return found


def _child(name: str, side: str, is_small: bool, profile: bool) -> None:
    """Measure one side of one case; print what is found as it is found."""
    case: Case = small(CASES[name]) if is_small else CASES[name]
    try:
        module = import_module(f"gpu_cases.{'ours' if side == OURS else 'baseline'}")
    except ImportError as error:
        if side == OURS:
            raise
        print(MARK + json.dumps({"state": f"absent: {error}"}))
        return
    facts = module.environment()
    if not is_small and "cpu" in facts["device"].lower():
        print(MARK + json.dumps({"state": "absent: no GPU is seen", **facts}))
        return
    scratch = Path(tempfile.gettempdir()) / f"xltjax-gpu-{os.getuid()}"
    for measures in module.measure(case, scratch, profile=profile):
        print(MARK + json.dumps({"measures": measures, **facts}), flush=True)


def _revision() -> str:
    """The checkout's revision, and whether files differ from it."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


if __name__ == "__main__":
    main()
