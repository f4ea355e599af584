"""Which kernel of attention is chosen for which device and problem, and what is said when one is forced."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import jax
import pytest

from xltjax.attention import choice
from xltjax.attention.choice import check_kernel, choose, record
from xltjax.attention.problem import Device, Problem
from xltjax.common.errors import UserError
from xltjax.llama import LlamaConfig

PACKED = Problem("bfloat16", 2048, 128, segments=16)
HOPPER, AMPERE = Device("nvidia", (9, 0), 91900), Device("nvidia", (8, 0), 91900)


@pytest.fixture(autouse=True)
def no_tokamax(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine without the optional library."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)


@pytest.mark.parametrize(
    ("device", "changes", "kernel"),
    [
        (HOPPER, {}, "cudnn-packed"),
        (Device("nvidia", (12, 0)), {"head_dim": 256}, "cudnn-packed"),
        (HOPPER, {"segments": 0}, "cudnn"),
        (HOPPER, {"segments": 64}, "cudnn"),
        (HOPPER, {"window": 100}, "cudnn"),
        (Device("nvidia", (9, 0), 90500), {}, "cudnn"),
        (AMPERE, {}, "cudnn"),
        (AMPERE, {"dtype": "float16", "length": 2, "head_dim": 64}, "cudnn"),
        (AMPERE, {"head_dim": 256}, "portable"),
        (HOPPER, {"head_dim": 100}, "portable"),
        (HOPPER, {"length": 2047}, "portable"),
        (HOPPER, {"dtype": "float32"}, "portable"),
        (Device("nvidia", (7, 5)), {"dtype": "float16"}, "portable"),
        (Device("tpu"), {"dtype": "float32", "window": 100, "head_dim": 100}, "splash"),
        (Device("rocm"), {}, "portable"),
        (Device("cpu"), {}, "portable"),
    ],
)
def test_the_fastest_kernel_that_can_run_is_expected(
    device: Device, changes: dict[str, Any], kernel: str
) -> None:
    assert choose(replace(PACKED, **changes), device=device).kernel == kernel


@pytest.mark.parametrize(("version", "kernel"), [((0, 11, 2), "cudnn"), ((0, 12, 0), "cudnn-packed")])
def test_keys_of_grouped_queries_are_left_to_versions_of_jax_that_read_the_right_ones(
    version: tuple[int, ...], kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jax, "__version_info__", version)
    assert choose(replace(PACKED, grouped=True), device=HOPPER).kernel == kernel


def test_a_jax_without_the_private_call_does_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from jax._src.cudnn import fused_attention_stablehlo

    monkeypatch.setattr(fused_attention_stablehlo, "dot_product_attention", lambda query, key, value: query)
    found = choose(PACKED, device=HOPPER)
    assert found.kernel == "cudnn"
    assert found.against["cudnn-packed"] == f"jax {jax.__version__} does not have it"


def test_tokamax_is_taken_where_it_is_installed_and_the_packed_layout_is_not_to_be_had(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name == "tokamax" or None)
    windowed = replace(PACKED, window=100)
    assert choose(windowed, device=HOPPER).kernel == "tokamax"
    assert choose(windowed, device=AMPERE).kernel == "cudnn"
    assert choose(PACKED, device=HOPPER).kernel == "cudnn-packed"


def test_a_kernel_that_fails_its_trial_makes_way_for_the_next_and_the_record_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Device, "present", lambda: HOPPER)
    tried = []

    def trial(kernel: str, problem: Problem) -> str:
        tried.append(kernel)
        return "" if kernel == "cudnn" else "it fails here"

    monkeypatch.setattr(choice, "failure", trial)
    assert record([PACKED], "auto") == [
        {
            "window": None,
            "kernel": "cudnn",
            "not": {
                "cudnn-packed": "it fails here",
                "tokamax": "tokamax is not installed (pip install 'xltjax[tokamax]')",
            },
        }
    ]
    assert tried == ["cudnn-packed", "cudnn"]
    with pytest.raises(
        UserError, match=r"--attention cudnn-packed cannot be used here: it fails here; cudnn can"
    ):
        check_kernel([PACKED], "cudnn-packed")


def test_a_forced_kernel_is_taken_or_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose(PACKED, "cudnn", HOPPER).kernel == "cudnn"
    assert choose(PACKED, "portable", HOPPER).kernel == "portable"
    for wanted in ("auto", "portable"):
        check_kernel([PACKED], wanted)
    with pytest.raises(UserError, match="cannot be used here: it needs a TPU; portable can"):
        check_kernel([PACKED], "splash")
    # Where the packed layout could not be right it is not taken either.
    assert choose(replace(PACKED, segments=0), "cudnn-packed", HOPPER).kernel == "cudnn"
    assert choose(replace(PACKED, window=9), "cudnn-packed", HOPPER).kernel == "cudnn"


@pytest.mark.parametrize(
    ("capability", "platform", "expected"),
    [
        ("9.0", "gpu", ("nvidia", (9, 0))),
        ("gfx942", "gpu", ("gpu", (0, 0))),
        (None, "tpu", ("tpu", (0, 0))),
        (None, "cpu", ("cpu", (0, 0))),
    ],
)
def test_a_device_is_known_by_what_jax_says_of_it(
    capability: str | None,
    platform: str,
    expected: tuple[str, tuple[int, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = {} if capability is None else {"compute_capability": capability}
    monkeypatch.setattr(jax, "devices", lambda: [SimpleNamespace(platform=platform, **known)])
    device = Device.present()
    assert (device.platform, device.capability) == expected


def test_a_model_asks_once_for_each_window_that_its_layers_have() -> None:
    llama = LlamaConfig(64, 64, 96, 4, 4, 2, 16, 512, sliding_window=40, window_layers=2)
    full = Problem("bfloat16", 256, 16, True, None, 8)
    assert llama.attention_problems("bfloat16", 256, 8) == [full, replace(full, window=40)]
