"""Weights are told apart by contents, not by where they lie."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from xltjax.common import fingerprint as module
from xltjax.common.fingerprint import fingerprint


@pytest.mark.parametrize("whole", [1 << 26, 1 << 10])
def test_a_copy_is_the_same_and_trained_weights_are_not(
    whole: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.numpy import save_file

    monkeypatch.setattr(module, "WHOLE", whole)  # so that a small file is sampled like a large one
    monkeypatch.setattr(module, "STRIDE", 1 << 14)
    weights = np.random.default_rng(0).normal(size=(64, 1000)).astype(np.float32)
    base, copy, trained = (tmp_path / name for name in ("base", "copy", "trained"))
    base.mkdir()
    (base / "config.json").write_text("{}")
    save_file({"w": weights}, base / "model.safetensors")
    shutil.copytree(base, copy)
    shutil.copytree(base, trained)
    save_file({"w": weights * np.float32(1.0001)}, trained / "model.safetensors")
    assert fingerprint(base) == fingerprint(copy) != fingerprint(trained)
    (copy / "config.json").write_text('{"rope_theta": 1e6}')
    assert fingerprint(base) != fingerprint(copy)


def test_checkpoints_of_ours_have_one_too(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "data").write_bytes(b"123")
    first = fingerprint(tmp_path)
    (tmp_path / "a" / "data").write_bytes(b"124")
    assert fingerprint(tmp_path) != first
