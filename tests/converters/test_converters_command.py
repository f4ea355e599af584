"""``python -m xltjax.converters``: what each command writes and prints, and how each mistake ends."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import yaml
from conftest import make_hf_model
from safetensors.numpy import load_file, save_file

from xltjax.checkpoint import Checkpoints
from xltjax.common.cli import execute
from xltjax.converters import load_hf
from xltjax.converters.__main__ import GROUP
from xltjax.data.conversations import Message
from xltjax.data.model_files import copy_model_files
from xltjax.data.tokenizer import ChatTokenizer
from xltjax.generate import GenerateConfig, generate
from xltjax.llama import parameters
from xltjax.lora import TARGETS, add_lora
from xltjax.mesh import make_mesh
from xltjax.training import run as training_run
from xltjax.training.run import CHECKPOINTS

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """``run(argument, ...)`` -> (exit code, what it printed, what it complained)."""

    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            execute(GROUP, [str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return int(stop.value.code or 0), out, err

    return call


def mistake(result: tuple[int, str, str], *reasons: str) -> None:
    """One line on stderr that begins with ``error:`` and gives the reasons, exit code 2."""
    code, _, err = result
    assert code == 2
    assert re.fullmatch(r"error: [^\n]+\n", err)
    for reason in reasons:
        assert reason in err


def bits(directory: Path) -> dict[str, tuple[Any, bytes]]:
    found = {}
    for file in sorted(directory.glob("*.safetensors")):
        found.update({name: (a.dtype, a.tobytes()) for name, a in load_file(file).items()})
    return found


def make_run(out: Path, base: Path, *, rank: int = 0) -> Path:
    """A run of training that has one checkpoint: the base's weights, or random adapters on it."""
    copy_model_files(base, out / "base")
    settings = {"model": str(base), "lora_rank": rank, "lora_alpha": 6.0, "lora_targets": list(TARGETS)}
    (out / "config.yaml").write_text(yaml.safe_dump(settings))
    mesh = make_mesh("1x1")
    model = load_hf(base, mesh, dtype=None)
    weights = {name: variable[...] for name, variable in parameters(model).items()}
    if rank:
        add_lora(model, mesh, jax.random.key(0), rank=rank, alpha=6.0)
        random = np.random.default_rng(0)
        weights = {
            name: jax.device_put(random.normal(0, 0.1, v.shape).astype(np.float32), v[...].sharding)
            for name, v in parameters(model).items()
            if name not in weights
        }
    checkpoints = Checkpoints(out / CHECKPOINTS)
    checkpoints.save_weights(3, weights)
    checkpoints.close()
    return out


def test_a_copy_keeps_the_template_and_the_base_of_a_run(base: Path, tmp_path: Path, run: Run) -> None:
    made = make_run(tmp_path / "run", base)
    settings = yaml.safe_load((made / "config.yaml").read_text())
    (made / "config.yaml").write_text(yaml.safe_dump({**settings, "template": "alpaca"}))
    assert run("to-flax", made, tmp_path / "copy")[0] == 0
    copy = training_run.Run.open(tmp_path / "copy")
    assert (copy.template, copy.lora, copy.step) == ("alpaca", False, 0)
    assert copy.base.location == str(made.resolve())
    prompt = ChatTokenizer(copy.model_files, copy.template).prompt([Message("user", "Why?")])
    (tmp_path / "why.en.jsonl").write_text('{"id": "1", "instruction": "Why?"}\n')
    out = generate(
        GenerateConfig(
            model=str(copy.path), prompts=str(tmp_path / "why.en.jsonl"), out=str(tmp_path / "responses.jsonl"),
            max_new_tokens=2,
        )
    )  # fmt: skip
    assert json.loads(out.read_text())["prompt_tokens"] == len(prompt)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, tokenizer_directory: Path) -> Path:
    """A model of odd vocabulary in bfloat16, with a tokenizer."""
    directory = tmp_path_factory.mktemp("command") / "base"
    make_hf_model("llama-2-7b", directory, dtype="bfloat16", vocab_size=701)
    shutil.copytree(tokenizer_directory, directory, dirs_exist_ok=True)
    return directory


