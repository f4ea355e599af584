"""``combine``: layers of the base or of a second expert in a tuned model, against the same done by hand."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from conftest import make_hf_model
from safetensors.numpy import load_file, save_file
from test_bases import training
from test_converters_command import bits, make_run, mistake, run  # noqa: F401

from xltjax.converters.models import load_model
from xltjax.converters.names import hf_name
from xltjax.converters.vocabulary import resize_vocabulary
from xltjax.generate import GenerateConfig, generate
from xltjax.llama import parameters
from xltjax.mesh import make_mesh
from xltjax.train import fit

Command = Callable[..., tuple[int, str, str]]
EVERYTHING = ("--reset-layers", "all,embed,norm,head")
LAYERS = 4


def shaken(source: Path, target: Path, seed: int) -> Path:
    """A copy of a model with other weights in every tensor."""
    shutil.copytree(source, target)
    random = np.random.default_rng(seed)
    tensors = load_file(target / "model.safetensors")
    moved = {
        name: (each.astype(np.float32) + random.normal(0, 0.1, each.shape)).astype(each.dtype)
        for name, each in tensors.items()
    }
    save_file(moved, target / "model.safetensors", metadata={"format": "pt"})
    return target


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, tokenizer_directory: Path) -> tuple[Path, Path, Path]:
    """(base, expert, expert): four layers in bfloat16 with a vocabulary of its own length, and a tokenizer."""
    root = tmp_path_factory.mktemp("experts")
    make_hf_model("llama-2-70b", root / "base", dtype="bfloat16", vocab_size=701, num_hidden_layers=LAYERS)
    shutil.copytree(tokenizer_directory, root / "base", dirs_exist_ok=True)
    return root / "base", shaken(root / "base", root / "one", 1), shaken(root / "base", root / "two", 2)


@pytest.fixture(scope="module")
def runs(chat_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run of each kind on a base of two layers in float32, after one update."""
    root = tmp_path_factory.mktemp("runs")
    kinds: dict[str, dict[str, Any]] = {"full": {}, "layers": {"train_layers": ("1", "norm")}}
    made = {name: fit(training(chat_model, root / name, **values))[0] for name, values in kinds.items()}
    return {**made, "lora": make_run(root / "lora", chat_model, rank=4)}


def by_hand(kept: Path, other: Path, layers: set[int], *around: str) -> dict[str, tuple[Any, bytes]]:
    """The tensors of ``kept`` with some of ``other``, by Hugging Face's names alone."""
    prefixes = tuple(f"model.layers.{index}." for index in layers) + around
    theirs = bits(other)
    return {name: theirs[name] if name.startswith(prefixes) else value for name, value in bits(kept).items()}


def test_layers_that_are_reset_are_the_base_s_and_the_rest_stays(
    models: tuple[Path, Path, Path], tmp_path: Path, run: Command  # noqa: F811
) -> None:  # fmt: skip
    base, tuned, _ = models
    code, printed, _ = run("combine", tuned, tmp_path / "a", "--base", base, "--reset-layers", "0,last-1")
    assert (code, printed) == (
        0, f"reset_layers 0,3: {base}\neverything else: {tuned}\nHugging Face directory: {tmp_path / 'a'}\n"
    )  # fmt: skip
    assert bits(tmp_path / "a") == by_hand(tuned, base, {0, 3})
    assert bits(tmp_path / "a") not in (bits(tuned), bits(base))
    flags = ("--reset-layers", "-2--1,embed,head", "--max-shard-gib", "2e-5")
    assert run("combine", tuned, tmp_path / "b", "--base", base, *flags)[0] == 0
    assert bits(tmp_path / "b") == by_hand(tuned, base, {2, 3}, "model.embed_tokens.", "lm_head.")
    assert len(list((tmp_path / "b").glob("*.safetensors"))) > 2
    record = json.loads((tmp_path / "b/combined.json").read_text())
    assert record["tuned"]["location"] == str(tuned)
    assert record["reset_layers"]["parts"] == ["2-3", "embed", "head"]
    assert record["reset_layers"]["location"] == str(base)


def test_all_parts_reset_give_the_base_and_none_the_tuned_model(
    models: tuple[Path, Path, Path], tmp_path: Path, run: Command  # noqa: F811
) -> None:  # fmt: skip
    base, tuned, _ = models
    assert run("combine", tuned, tmp_path / "all", "--base", base, *EVERYTHING)[0] == 0
    assert bits(tmp_path / "all") == bits(base)
    assert run("combine", tuned, tmp_path / "none")[:2] == (
        0, f"everything: {tuned}\nHugging Face directory: {tmp_path / 'none'}\n"
    )  # fmt: skip
    assert bits(tmp_path / "none") == bits(tuned)


