"""``benchmarks/gpu.py`` as far as a machine without a GPU can tell: it measures, goes on, and tells the truth."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
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
    monkeypatch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=0")  # compiles in half the time
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # PyTorch, on a tiny model: threads would wait for each other
    records = run(gpu, monkeypatch, tmp_path, "--small", "--only", "train-7b-full", "--turns", "1")
    assert [(r["side"], r["state"]) for r in records] == [("ours", "ok"), ("transformers", "ok")]
    for record in records:
        assert record["measures"]["tokens/s"] > 0
        assert record["small"]
    assert records[0]["measures"]["last loss"] < records[0]["measures"]["first loss"]
    assert "tiny" in (tmp_path / "table.md").read_text().lower()


def test_a_run_goes_on_where_it_stopped_and_says_what_it_has_not_run(
    gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls: list[tuple[str, str]] = []

    def measured(name: str, side: str, is_small: bool, seconds: float) -> dict[str, Any]:
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
                for turn, rate in enumerate((9000.0, 9600.0, 9700.0))
            ),
            record("new", "train-7b-full", "transformers", 1, **{"tokens/s": 8000.0}),
            record("new", "decode-7b-64", "ours", 1, **{"tokens/s": 5000.0, "read GB/s": 3000.0}),
            record("new", "prompts-7b", "ours", 1, seconds=20.0),
            record("new", "prompts-7b", "transformers", 1, seconds=120.0),
        ]
    )
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line[:1] == "|"
    ]
    aims = "9,500: reached; 1.25 x peer: MISSED"
    assert ["train-7b-full", "tokens/s", "9,600", "8,000", "1.2", aims, "8,000"] in rows
    assert ["", "share of the measured bandwidth %", "75", "", "", "", ""] in rows
    assert ["prompts-7b", "seconds", "20", "120", "6", "5 x peer: reached", ""] in rows  # less is better


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

    from xltjax.attention.packed import portable_attention

    def leaky(q: Array, k: Array, v: Array, segment_ids: Array) -> Array:
        return portable_attention(q, k, v, jnp.ones_like(segment_ids))

    def refusing(*_: Array) -> Array:  # as cuDNN does where it does not run
        raise RuntimeError("not on this machine")

    chosen = {"portable": portable_attention, "leaky": leaky, "refusing": refusing}
    monkeypatch.setattr(kernels, "KERNELS", chosen)
    found = kernels.compare(Kernels(rows=2, length=64, heads=2, kv_heads=1, head_dim=8))
    assert found["portable: right"] == 1
    assert found["portable: across"] == 0
    assert found["leaky: right"] == 0
    assert found["leaky: across"] > 0.1
    assert found["refusing: absent"] == "RuntimeError: not on this machine"


def test_segments_become_lengths_and_starts(gpu: ModuleType) -> None:
    from gpu_cases.kernels import segment_table

    ids = np.array([[1, 1, 1, 2, 2, 0], [7, 7, 7, 7, 7, 7], [1, 2, 3, 4, 0, 0]])
    lengths, starts = segment_table(jnp.asarray(ids), 5)
    assert lengths.tolist() == [[3, 2, 1, -1, -1], [6, -1, -1, -1, -1], [1, 1, 1, 1, 2]]
    assert starts.tolist() == [[0, 3, 5, -1, -1, -1], [0, -1, -1, -1, -1, -1], [0, 1, 2, 3, 4, -1]]


def test_cudnns_packed_layout_lowers_for_cuda(gpu: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    from gpu_cases.kernels import MOST_SEGMENTS, cudnn_packed
    from jax._src.cudnn import fused_attention_stablehlo

    monkeypatch.setattr(fused_attention_stablehlo, "check_cudnn_version", lambda: 91500)
    monkeypatch.setattr(fused_attention_stablehlo, "check_compute_capability", lambda _: True)
    q = jax.ShapeDtypeStruct((2, 128, 4, 64), jnp.bfloat16)
    traced = jax.jit(cudnn_packed).trace(q, q, q, jax.ShapeDtypeStruct((2, 128), jnp.int32))
    text = traced.lower(lowering_platforms=("cuda",)).as_text()
    assert r"mask_type\22: \22PADDING_CAUSAL" in text
    assert rf"max_seg_per_batch\22: {MOST_SEGMENTS}" in text
