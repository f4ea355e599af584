"""Hugging Face directories in and out: bit-exact, sharded, and refused when they are wrong."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import FAMILY, HfModel, make_hf_model
from safetensors.numpy import load_file, save_file

from xltjax.common.errors import UserError
from xltjax.converters import load_hf, save_hf
from xltjax.converters.load import all_finite
from xltjax.converters.names import hf_name
from xltjax.converters.safetensors_files import map_tensors
from xltjax.llama import parameters
from xltjax.mesh import make_mesh


def tensors(directory: Path) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for file in sorted(directory.glob("*.safetensors")):
        found.update(load_file(file))
    return found


def copy_of(directory: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(directory, tmp_path / "copy"))


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize("spec", ["1x1", "2x1"])
def test_hf_to_flax_to_hf_is_bit_exact(name: str, spec: str, hf_model: HfModel, tmp_path: Path) -> None:
    directory, _ = hf_model(name)
    model = load_hf(directory, make_mesh(spec), dtype=None)
    save_hf(model, tmp_path / "out", base=directory)
    before, after = tensors(directory), tensors(tmp_path / "out")
    assert before.keys() == after.keys()
    for key, array in before.items():
        assert after[key].dtype == array.dtype
        assert after[key].tobytes() == array.tobytes(), key


def test_a_vocabulary_that_no_mesh_divides_is_padded_with_zeros_and_stripped_again(tmp_path: Path) -> None:
    make_hf_model("llama-2-7b", tmp_path / "in", vocab_size=97)
    for spec, rows in (("2x2", 100), ("1x4", 100), ("4x2", 104), ("8x1", 104)):
        model = load_hf(tmp_path / "in", make_mesh(spec), dtype=None)
        table = np.asarray(model.embed.weight[...])
        assert table.shape == (rows, 32)
        assert not table[97:].any()
        save_hf(model, tmp_path / spec, base=tmp_path / "in")
        assert {k: v.tobytes() for k, v in tensors(tmp_path / spec).items()} == {
            k: v.tobytes() for k, v in tensors(tmp_path / "in").items()
        }


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_bit_exact_in_shards_and_loads_in_transformers(dtype: str, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    reference = make_hf_model("llama-with-biases", tmp_path / "in", dtype=dtype)
    model = load_hf(tmp_path / "in", make_mesh("2x2"), dtype=None)
    save_hf(model, tmp_path / "out", base=tmp_path / "in", max_shard_bytes=8000)
    assert len(list((tmp_path / "out").glob("*.safetensors"))) > 2
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto")
    assert again.dtype == getattr(torch, dtype)
    for (name, expected), (_, got) in zip(
        reference.state_dict().items(), again.state_dict().items(), strict=True
    ):
        assert torch.equal(expected, got), name
    # A sharded export is read back, too.
    reread = load_hf(tmp_path / "out", make_mesh("1x2"), dtype=None)
    save_hf(reread, tmp_path / "once-more", base=tmp_path / "in")
    assert {k: v.tobytes() for k, v in tensors(tmp_path / "once-more").items()} == {
        k: v.tobytes() for k, v in tensors(tmp_path / "in").items()
    }


def test_sources_are_cast_as_asked(hf_model: HfModel) -> None:
    directory, _ = hf_model("llama-2-7b")
    model = load_hf(directory, make_mesh("1x1"), dtype=jnp.bfloat16)
    weight = tensors(directory)["model.embed_tokens.weight"]
    assert model.compute_dtype == jnp.bfloat16
    np.testing.assert_array_equal(np.asarray(model.embed.weight[...]), weight.astype(jnp.bfloat16))


@pytest.mark.parametrize("source", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("wanted", ["float32", "float16", "bfloat16"])
def test_every_dtype_is_cast_to_every_other_as_torch_casts_it(
    source: str, wanted: str, tmp_path: Path
) -> None:
    import torch

    reference = make_hf_model("llama-2-7b", tmp_path, dtype=source, vocab_size=100).state_dict()
    model = load_hf(tmp_path, make_mesh("2x1"), dtype=wanted)
    for name, variable in parameters(model).items():
        expected = reference[hf_name(name)].to(getattr(torch, wanted))
        assert variable.dtype == wanted
        np.testing.assert_array_equal(np.asarray(variable[...]).astype(np.float32), expected.float().numpy())


def test_tensors_of_mixed_dtypes_keep_their_own_and_come_back_bit_exact(
    hf_model: HfModel, tmp_path: Path
) -> None:
    directory = copy_of(hf_model("llama-2-7b")[0], tmp_path)
    rewrite(directory, lambda t: t.update({k: v.astype(np.float16) for k, v in t.items() if "proj" in k}))
    model = load_hf(directory, make_mesh("2x1"), dtype=None)
    assert model.norm.weight.dtype == np.float32
    save_hf(model, tmp_path / "out", base=directory)
    before, after = tensors(directory), tensors(tmp_path / "out")
    assert {k: (v.dtype, v.tobytes()) for k, v in after.items()} == {
        k: (v.dtype, v.tobytes()) for k, v in before.items()
    }


def test_rotary_frequencies_of_old_checkpoints_are_passed_over(hf_model: HfModel, tmp_path: Path) -> None:
    directory = copy_of(hf_model("llama-2-7b")[0], tmp_path)
    name = "model.layers.{}.self_attn.rotary_emb.inv_freq"
    rewrite(directory, lambda t: t.update({name.format(i): np.ones(4, np.float32) for i in range(2)}))
    load_hf(directory, make_mesh("1x1"))


def test_a_tied_model_with_a_head_in_the_file_loads_only_if_the_head_is_the_embedding(
    hf_model: HfModel, tmp_path: Path
) -> None:
    directory = copy_of(hf_model("llama-3.2-tied")[0], tmp_path)
    rewrite(directory, lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"].copy()}))
    assert load_hf(directory, make_mesh("1x1")).head is None
    rewrite(directory, lambda t: t["lm_head.weight"].__setitem__((0, 0), 9))
    refused(directory, "lm_head.weight differs", "set tie_word_embeddings to false")


def test_tokenizer_and_generation_config_travel_with_the_export(chat_model: Path, tmp_path: Path) -> None:
    save_hf(load_hf(chat_model, make_mesh("1x1")), tmp_path / "out", base=chat_model)
    for name in ("tokenizer.json", "tokenizer.model", "generation_config.json"):
        assert (tmp_path / "out" / name).read_bytes() == (chat_model / name).read_bytes()
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "bfloat16"


def rewrite(directory: Path, change: Callable[[dict[str, np.ndarray]], object]) -> None:
    found = load_file(directory / "model.safetensors")
    change(found)
    save_file(found, directory / "model.safetensors", {"format": "pt"})


def refused(directory: Path, *reasons: str) -> None:
    with pytest.raises(UserError) as caught:
        load_hf(directory, make_mesh("1x1"))
    for reason in reasons:
        assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_extra_and_misshapen_tensors_are_named(hf_model: HfModel, tmp_path: Path) -> None:
    directory = copy_of(hf_model("llama-2-7b")[0], tmp_path)
    rewrite(directory, lambda t: t.pop("model.norm.weight"))
    refused(directory, "1 missing (model.norm.weight)")
    rewrite(directory, lambda t: t.update({"model.norm.weight": np.ones(33, np.float32)}))
    refused(directory, "model.norm.weight has shape (33,)", "(32,)")
    rewrite(
        directory,
        lambda t: t.update({"model.norm.weight": np.ones(32, np.float32), "odd": np.ones(1, np.float32)}),
    )
    refused(directory, "1 unknown (odd)")


def test_truncated_shard_is_refused(hf_model: HfModel, tmp_path: Path) -> None:
    directory = copy_of(hf_model("llama-2-7b")[0], tmp_path)
    data = (directory / "model.safetensors").read_bytes()
    (directory / "model.safetensors").write_bytes(data[: len(data) // 2])
    refused(directory, "damaged or truncated")


def test_index_that_names_a_missing_or_foreign_shard_is_refused(hf_model: HfModel, tmp_path: Path) -> None:
    directory = copy_of(hf_model("llama-2-7b")[0], tmp_path)
    names = load_file(directory / "model.safetensors").keys()
    index = directory / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": dict.fromkeys(names, "gone.safetensors")}))
    refused(directory, "gone.safetensors is missing")
    shutil.copyfile(directory / "model.safetensors", tmp_path / "outside.safetensors")
    index.write_text(json.dumps({"weight_map": dict.fromkeys(names, "../outside.safetensors")}))
    refused(directory, "../outside.safetensors, which leaves the model directory")
    for name in (str(tmp_path / "outside.safetensors"), "sub/x.safetensors", "..\\outside.safetensors", ".."):
        index.write_text(json.dumps({"weight_map": dict.fromkeys(names, name)}))
        with pytest.raises(UserError, match=r"leaves the model directory|is missing"):
            load_hf(directory, make_mesh("1x1"))
    for document in ("null", "[1]", '{"weight_map": ', '{"weight_map": {"a": 1}}'):
        index.write_text(document)
        refused(directory, str(index))


def test_links_are_followed_wherever_they_lead(hf_model: HfModel, tmp_path: Path) -> None:
    source, _ = hf_model("llama-2-7b")
    linked = tmp_path / "linked"
    linked.mkdir()
    for file in source.iterdir():
        (linked / file.name).symlink_to(file)
    (tmp_path / "directory").symlink_to(linked)
    for directory in (linked, tmp_path / "directory"):
        assert load_hf(directory, make_mesh("1x1")).config.num_layers == 2
    names = load_file(source / "model.safetensors").keys()
    (linked / "model.safetensors").rename(linked / "shard.safetensors")
    index = {"weight_map": dict.fromkeys(names, "shard.safetensors")}
    (linked / "model.safetensors.index.json").write_text(json.dumps(index))
    assert load_hf(tmp_path / "directory", make_mesh("1x1")).config.num_layers == 2


def test_an_index_beside_a_single_file_is_read_only_when_both_hold_the_same(
    hf_model: HfModel, tmp_path: Path
) -> None:
    directory = copy_of(hf_model("llama-2-7b")[0], tmp_path)
    shutil.copyfile(directory / "model.safetensors", directory / "shard.safetensors")
    names = load_file(directory / "model.safetensors").keys()
    index = directory / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": dict.fromkeys(names, "shard.safetensors")}))
    load_hf(directory, make_mesh("1x1"))
    rewrite(directory, lambda t: t["model.norm.weight"].__setitem__(3, 0.5))
    refused(directory, "holds two models: model.safetensors and the shards", "first in model.norm.weight")
    rewrite(directory, lambda t: t.pop("model.norm.weight"))
    refused(directory, "holds two models", "model.norm.weight")
    index.write_text(json.dumps({"weight_map": dict.fromkeys(names, "model.safetensors")}))
    refused(directory, "places model.norm.weight in model.safetensors, which does not hold it")


def test_links_of_the_hub_cache_are_followed(hf_model: HfModel, tmp_path: Path) -> None:
    source, _ = hf_model("llama-2-7b")
    snapshot, blobs = tmp_path / "models--x" / "snapshots" / "abc", tmp_path / "models--x" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, name in enumerate(("config.json", "model.safetensors")):
        shutil.copyfile(source / name, blobs / str(number))
        (snapshot / name).symlink_to(Path("../../blobs") / str(number))
    assert load_hf(snapshot, make_mesh("1x1")).config.num_layers == 2


def test_pickled_weights_are_refused_and_never_opened(hf_model: HfModel, tmp_path: Path) -> None:
    directory = copy_of(hf_model("llama-2-7b")[0], tmp_path)
    (directory / "model.safetensors").unlink()
    (directory / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch /tmp/owned'\ntR.")
    refused(directory, "pickled weights", ".bin")


def test_nan_is_loaded_with_a_warning_that_names_the_tensor(
    hf_model: HfModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = copy_of(hf_model("llama-2-7b")[0], tmp_path)
    rewrite(directory, lambda t: t["model.layers.1.mlp.up_proj.weight"].__setitem__((3, 4), np.nan))
    with caplog.at_level(logging.WARNING, "xltjax"):
        load_hf(directory, make_mesh("1x1"))
    assert "model.layers.1.mlp.up_proj.weight" in caplog.text
    assert caplog.text.count("NaN") == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_one_value_that_is_not_finite_is_found_among_many(bad: float, dtype: str) -> None:
    values = np.random.default_rng(0).normal(size=(30, 70)).astype(jnp.dtype(dtype))
    values[0, 0], values[1, 1] = jnp.finfo(dtype).max, jnp.finfo(dtype).min
    assert all_finite(values)
    values[17, 42] = bad
    assert not all_finite(values)


def test_a_cast_that_overflows_is_warned_of(
    hf_model: HfModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = copy_of(hf_model("llama-2-7b")[0], tmp_path)
    rewrite(directory, lambda t: t["model.norm.weight"].__setitem__(3, 1e6))
    with caplog.at_level(logging.WARNING, "xltjax"):
        load_hf(directory, make_mesh("1x1"), dtype=jnp.float32)
        assert not caplog.records
        load_hf(directory, make_mesh("2x1"), dtype=jnp.float16)
    assert [record.getMessage() for record in caplog.records] == [
        "warning: model.norm.weight holds NaN or infinite values"
    ]


def test_missing_directory_and_unsupported_architecture_are_refused(
    hf_model: HfModel, tmp_path: Path
) -> None:
    refused(tmp_path / "nowhere", "does not exist")
    directory = copy_of(hf_model("llama-2-7b")[0], tmp_path)
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps({**config, "model_type": "gpt2"}))
    refused(directory, "'gpt2'", "llama, mistral, qwen2")


def test_export_never_leaves_half_a_directory(
    hf_model: HfModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import xltjax.converters.export_hf as export

    model = load_hf(hf_model("llama-2-7b")[0], make_mesh("1x1"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(UserError, match="not empty"):
        save_hf(model, tmp_path / "full")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file"):
        save_hf(model, tmp_path / "file")

    def disk_full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export, "write_safetensors", disk_full)
    with pytest.raises(
        UserError, match="out could not be written: No space left on device; nothing was left"
    ):
        save_hf(model, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "full"]


def test_an_export_replaces_what_was_there_only_with_overwrite_and_when_it_is_whole(
    hf_model: HfModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import xltjax.converters.export_hf as export

    directory = copy_of(hf_model("llama-2-7b")[0], tmp_path)
    model = load_hf(directory, make_mesh("1x1"), dtype=None)
    (directory / "old").touch()

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(export, "write_safetensors", stop)
        with pytest.raises(KeyboardInterrupt):
            save_hf(model, directory, base=directory, overwrite=True)
    assert (directory / "old").exists()
    before = tensors(directory)
    save_hf(model, directory, base=directory, overwrite=True)  # its own source, too
    assert {k: v.tobytes() for k, v in tensors(directory).items()} == {
        k: v.tobytes() for k, v in before.items()
    }
    assert not (directory / "old").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


def test_a_base_of_another_architecture_is_refused(hf_model: HfModel, tmp_path: Path) -> None:
    model = load_hf(hf_model("llama-2-7b")[0], make_mesh("1x1"))
    with pytest.raises(UserError, match="an architecture other than that of the model"):
        save_hf(model, tmp_path / "out", base=hf_model("code-llama")[0])


BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "convert.py"


def benchmark(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(BENCHMARK), *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[int]]:
    """A random checkpoint of 100 MB in four shards, and the bytes of its tensors."""
    directory = tmp_path_factory.mktemp("benchmark") / "model"
    benchmark("--make", str(directory), "--gigabytes", "0.1")
    assert len(list(directory.glob("*.safetensors"))) == 4
    return directory, [array.nbytes for array in map_tensors(directory).values()]


def added_memory(directory: Path, child: str, mesh: str) -> float:
    """Bytes of anonymous memory by which the peak exceeds what the process held before the work."""
    out = benchmark("--child", child, "--mesh", mesh, "--directory", str(directory))
    measured = json.loads(out.splitlines()[-1])
    return float(measured["peak"] - measured["before"])


RUNTIME = 12e6  # bytes: threads, compiled programs and Python's objects, whatever the model's size


@pytest.mark.parametrize("mesh", ["1x1", "2x1"])
def test_loading_holds_the_model_and_little_else(mesh: str, checkpoint: tuple[Path, list[int]]) -> None:
    directory, sizes = checkpoint
    bound = 1.1 * sum(sizes) + RUNTIME
    assert added_memory(directory, "load", mesh) < bound
    if mesh == "2x1":
        assert added_memory(directory, "numpy", mesh) > bound  # the eager way, by the same measure


def test_exporting_holds_one_tensor(checkpoint: tuple[Path, list[int]]) -> None:
    directory, sizes = checkpoint
    assert max(sizes) > 2.5 * RUNTIME
    assert added_memory(directory, "export", "2x1") < 1.1 * max(sizes) + RUNTIME


def test_random_model_exports_without_a_base(tmp_path: Path, tokens: np.ndarray) -> None:
    import torch
    from helpers.logits import logits_of
    from transformers import AutoModelForCausalLM

    from xltjax.llama import Llama, LlamaConfig, initialize

    mesh = make_mesh("1x1")
    model = initialize(Llama(LlamaConfig(101, 32, 64, 2, 4, 2, 8, 64)), mesh, jax.random.key(0))
    save_hf(model, tmp_path / "out")
    reference = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    with torch.no_grad():
        expected = reference(torch.tensor(tokens).long()).logits.numpy()
    np.testing.assert_allclose(logits_of(model, tokens, mesh), expected, atol=1e-4)