@pytest.mark.parametrize("kind", ["full", "layers", "lora"])
def test_a_run_knows_its_base_and_is_exported_as_to_hf_does(
    kind: str, runs: dict[str, Path], chat_model: Path, tmp_path: Path, run: Command  # noqa: F811
) -> None:  # fmt: skip
    merge = ["--merge-lora"] if kind == "lora" else []
    assert run("to-hf", runs[kind], tmp_path / "hf", *merge)[0] == 0
    assert run("combine", runs[kind], tmp_path / "none")[0] == 0
    assert bits(tmp_path / "none") == bits(tmp_path / "hf")
    assert bits(tmp_path / "hf") != bits(chat_model)
    for file in (tmp_path / "hf").iterdir():
        assert (tmp_path / "none" / file.name).read_bytes() == file.read_bytes()
    assert run("combine", runs[kind], tmp_path / "all", *EVERYTHING)[0] == 0
    assert bits(tmp_path / "all") == bits(chat_model)
    assert run("combine", runs[kind], tmp_path / "one", "--reset-layers", "1")[0] == 0
    assert bits(tmp_path / "one") == by_hand(tmp_path / "hf", chat_model, {1})


def test_a_swap_of_two_experts_equals_the_same_by_hand(
    models: tuple[Path, Path, Path], tmp_path: Path, run: Command  # noqa: F811
) -> None:  # fmt: skip
    _, one, two = models
    flags = ("--swap-layers", "first-1,3", "--expert", two)
    assert run("combine", one, tmp_path / "swapped", *flags)[0] == 0
    assert bits(tmp_path / "swapped") == by_hand(one, two, {0, 3})
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "swapped" / name).read_bytes() == (one / name).read_bytes()


def test_reset_swap_and_average_go_together(
    models: tuple[Path, Path, Path], tmp_path: Path, run: Command  # noqa: F811
) -> None:  # fmt: skip
    base, one, two = models
    flags = (
        "--reset-layers",
        "0",
        "--base",
        base,
        "--swap-layers",
        "3",
        "--average-layers",
        "2",
        "--expert",
        two,
    )
    assert run("combine", one, tmp_path / "out", *flags)[0] == 0
    expected = {
        **by_hand(one, base, {0}),
        **{n: b for n, b in bits(two).items() if n.startswith("model.layers.3.")},
    }
    found, mean = bits(tmp_path / "out"), "model.layers.2."
    assert {n: b for n, b in found.items() if not n.startswith(mean)} == {
        n: b for n, b in expected.items() if not n.startswith(mean)
    }
    a, b, c = (load_file(path / "model.safetensors") for path in (one, two, tmp_path / "out"))
    for name in (name for name in c if name.startswith(mean)):
        right = (a[name].astype(np.float64) + b[name].astype(np.float64)) / 2
        assert c[name].tobytes() == right.astype(np.float32).astype(c[name].dtype).tobytes()


def test_two_runs_are_swapped_with_the_adapters_of_each_merged(
    runs: dict[str, Path], tmp_path: Path, run: Command  # noqa: F811
) -> None:  # fmt: skip
    for kind in ("full", "lora"):
        assert run("to-hf", runs[kind], tmp_path / kind, "--merge-lora")[0] == 0
    assert (
        run("combine", runs["full"], tmp_path / "out", "--swap-layers", "0", "--expert", runs["lora"])[0] == 0
    )
    assert bits(tmp_path / "out") == by_hand(tmp_path / "full", tmp_path / "lora", {0})


def test_a_combined_model_answers_and_is_trained_on(
    runs: dict[str, Path], tmp_path: Path, run: Command  # noqa: F811
) -> None:  # fmt: skip
    assert run("combine", runs["full"], tmp_path / "out", "--reset-layers", "0")[0] == 0
    (tmp_path / "why.en.jsonl").write_text('{"id": "1", "instruction": "Why?"}\n')
    written = generate(
        GenerateConfig(
            model=str(tmp_path / "out"), prompts=str(tmp_path / "why.en.jsonl"), out=str(tmp_path / "r.jsonl"),
            max_new_tokens=2,
        )
    )  # fmt: skip
    assert json.loads(written.read_text())["response_tokens"] <= 2
    (again,) = fit(training(tmp_path / "out", tmp_path / "again"))
    # Resetting such a run leads back to the combination.
    assert run("combine", again, tmp_path / "back", *EVERYTHING)[0] == 0
    assert bits(tmp_path / "back") == bits(tmp_path / "out")


