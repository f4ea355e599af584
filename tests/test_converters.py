"""Hugging Face directories in and out: bit-exact, sharded, and refused when they are wrong."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import FAMILY, make_hf_model
from safetensors.numpy import load_file, save_file

from xltjax.converters import load_hf, save_hf
from xltjax.converters.hf_config import llama_config
from xltjax.errors import UserError
from xltjax.mesh import make_mesh

HfModel = Callable[[str], tuple[Path, Any]]


def tensors(directory: Path) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for file in sorted(directory.glob("*.safetensors")):
        found.update(load_file(file))
    return found


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


def test_tokenizer_and_generation_config_travel_with_the_export(chat_model: Path, tmp_path: Path) -> None:
    save_hf(load_hf(chat_model, make_mesh("1x1")), tmp_path / "out", base=chat_model)
    for name in ("tokenizer.json", "tokenizer.model", "generation_config.json"):
        assert (tmp_path / "out" / name).read_bytes() == (chat_model / name).read_bytes()
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "bfloat16"


def copy_of(directory: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(directory, tmp_path / "copy"))


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
    rewrite(directory, lambda t: t.update({"model.norm.weight": np.ones(32, np.float32), "odd": np.ones(1)}))
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
    refused(directory, "leaves the model directory")
    (directory / "link.safetensors").symlink_to(tmp_path / "outside.safetensors")
    index.write_text(json.dumps({"weight_map": dict.fromkeys(names, "link.safetensors")}))
    refused(directory, "leaves the model directory")


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


def test_missing_directory_and_unsupported_architecture_are_refused(
    hf_model: HfModel, tmp_path: Path
) -> None:
    refused(tmp_path / "nowhere", "does not exist")
    directory = copy_of(hf_model("llama-2-7b")[0], tmp_path)
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps({**config, "model_type": "gpt2"}))
    refused(directory, "'gpt2'", "llama, mistral, qwen2")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hidden_act", "gelu"),
        ("rope_parameters", {"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0}),
        ("quantization_config", {"bits": 4}),
        ("sliding_window", 16),
    ],
)
def test_fields_that_would_change_the_numbers_are_refused_by_name(
    field: str, value: object, hf_model: HfModel
) -> None:
    config = json.loads((hf_model("llama-2-7b")[0] / "config.json").read_text())
    with pytest.raises(UserError, match=r"rope_type 'yarn'" if field == "rope_parameters" else field):
        llama_config({**config, field: value})


def test_configs_of_transformers_4_read_the_same(hf_model: HfModel) -> None:
    config = json.loads((hf_model("llama-3.1")[0] / "config.json").read_text())
    new = llama_config(config)
    rope = config.pop("rope_parameters")
    old = {**config, "rope_theta": rope.pop("rope_theta"), "rope_scaling": rope}
    assert llama_config(old) == new


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
    with pytest.raises(OSError, match="No space"):
        save_hf(model, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "full"]


def test_random_model_exports_without_a_base(tmp_path: Path, tokens: np.ndarray) -> None:
    import torch
    from test_llama import logits_of
    from transformers import AutoModelForCausalLM

    from xltjax.llama import Llama, LlamaConfig, initialize

    mesh = make_mesh("1x1")
    model = initialize(Llama(LlamaConfig(101, 32, 64, 2, 4, 2, 8, 64)), mesh, jax.random.key(0))
    save_hf(model, tmp_path / "out")
    reference = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    with torch.no_grad():
        expected = reference(torch.tensor(tokens).long()).logits.numpy()
    np.testing.assert_allclose(logits_of(model, tokens, mesh), expected, atol=1e-4)
