"""What ``doctor`` says of this machine: what is there, what is optional, and which accelerator is not used."""

from __future__ import annotations

import platform
import re
from pathlib import Path
from types import SimpleNamespace

import jax
import pytest

from xltjax import doctor
from xltjax.common import distributed
from xltjax.common.cli import execute


def table(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[str, str]]:
    """Each line that is printed: what -> (state, what to do)."""
    monkeypatch.setenv("COLUMNS", "160")
    with pytest.raises(SystemExit) as ended:
        execute(doctor.COMMAND, [])
    out, err = capsys.readouterr()
    assert (ended.value.code, err) == (0, "")
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines() if "│" in line]
    return {what: (state, remedy) for what, state, remedy in rows}


@pytest.fixture(autouse=True)
def evaluators(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another finding in place of those that take a second."""
    finding = ("dictionary xx", doctor.NOT_INSTALLED, "see [docs]")
    monkeypatch.setattr(doctor, "_evaluators", lambda config: iter([finding]))


def test_optional_parts_are_not_shown_as_broken(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "PACKAGES", {"none-such": "judge", "none-such-either": "", "pytest": ""})
    found = table(capsys, monkeypatch)
    assert found["none-such"] == (
        "not installed",
        "for judges and translation behind an API: pip install 'xltjax[judge]'",
    )
    assert found["none-such-either"] == ("missing", "pip install none-such-either")
    assert found["pytest"] == (pytest.__version__, "")
    assert found["dictionary xx"] == ("not installed", "see [docs]")
    assert found["python"] == (platform.python_version(), "")
    assert re.match(r"\d+\.\d+", found["xltjax"][0])
    assert set(doctor.EXTRAS) >= {"eval", "judge", "track", "test"}


@pytest.mark.parametrize(
    ("platforms", "installed", "remedy"),
    [
        ("", "", "the CPU build of JAX is installed: pip install -U 'jax[cuda13]'"),
        ("cpu", "", "JAX_PLATFORMS=cpu is set: unset it"),
        ("", "jax-cuda13-plugin", "JAX's build for it is installed and finds none"),
    ],
)
def test_a_gpu_that_jax_does_not_see_is_named_with_the_remedy(
    platforms: str, installed: str, remedy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    version = doctor.installed_version
    monkeypatch.setattr(doctor, "installed_version", lambda name: "1" if name == installed else version(name))
    monkeypatch.setattr(jax, "devices", lambda: [SimpleNamespace(
        id=0, device_kind="cpu", platform="cpu", memory_stats=lambda: None)])  # fmt: skip
    monkeypatch.setenv("JAX_PLATFORMS", platforms)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "NVIDIA GPU" not in table(capsys, monkeypatch)
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    state, what_to_do = table(capsys, monkeypatch)["NVIDIA GPU"]
    assert state == "not used"
    assert what_to_do.startswith(remedy)
    monkeypatch.setattr(distributed, "TPU_DEVICES", (str(tmp_path / "nvidia-smi"),))
    assert table(capsys, monkeypatch)["TPU"][0] == "not used"


def test_a_platform_that_is_not_there_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise RuntimeError("Unknown backend: 'cuda'\nmore")

    monkeypatch.setattr(jax, "devices", fail)
    assert table(capsys, monkeypatch)["devices"] == ("missing", "Unknown backend: 'cuda'")


def test_the_kernel_of_attention_is_named_and_why_it_is_not_a_faster_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from xltjax.attention import choice
    from xltjax.attention.problem import Device

    assert table(capsys, monkeypatch)["attention, training"] == ("portable", "")
    monkeypatch.setattr(Device, "present", lambda: Device("nvidia", (8, 0), 91900))
    monkeypatch.setattr(choice, "failure", lambda kernel, problem: "")
    state, why = table(capsys, monkeypatch)["attention, training"]
    assert state == "cudnn"
    assert why.startswith("not cudnn-packed: it needs compute capability 9.0")