@pytest.fixture(scope="module")
def lora_run(base: Path) -> Path:
    return make_run(base.parent / "lora", base, rank=4)


def test_to_flax_and_back_is_bit_exact_from_any_mesh_to_any_other(
    base: Path, tmp_path: Path, run: Run
) -> None:
    assert run("to-flax", base, tmp_path / "copy", "--mesh", "2x1")[0] == 0
    code, out, _ = run("to-hf", tmp_path / "copy", tmp_path / "hf", "--mesh", "1x2")
    assert (code, out) == (0, f"Hugging Face directory: {tmp_path / 'hf'}\n")
    assert bits(tmp_path / "hf") == bits(base)
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        assert (tmp_path / "hf" / name).read_bytes() == (base / name).read_bytes()
    for a, b in ((base, tmp_path / "copy"), (tmp_path / "copy", tmp_path / "hf")):
        assert run("check", a, b, "--mesh", "2x2")[:2] == (0, "equal, bit for bit\n")


def test_to_hf_writes_shards_of_the_size_asked_for(base: Path, tmp_path: Path, run: Run) -> None:
    assert run("to-hf", base, tmp_path / "hf", "--max-shard-gib", 2e-5)[0] == 0
    files = list((tmp_path / "hf").glob("*.safetensors"))
    assert len(files) > 2
    for file in files:
        assert (
            sum(a.nbytes for a in load_file(file).values()) <= 2e-5 * (1 << 30) or len(load_file(file)) == 1
        )
    assert bits(tmp_path / "hf") == bits(base)
    mistake(run("to-hf", base, tmp_path / "x", "--max-shard-gib", 0), "max_shard_gib")


def test_to_hf_casts_as_asked(base: Path, tmp_path: Path, run: Run) -> None:
    assert run("to-hf", base, tmp_path / "hf", "--dtype", "float32")[0] == 0
    assert {a.dtype for a in load_file(tmp_path / "hf" / "model.safetensors").values()} == {
        np.dtype("float32")
    }
    assert json.loads((tmp_path / "hf" / "config.json").read_text())["dtype"] == "float32"
    code, out, _ = run("check", base, tmp_path / "hf")
    assert code == 0  # the dtypes differ, the values do not: within a tolerance of nothing
    assert "bfloat16 and float32" in out


def test_a_lora_run_is_merged_only_when_asked(base: Path, lora_run: Path, tmp_path: Path, run: Run) -> None:
    mistake(run("to-hf", lora_run, tmp_path / "hf"), "is a LoRA run: give --merge-lora", "to-peft")
    assert not (tmp_path / "hf").exists()
    assert run("to-hf", lora_run, tmp_path / "hf", "--merge-lora")[0] == 0
    assert bits(tmp_path / "hf").keys() == bits(base).keys()
    assert run("check", lora_run, tmp_path / "hf")[:2] == (0, "equal, bit for bit\n")
    mistake(run("to-flax", lora_run, tmp_path / "copy"), "LoRA run", "to-hf --merge-lora")


