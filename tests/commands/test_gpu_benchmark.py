"""``benchmarks/gpu.py`` as far as a machine without a GPU can tell: it measures, goes on, and tells the truth."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import jax.numpy as jnp
import pytest
from jax import Array

ROOT = Path(__file__).parents[2]


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The benchmark as a module."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import gpu

    return gpu


def run(gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, out: Path, *flags: str) -> list[dict[str, Any]]:
    """The records after ``gpu.py --out out flags``."""
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--out", str(out), *flags])
    gpu.main()
    return gpu.read_results(out / "results.jsonl")


def test_sides_are_measured_in_processes_of_their_own(
    gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "compiled"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # PyTorch, on a tiny model: threads would wait for each other
    records = run(
        gpu, monkeypatch, tmp_path, "--small", "--only", "train-7b-full", "--turns", "1", "--profile"
    )
    assert [(r["side"], r["state"]) for r in records] == [("ours", "ok"), ("transformers", "ok")]
    for record in records:
        assert record["measures"]["tokens/s"] > 0
        assert record["small"]
    assert records[0]["measures"]["last loss"] < records[0]["measures"]["first loss"]
    table = (tmp_path / "table.md").read_text()
    assert "tiny" in table.lower()
    kernels = records[0]["measures"]["kernels"]
    assert kernels[0][1] >= kernels[-1][1] > 0
    assert any("fusion" in name for name, _, _ in kernels)
    assert f"| `{kernels[0][0][:100]}` |" in table


def test_a_run_goes_on_where_it_stopped_and_says_what_it_has_not_run(
    gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls: list[tuple[str, str]] = []

    def measured(name: str, side: str, is_small: bool, seconds: float, *_: Any) -> dict[str, Any]:
        calls.append((name, side))
        if (name, side) == ("decode-7b-1", "ours") and len(calls) <= 4:
            return {"state": "failed: no memory", "measures": {}}
        return {"state": "ok", "measures": {"tokens/s": 100.0}}

    monkeypatch.setattr(gpu, "run_case", measured)
    flags = ["--only", "decode-7b-1,decode-7b-16", "--turns", "1", "--run", "one"]
    assert run(gpu, monkeypatch, tmp_path, *flags, "--budget-seconds", "10") == []  # too little for any
    run(gpu, monkeypatch, tmp_path, *flags)
    expected = [(name, side) for name in ("decode-7b-1", "decode-7b-16") for side in ("ours", "transformers")]
    assert calls == expected
    assert "- decode-7b-1, ours: failed: no memory" in (tmp_path / "table.md").read_text()
    records = run(gpu, monkeypatch, tmp_path, *flags)
    assert calls[4:] == [("decode-7b-1", "ours")]  # what failed is tried again, the rest stays
    assert [record["state"] for record in records] == ["ok"] * 4
    table = (tmp_path / "table.md").read_text()
    assert "failed" not in table
    assert "- train-7b-full, ours: not run" in table


def test_the_table_shows_medians_ratios_aims_and_the_run_before(gpu: ModuleType) -> None:
    def record(run: str, case: str, side: str, turn: int, **measures: float) -> dict[str, Any]:
        facts = {
            "state": "ok",
            "small": False,
            "command": "gpu.py",
            "revision": "abc",
            "time": "2026-01-01T00",
        }
        return {"run": run, "case": case, "side": side, "turn": turn, "measures": measures, **facts}

    table = gpu.make_table(
        [
            record("old", "train-7b-full", "ours", 1, **{"tokens/s": 8000.0}),
            record("new", "ceilings", "ours", 1, **{"copy GB/s": 4000.0}),
            *(
                record("new", "train-7b-full", "ours", turn, **{"tokens/s": rate})
                for turn, rate in enumerate((9000.0, 14600.0, 14700.0))
            ),
            record("new", "train-7b-full", "transformers", 1, **{"tokens/s": 14600.0}),
            record("new", "decode-7b-64", "ours", 1, **{"tokens/s": 5000.0, "read GB/s": 3000.0}),
            record("new", "prompts-7b", "ours", 1, seconds=20.0),
            record("new", "prompts-7b", "transformers", 1, seconds=120.0),
        ]
    )
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line[:1] == "|"
    ]
    aims = "14,000: reached; 1.15 x baseline: MISSED"
    assert ["train-7b-full", "tokens/s", "14,600", "14,600", "1", aims, "8,000"] in rows
    assert ["", "share of the measured bandwidth %", "75", "", "", "", ""] in rows
    assert ["prompts-7b", "seconds", "20", "120", "6", "5 x baseline: reached", ""] in rows  # less is better


def test_what_a_stopped_process_had_found_is_kept(
    gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    child, printed = tmp_path / "child.py", tmp_path / "printed"
    found = {"measures": {"tokens/s": 5.0}}
    child.write_text(
        "import pathlib, time\n"
        f"print('RESULT ' + '''{json.dumps(found)}''', flush=True)\n"
        f"pathlib.Path({str(printed)!r}).touch()\n"
        "time.sleep(600)\n"
    )

    class Process(subprocess.Popen[bytes]):
        """Time is up as soon as the child has printed, however slow the machine is."""

        def wait(self, timeout: float | None = None) -> int:
            if timeout == 3:
                while not printed.exists():
                    time.sleep(0.01)
                raise subprocess.TimeoutExpired(self.args, timeout)
            return super().wait(timeout)

    monkeypatch.setattr(gpu.subprocess, "Popen", Process)
    monkeypatch.setattr(gpu, "__file__", str(child))
    assert gpu.run_case("decode-7b-1", "ours", True, 3) == {"state": "stopped after 3 s", **found}
    child.write_text("raise MemoryError('too large')\n")
    assert gpu.run_case("decode-7b-1", "ours", True, 60)["state"] == "failed: MemoryError: too large"


def test_a_kernel_that_sees_other_segments_is_found_out(
    gpu: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gpu_cases import kernels
    from gpu_cases.cases import Kernels

    from xltjax.attention.portable import portable_attention

    def leaky(q: Array, k: Array, v: Array, segment_ids: Array) -> Array:
        return portable_attention(q, k, v, jnp.ones_like(segment_ids))

    def refusing(*_: Array) -> Array:  # as cuDNN does where it does not run
        raise RuntimeError("not on this machine")

    chosen = {"portable": portable_attention, "leaky": leaky, "refusing": refusing}
    monkeypatch.setattr(kernels, "kernels", lambda segments: chosen)
    found = kernels.compare(Kernels(rows=2, length=64, heads=2, kv_heads=1, head_dim=8))
    assert found["portable: right"] == 1
    assert found["portable: across"] == 0
    assert found["leaky: right"] == 0
    assert found["leaky: across"] > 0.1
    assert found["refusing: absent"] == "RuntimeError: not on this machine"


def test_little_time_is_shared_by_the_eight_that_matter(
    gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    clock = [0.0]
    limits: list[tuple[str, str, float]] = []

    def measured(name: str, side: str, is_small: bool, seconds: float, *_: Any) -> dict[str, Any]:
        limits.append((name, side, seconds))
        clock[0] += seconds if (name, side) == ("train-7b-full", "ours") else min(seconds, 40)
        return {"state": "ok", "measures": {"tokens/s": 100.0}}

    monkeypatch.setattr(gpu, "run_case", measured)
    monkeypatch.setattr(gpu.time, "monotonic", lambda: clock[0])
    run(gpu, monkeypatch, tmp_path, "--budget-seconds", "300")
    assert {name for name, _, _ in limits} == {
        "train-7b-full",
        "train-7b-lora",
        "decode-7b-1",
        "decode-7b-64",
    }
    assert len(limits) == 8
    assert limits[0][2] == 300 - 7 * 25  # though the first takes all it can get, the others have their least
    assert clock[0] <= 300


def test_the_caches_of_both_compilers_are_kept_beside_the_results(
    gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", "/elsewhere")
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    kept = gpu._caches(tmp_path)
    assert kept["TRITON_CACHE_DIR"] == "/elsewhere"
    assert kept["JAX_COMPILATION_CACHE_DIR"] == str(tmp_path / "jax")