def test_tables_that_got_more_rows_return_to_what_training_began_with(
    chat_model: Path, tmp_path: Path, run: Command  # noqa: F811
) -> None:  # fmt: skip
    base = shutil.copytree(chat_model, tmp_path / "base")
    config = json.loads((base / "config.json").read_text())
    config["vocab_size"] = 690
    (base / "config.json").write_text(json.dumps(config))
    tensors = load_file(base / "model.safetensors")
    cut = {name: each[:690] if len(each) == 700 else each for name, each in tensors.items()}
    save_file(cut, base / "model.safetensors", metadata={"format": "pt"})
    model = load_model(base, make_mesh("1x1"), dtype=None)
    resize_vocabulary(model, make_mesh("1x1"), 700)
    expected = {hf_name(name): np.asarray(v[...]).tobytes() for name, v in parameters(model).items()}
    for name, values in {"full": {}, "lora": {"lora_rank": 2}}.items():
        (made,) = fit(training(base, tmp_path / name, resize_vocabulary=True, **values))
        assert run("combine", made, tmp_path / f"{name}-all", *EVERYTHING)[0] == 0
        assert {n: b for n, (_, b) in bits(tmp_path / f"{name}-all").items()} == expected
    assert run("to-hf", tmp_path / "full", tmp_path / "hf")[0] == 0
    mistake(
        run("combine", tmp_path / "hf", tmp_path / "x", "--base", base, "--reset-layers", "0,head"),
        "vocab_size is 700 and 690; leave out head",
    )
    assert run("combine", tmp_path / "hf", tmp_path / "y", "--base", base, "--reset-layers", "0")[0] == 0