def test_an_exported_adapter_is_the_run_itself_to_peft_and_to_the_check(
    base: Path, lora_run: Path, tmp_path: Path, run: Run
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    code, out, _ = run("to-peft", lora_run, tmp_path / "adapter")
    assert (code, out) == (0, f"PEFT directory: {tmp_path / 'adapter'}\n")
    settings = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert (settings["r"], settings["lora_alpha"], settings["base_model_name_or_path"]) == (4, 6, str(base))
    assert run("check", base, lora_run, "--adapter-a", tmp_path / "adapter")[:2] == (
        0,
        "equal, bit for bit\n",
    )
    assert run("check", lora_run, base, "--adapter-b", tmp_path / "adapter")[0] == 0
    assert (
        run("to-hf", base, tmp_path / "ours", "--adapter", tmp_path / "adapter", "--dtype", "float32")[0] == 0
    )
    model = AutoModelForCausalLM.from_pretrained(base, dtype="bfloat16")
    theirs = PeftModel.from_pretrained(model, tmp_path / "adapter").merge_and_unload().state_dict()
    for name, array in load_file(tmp_path / "ours" / "model.safetensors").items():
        # One rounding to bfloat16 apart at the most: peft adds in bfloat16.
        np.testing.assert_allclose(array, theirs[name].float().numpy(), rtol=2**-7, atol=1e-3, err_msg=name)


def test_one_checkpoint_of_a_run_is_a_source_too(base: Path, tmp_path: Path, run: Run) -> None:
    made = make_run(tmp_path / "run", base)
    assert run("check", made / CHECKPOINTS / "3", base)[:2] == (0, "equal, bit for bit\n")
    mistake(run("check", made / CHECKPOINTS / "4", base), "does not exist")


def test_the_check_names_what_differs_by_how_much_and_ends_in_1_unless_it_is_tolerated(
    base: Path, tmp_path: Path, run: Run
) -> None:
    other = Path(shutil.copytree(base, tmp_path / "other"))
    tensors = load_file(other / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    before = float(tensors[name][2, 3])
    tensors[name][2, 3] = 4.0
    save_file(tensors, other / "model.safetensors", {"format": "pt"})
    code, out, _ = run("check", base, other)
    assert code == 1
    assert out.endswith("2 differences beyond 0\n")
    cells = [line.split() for line in out.splitlines()[1:-1]]
    assert cells[0] == [name, "bfloat16", f"{abs(4 - before):.3g}", "no"]
    assert [row[0] for row in cells] == [name, "logits"]
    code, out, _ = run("check", base, other, "--tolerance", 100)
    assert code == 0
    assert out.endswith("equal within 100\n")
    assert run("check", base, other, "--tolerance", 1e-3)[0] == 1


def test_the_check_shows_a_changed_config_in_the_logits_alone(base: Path, tmp_path: Path, run: Run) -> None:
    other = Path(shutil.copytree(base, tmp_path / "other"))
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 0.1}))
    code, out, _ = run("check", base, other)
    assert code == 1
    assert "logits" in out
    assert "1 differences beyond 0" in out


def test_nothing_tolerates_a_nan_or_another_shape(base: Path, tmp_path: Path, run: Run) -> None:
    other = Path(shutil.copytree(base, tmp_path / "nan"))
    tensors = load_file(other / "model.safetensors")
    tensors["model.norm.weight"][5] = np.nan
    save_file(tensors, other / "model.safetensors", {"format": "pt"})
    assert run("check", base, other, "--tolerance", 1e9)[0] == 1
    assert run("check", other, other)[0] == 0  # to the bit
    make_hf_model("llama-2-7b", tmp_path / "small", dtype="bfloat16")
    code, out, _ = run("check", base, tmp_path / "small", "--tolerance", 1e9)
    assert code == 1
    assert "shapes (701, 32) and (101, 32)" in out


def test_a_directory_that_is_not_empty_is_replaced_only_with_overwrite(
    base: Path, lora_run: Path, tmp_path: Path, run: Run
) -> None:
    target = tmp_path / "out"
    for command, source in (("to-hf", base), ("to-flax", base), ("to-peft", lora_run)):
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        (target / "mine").touch()
        mistake(run(command, source, target), "not empty", "--overwrite")
        assert [path.name for path in target.iterdir()] == ["mine"]
        assert run(command, source, target, "--overwrite")[0] == 0
        assert not (target / "mine").exists()
        assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_is_read_is_not_replaced(base: Path, lora_run: Path, run: Run) -> None:
    def held() -> dict[Path, bytes]:
        places = (base, lora_run)
        return {path: path.read_bytes() for place in places for path in place.rglob("*") if path.is_file()}

    before = held()
    for words in (
        ("to-hf", base, base), ("to-hf", base, base.parent), ("to-flax", base, base), ("to-peft", lora_run, lora_run),
        ("to-hf", lora_run, base, "--merge-lora"), ("to-hf", base, lora_run, "--adapter", lora_run),
    ):  # fmt: skip
        mistake(run(*words, "--overwrite"), "would remove", "choose another directory")
    assert held() == before


def test_mistakes_are_one_line_each(base: Path, lora_run: Path, tmp_path: Path, run: Run) -> None:
    out = tmp_path / "out"
    mistake(run("to-hf"), "two paths are needed")
    mistake(run("to-hf", base), "two paths are needed")
    mistake(run("to-hf", tmp_path / "nowhere", out), "nowhere does not exist")
    mistake(run("to-hf", base / "config.json", out), "is a file; a model is a directory")
    mistake(run("to-hf", base, base / "config.json"), "is a file; give a directory")
    mistake(run("to-hf", base, base / "config.json" / "x"), "is a file, not a directory")
    mistake(run("to-hf", base, out, "--adapter", tmp_path / "nowhere"), "adapter directory")
    mistake(run("to-hf", lora_run, out, "--adapter", base), "adapters already")
    mistake(run("to-hf", base, out, "--adapter", base), "adapter_config.json does not exist")
    mistake(run("to-peft", base, out), "is not a run or a checkpoint of xltjax")
    mistake(run("to-peft", make_run(tmp_path / "full", base), out), "has no LoRA adapters", "to-hf")
    mistake(run("to-hf", base, out, "--mesh", "3x1"), "model width cannot be split over 3 data devices")
    mistake(run("to-hf", base, out, "--mesh", "64x1"), "needs 64 devices")
    mistake(run("to-hf", base, out, "--dtype", "int8"), "'int8' is not known")
    mistake(run("check", base, base, "--tolerance", -1), "tolerance")
    mistake(run("check", base, base, "--adapter", base), "unknown flag --adapter; did you mean '--adapter-")
    mistake(run("to-pef", lora_run, out), "did you mean 'to-peft'")
    assert not out.exists()
    pickled = Path(shutil.copytree(base, tmp_path / "pickled"))
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    for command in ("to-hf", "to-flax", "check"):
        mistake(run(command, pickled, out), "pickled")


LIMITED = """
import resource, sys
from xltjax.converters.__main__ import main
most, command, source, *targets = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_FSIZE, (int(most), resource.RLIM_INFINITY))
for target in targets:
    sys.argv[1:] = [command, source, target, "--overwrite"]
    try:
        main()
    except SystemExit as ended:
        print(ended.code, file=sys.stderr)
"""


@pytest.mark.parametrize("command", ["to-hf", "to-flax", "to-peft"])
def test_running_out_of_room_leaves_nothing_under_the_final_name(
    command: str, base: Path, lora_run: Path, tmp_path: Path
) -> None:
    """A limit on the size of files stands for a full disk, which a test cannot make everywhere."""
    most, source = (4_000, lora_run) if command == "to-peft" else (60_000, base)  # some tensors fit
    new, old = tmp_path / "new", tmp_path / "old"
    old.mkdir()
    (old / "mine").touch()
    # The cache of compiled programs would meet the limit too.
    alone = {"JAX_NUM_CPU_DEVICES": "1", "JAX_ENABLE_COMPILATION_CACHE": "false"}
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(most), command, source, new, old],
        capture_output=True, text=True, check=True, env={**os.environ, **alone},
    )  # fmt: skip
    reason = "error: {} could not be written: File too large; nothing was left there\n2\n"
    assert done.stderr == reason.format(new) + reason.format(old)
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    assert (old / "mine").exists()