def test_a_tied_head_goes_with_the_embedding(tmp_path: Path, run: Command) -> None:  # noqa: F811
    make_hf_model("llama-3.2-tied", tmp_path / "base")
    tuned = shaken(tmp_path / "base", tmp_path / "tuned", 1)
    assert run("combine", tuned, tmp_path / "out", "--base", tmp_path / "base", *EVERYTHING)[0] == 0
    assert bits(tmp_path / "out") == bits(tmp_path / "base")
    mistake(
        run("combine", tuned, tmp_path / "x", "--base", tmp_path / "base", "--reset-layers", "head"),
        "tied to its embedding; name embed",
    )
    # A model that got a head of its own gets the embedding of a base whose head is tied.
    apart = shutil.copytree(tuned, tmp_path / "apart")
    tensors = load_file(apart / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"] + 1
    save_file(tensors, apart / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((apart / "config.json").read_text())
    (apart / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": False}))
    assert (
        run("combine", apart, tmp_path / "head", "--base", tmp_path / "base", "--reset-layers", "head")[0]
        == 0
    )
    assert bits(tmp_path / "head")["lm_head.weight"] == bits(tmp_path / "base")["model.embed_tokens.weight"]
    mistake(
        run("combine", tuned, tmp_path / "x", "--base", apart, "--reset-layers", "embed"),
        "tied_embeddings is True and False",
    )


def test_dtypes_are_kept_tensor_by_tensor_with_a_notice_or_cast_as_asked(
    models: tuple[Path, Path, Path], tmp_path: Path, run: Command  # noqa: F811
) -> None:  # fmt: skip
    base, tuned, _ = models
    assert run("to-hf", tuned, tmp_path / "wide", "--dtype", "float32")[0] == 0
    code, _, err = run(
        "combine", tmp_path / "wide", tmp_path / "mixed", "--base", base, "--reset-layers", "1"
    )
    assert code == 0
    assert "notice: each tensor keeps its dtype, bfloat16 or float32; --dtype writes all in one" in err
    assert bits(tmp_path / "mixed") == by_hand(tmp_path / "wide", base, {1})
    assert run("combine", tmp_path / "wide", tmp_path / "cast", "--base", base, "--reset-layers", "1", "--dtype",
               "bfloat16")[0] == 0  # fmt: skip
    assert bits(tmp_path / "cast") == by_hand(tuned, base, {1})
    assert json.loads((tmp_path / "cast/config.json").read_text())["dtype"] == "bfloat16"


def test_a_base_with_other_weights_is_named(
    runs: dict[str, Path], chat_model: Path, tmp_path: Path, run: Command  # noqa: F811
) -> None:  # fmt: skip
    base = shutil.copytree(chat_model, tmp_path / "base")
    (made,) = fit(training(base, tmp_path / "run"))
    other = shaken(chat_model, tmp_path / "other", 3)
    code, _, err = run("combine", made, tmp_path / "chosen", "--base", other, "--reset-layers", "0")
    assert code == 0
    assert f"warning: {other} does not hold the weights that {made} began with" in err
    code, _, err = run("combine", made, tmp_path / "mix", "--expert", runs["full"], "--swap-layers", "0")
    assert (code, "were not tuned from the same base" in err) == (0, False)
    shutil.copyfile(other / "model.safetensors", base / "model.safetensors")
    mistake(run("combine", made, tmp_path / "x", "--reset-layers", "0"), "no longer holds the weights")
    base.rename(tmp_path / "moved")
    mistake(run("combine", made, tmp_path / "x", "--reset-layers", "0"), "give --base DIR if it was moved")
    (another,) = fit(training(other, tmp_path / "another"))
    _, _, err = run("combine", made, tmp_path / "mixed", "--expert", another, "--swap-layers", "0")
    assert "were not tuned from the same base" in err


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (
            "--reset-layers 4 --base {base}",
            "reset_layers: layer 4 is out of range: the model has 4 layers, 0 to 3",
        ),
        ("--reset-layers last-5 --base {base}", "last-5 is out of range"),
        ("--reset-layers 0..3 --base {base}", "'0..3' names no part of a model"),
        ("--reset-layers 0", "is not known: say with --base DIR"),
        ("--base {base}", "nothing is taken from --base"),
        ("--swap-layers 0", "swap_layers needs a second tuned model: give --expert DIR"),
        ("--expert {two}", "nothing is taken from --expert"),
        ("--expert-base {two}", "of --expert lies, which is not given"),
        ("--swap-layers 0-1 --average-layers 1 --expert {two}", "layers.1 is named by both"),
        ("--swap-layers 0 --expert {two}/nothing", "does not exist"),
        ("--swap-layers 0 --expert {wider}", "do not fit together: intermediate_size is 64 and 96"),
        ("--reset-layers 0 --base {base} --max-shard-gib 0", "max_shard_gib"),
        ("--reset-layers 0 --base {base} --dtype int8", "bfloat16"),
    ],
)
def test_what_does_not_go_together_is_refused_in_one_line_and_nothing_is_written(
    flags: str, reason: str, models: tuple[Path, Path, Path], tmp_path: Path, run: Command  # noqa: F811
) -> None:  # fmt: skip
    base, tuned, two = models
    if "{wider}" in flags:
        make_hf_model("llama-2-70b", tmp_path / "wider", num_hidden_layers=LAYERS, intermediate_size=96)
    words = flags.format(base=base, two=two, wider=tmp_path / "wider").split()
    mistake(run("combine", tuned, tmp_path / "out", *words), reason)
    assert not (tmp_path / "out").exists()


def test_no_model_is_overwritten(
    models: tuple[Path, Path, Path], runs: dict[str, Path], tmp_path: Path, run: Command  # noqa: F811
) -> None:  # fmt: skip
    _, tuned, two = models
    before = bits(two)
    swap = ("--swap-layers", "0", "--expert", two)
    mistake(run("combine", tuned, two, *swap), "is not empty")
    mistake(run("combine", tuned, two, *swap, "--overwrite"), "would remove")
    mistake(run("combine", tuned, tuned, *swap, "--overwrite"), "would remove")
    assert bits(two) == before
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").write_text("mine")
    mistake(run("combine", tuned, tmp_path / "out", *swap), "is not empty")
    assert run("combine", tuned, tmp_path / "out", *swap, "--overwrite")[0] == 0
    assert bits(tmp_path / "out") == by_hand(tuned, two, {0})


def test_damage_and_nan_are_named(
    models: tuple[Path, Path, Path], tmp_path: Path, run: Command  # noqa: F811
) -> None:  # fmt: skip
    base, tuned, _ = models
    damaged = shutil.copytree(tuned, tmp_path / "damaged")
    tensors = load_file(damaged / "model.safetensors")
    tensors["model.norm.weight"][0] = jnp.nan
    save_file(tensors, damaged / "model.safetensors", metadata={"format": "pt"})
    code, _, err = run("combine", damaged, tmp_path / "nan", "--base", base, "--reset-layers", "0")
    assert (code, "model.norm.weight holds NaN" in err) == (0, True)
    code, _, err = run("combine", damaged, tmp_path / "whole", "--base", base, "--reset-layers", "norm")
    assert (code, "NaN" in err) == (0, False)
    del tensors["model.norm.weight"]
    save_file(tensors, damaged / "model.safetensors", metadata={"format": "pt"})
    mistake(run("combine", damaged, tmp_path / "x", "--base", base, *EVERYTHING), "1 missing")
