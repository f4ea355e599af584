"""Adapters against ``peft``, in both directions."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import HfModel, make_hf_model
from helpers.logits import LOGIT_ERROR, logits_of

from xltjax.common.errors import UserError
from xltjax.converters import load_hf, load_peft, save_hf, save_peft
from xltjax.converters.models import base_restorer
from xltjax.llama import parameters
from xltjax.lora import TARGETS, add_lora, lora_linears, merge, remove_lora, with_dropout
from xltjax.mesh import make_mesh

# Large enough to change logits by more than 0.1, a thousand times the error of float32.
ADAPTER_SIZE = 0.05


@pytest.fixture(scope="module")
def trained_by_peft(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Any]:
    """(base directory, adapter directory, peft model) with random adapters on every linear layer."""
    import torch
    from peft import LoraConfig, get_peft_model

    root = tmp_path_factory.mktemp("peft")
    model = make_hf_model("llama-with-biases", root / "base")
    config = LoraConfig(r=4, lora_alpha=6, target_modules=list(TARGETS), task_type="CAUSAL_LM")
    adapted = get_peft_model(model, config).eval()
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            parameter.data = ADAPTER_SIZE * torch.randn_like(parameter)
    adapted.save_pretrained(root / "adapter")
    return root / "base", root / "adapter", adapted


def logits_in_torch(model: Any, tokens: np.ndarray) -> np.ndarray:
    import torch

    with torch.no_grad():
        return np.asarray(model(torch.tensor(tokens).long()).logits)


@pytest.mark.parametrize("spec", ["1x1", "2x2"])
def test_an_adapter_of_peft_gives_the_same_logits_here_and_merged(
    spec: str, trained_by_peft: tuple[Path, Path, Any], tokens: np.ndarray
) -> None:
    base, adapter, reference = trained_by_peft
    mesh = make_mesh(spec)
    model = load_hf(base, mesh, dtype=jnp.float32)
    plain = logits_of(model, tokens, mesh)
    load_peft(model, adapter)
    expected = logits_in_torch(reference, tokens)
    assert np.abs(plain - expected).max() > 0.1
    np.testing.assert_allclose(logits_of(model, tokens, mesh), expected, atol=LOGIT_ERROR, rtol=0)
    merge(model)
    np.testing.assert_allclose(logits_of(model, tokens, mesh), expected, atol=LOGIT_ERROR, rtol=0)


def test_our_adapter_loads_in_peft_with_the_same_logits_and_the_same_merged_model(
    trained_by_peft: tuple[Path, Path, Any], tokens: np.ndarray, tmp_path: Path
) -> None:
    from peft import PeftModel
    from safetensors.numpy import load_file
    from transformers import AutoModelForCausalLM

    base, _, _ = trained_by_peft
    mesh = make_mesh("2x1")
    model = load_hf(base, mesh, dtype=jnp.float32)
    add_lora(model, mesh, jax.random.key(0), rank=3, alpha=8, targets=("q_proj", "down_proj"))
    for index, (_, linear) in enumerate(lora_linears(model)):
        values = 0.1 * np.random.default_rng(index).normal(size=linear.lora_b.shape).astype(np.float32)
        linear.lora_b.set_value(jax.device_put(values, linear.lora_b[...].sharding))
    ours = logits_of(model, tokens, mesh)
    save_peft(model, tmp_path / "adapter", base_name=str(base))
    theirs = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(base), tmp_path / "adapter"
    ).eval()
    np.testing.assert_allclose(logits_in_torch(theirs, tokens), ours, atol=LOGIT_ERROR, rtol=0)
    merge(model)
    save_hf(model, tmp_path / "merged", base=base)
    merged = load_file(tmp_path / "merged" / "model.safetensors")
    for name, tensor in theirs.merge_and_unload().state_dict().items():
        np.testing.assert_allclose(merged[name], tensor.numpy(), atol=1e-6)


def test_a_fresh_adapter_changes_nothing(hf_model: HfModel, tokens: np.ndarray) -> None:
    directory, _ = hf_model("llama-2-7b")
    mesh = make_mesh("1x1")
    model = load_hf(directory, mesh, dtype=jnp.float32)
    before = logits_of(model, tokens, mesh)
    add_lora(model, mesh, jax.random.key(0), rank=8, alpha=16)
    np.testing.assert_array_equal(logits_of(model, tokens, mesh), before)


def test_a_removed_adapter_leaves_the_base_as_it_was(hf_model: HfModel, tokens: np.ndarray) -> None:
    mesh = make_mesh("1x1")
    model = load_hf(hf_model("llama-2-7b")[0], mesh, dtype=jnp.float32)
    before = logits_of(model, tokens, mesh)
    names = list(parameters(model))
    add_lora(model, mesh, jax.random.key(0), rank=8, alpha=16, targets=("q_proj", "up_proj"))
    assert [path for path, _ in lora_linears(model)] == [
        f"layers.{layer}.{name}" for layer in range(2) for name in ("attention.q_proj", "mlp.up_proj")
    ]
    added = set(parameters(model)) - set(names)
    assert added == {f"{path}.lora_{side}" for path, _ in lora_linears(model) for side in "ab"}
    for _, linear in lora_linears(model):
        linear.lora_b.set_value(jnp.ones_like(linear.lora_b[...]))
    assert np.abs(logits_of(model, tokens, mesh) - before).max() > 0.1
    remove_lora(model)
    assert list(parameters(model)) == names
    np.testing.assert_array_equal(logits_of(model, tokens, mesh), before)


def test_unknown_targets_are_refused(hf_model: HfModel) -> None:
    mesh = make_mesh("1x1")
    model = load_hf(hf_model("llama-2-7b")[0], mesh)
    with pytest.raises(UserError, match="'q_prj' matches no part of the model; did you mean 'q_proj'"):
        add_lora(model, mesh, None, rank=4, alpha=8, targets=("q_prj",))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("use_dora", True),
        ("layer_replication", [[0, 2]]),
        ("rank_pattern", ["q_proj"]),
        ("modules_to_save", "lm_head"),
        ("init_lora_weights", "pissa"),
        ("peft_type", "IA3"),
    ],
)
def test_adapter_options_that_are_not_supported_are_refused_by_name(
    key: str, value: object, trained_by_peft: tuple[Path, Path, Any], tmp_path: Path
) -> None:
    base, adapter, _ = trained_by_peft
    copy = Path(shutil.copytree(adapter, tmp_path / "copy"))
    config = json.loads((copy / "adapter_config.json").read_text())
    (copy / "adapter_config.json").write_text(json.dumps({**config, key: value}))
    model = load_hf(base, make_mesh("1x1"))
    with pytest.raises(UserError, match=key):
        load_peft(model, copy)


@pytest.mark.parametrize(
    "changes", [{"use_rslora": True}, {"target_modules": ["v_proj", "up_proj"]}, {"r": 1}]
)
def test_scales_ranks_and_targets_are_those_of_the_adapter(
    changes: dict[str, Any], tokens: np.ndarray, tmp_path: Path
) -> None:
    import torch
    from peft import LoraConfig, get_peft_model

    settings = {"r": 4, "lora_alpha": 6, "target_modules": list(TARGETS), "task_type": "CAUSAL_LM", **changes}
    reference = get_peft_model(make_hf_model("qwen2", tmp_path / "base"), LoraConfig(**settings)).eval()
    for name, parameter in reference.named_parameters():
        if "lora_" in name:
            parameter.data = ADAPTER_SIZE * torch.randn_like(parameter)
    reference.save_pretrained(tmp_path / "adapter")
    mesh = make_mesh("1x2")
    model = load_hf(tmp_path / "base", mesh, dtype=jnp.float32)
    load_peft(model, tmp_path / "adapter")
    expected = logits_in_torch(reference, tokens)
    np.testing.assert_allclose(logits_of(model, tokens, mesh), expected, atol=LOGIT_ERROR, rtol=0)


def trained_with(
    name: str, directory: Path, tokens: np.ndarray, **settings: Any
) -> tuple[Path, Path, np.ndarray]:
    """A base, a random adapter that peft has made for it, and the logits of peft that has loaded both again."""
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoModelForCausalLM

    base, adapter = directory / "base", directory / "adapter"
    settings = {"r": 4, "lora_alpha": 6, "target_modules": list(TARGETS), "task_type": "CAUSAL_LM"} | settings
    model = get_peft_model(make_hf_model(name, base), LoraConfig(**settings))
    for path, parameter in model.named_parameters():
        if "lora_" in path or "modules_to_save" in path:
            parameter.data = parameter.data + ADAPTER_SIZE * torch.randn_like(parameter)
    model.save_pretrained(adapter)
    again = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter).eval()
    return base, adapter, logits_in_torch(again, tokens)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("llama-2-7b", {"rank_pattern": {"q_proj": 2, "layers.1.mlp.up_proj": 1}, "alpha_pattern": {"q_proj": 3}}),
        ("llama-2-7b", {"rank_pattern": {"^model.layers.0.self_attn.k_proj": 8}, "use_rslora": True}),
        ("llama-2-7b", {"layers_to_transform": [1], "layers_pattern": "layers", "exclude_modules": ["q_proj"]}),
        ("llama-2-7b", {"modules_to_save": ["lm_head", "embed_tokens"]}),
        ("llama-with-biases", {"modules_to_save": ["norm", "input_layernorm", "up_proj"],
                               "target_modules": ["q_proj"]}),
        ("llama-3.2-tied", {"modules_to_save": ["lm_head"]}),
        ("llama-3.2-tied", {"modules_to_save": ["embed_tokens"]}),
        ("llama-3.2-tied", {"modules_to_save": ["lm_head", "embed_tokens"]}),
        ("llama-3.2-tied", {"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True}),
    ],
)  # fmt: skip
def test_what_peft_can_train_gives_the_logits_of_peft_and_survives_an_export(
    name: str, settings: dict[str, Any], tokens: np.ndarray, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    base, adapter, expected = trained_with(name, tmp_path, tokens, **settings)
    mesh = make_mesh("2x1")
    model = load_hf(base, mesh, dtype=jnp.float32)
    restore = base_restorer(model)
    before = {path: np.asarray(v[...]) for path, v in parameters(model).items()}, model.config
    plain = logits_of(model, tokens, mesh)
    assert np.abs(plain - expected).max() > 0.1
    load_peft(model, adapter)
    np.testing.assert_allclose(logits_of(model, tokens, mesh), expected, atol=LOGIT_ERROR, rtol=0)
    merge(model)
    save_hf(model, tmp_path / "merged", base=base)
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    np.testing.assert_allclose(logits_in_torch(merged, tokens), expected, atol=LOGIT_ERROR, rtol=0)
    if "modules_to_save" in settings and name != "llama-with-biases":
        restore()  # as generate does it before the next adapter, although the weights were merged
        for path, variable in parameters(model).items():
            np.testing.assert_array_equal(variable[...], before[0].pop(path))
        assert not before[0]
        assert model.config == before[1]


def test_an_adapter_may_name_its_adapter_lie_beside_a_model_and_bring_keys_of_other_tools(
    trained_by_peft: tuple[Path, Path, Any],
    tokens: np.ndarray,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    from safetensors.numpy import load_file, save_file

    base, adapter, reference = trained_by_peft
    copy = Path(shutil.copytree(adapter, tmp_path / "copy"))
    weights = copy / "adapter_model.safetensors"
    plain = load_file(weights)
    named = {name.replace(".weight", ".default.weight"): array for name, array in plain.items()}
    save_file(named, weights, {"format": "pt"})
    index = {"weight_map": {"model.norm.weight": "model-00001-of-00002.safetensors"}}
    (copy / "model.safetensors.index.json").write_text(json.dumps(index))
    shutil.copyfile(base / "model.safetensors", copy / "model.safetensors")
    config = json.loads((copy / "adapter_config.json").read_text())
    config |= {
        "exclude_modules": ["lm_head"],
        "layers_to_transform": [0, 1],
        "bookkeeping": "mine",
        "other": None,
    }
    (copy / "adapter_config.json").write_text(json.dumps(config))
    mesh = make_mesh("1x1")
    model = load_hf(base, mesh, dtype=jnp.float32)
    load_peft(model, copy)
    expected = logits_in_torch(reference, tokens)
    np.testing.assert_allclose(logits_of(model, tokens, mesh), expected, atol=LOGIT_ERROR, rtol=0)
    assert [record.getMessage() for record in caplog.records] == [
        f"warning: {copy / 'adapter_config.json'}: bookkeeping = 'mine' has no meaning here and is ignored"
    ]
    name, array = next(iter(plain.items()))
    for tensors, reason in (
        ({**plain, **named}, "holds several adapters"),
        ({**plain, name.replace(".weight", ".bias"): array}, "of this kind are not supported; see .*bias"),
        ({**plain, "base_model.model.lm_head.lora_A.weight": array}, "of this kind .* see .*lm_head"),
        ({**plain, "base_model.model.lm_head.weight": array}, "does not fit the model; see lm_head.weight"),
    ):
        save_file(tensors, weights, {"format": "pt"})
        with pytest.raises(UserError, match=reason):
            load_peft(load_hf(base, mesh), copy)
    remove_lora(model)
    (weights).unlink()
    with pytest.raises(UserError, match=re.escape(f"holds no {weights.name}")):
        load_peft(model, copy)


def test_damaged_adapters_are_refused(trained_by_peft: tuple[Path, Path, Any], tmp_path: Path) -> None:
    base, adapter, _ = trained_by_peft
    copy = Path(shutil.copytree(adapter, tmp_path / "copy"))
    weights, config = copy / "adapter_model.safetensors", copy / "adapter_config.json"
    data, settings = weights.read_bytes(), json.loads(config.read_text())
    model = load_hf(base, make_mesh("1x1"))

    def refused(reason: str) -> None:
        with pytest.raises(UserError, match=reason):
            load_peft(model, copy)

    weights.write_bytes(data[:-10])
    refused("damaged or truncated")
    weights.rename(copy / "adapter_model.bin")
    refused("pickled")
    (copy / "adapter_model.bin").unlink()
    refused("adapter_model.safetensors")
    weights.write_bytes(data)
    for key, value in (("r", "four"), ("lora_alpha", None), ("r", 0)):
        config.write_text(json.dumps({**settings, key: value}))
        refused("r must be a whole number of at least 1")
    config.write_text(json.dumps({**settings, "r": 3}))
    refused("does not fit the model")
    config.write_text("[]")
    refused("not a JSON object")


def test_a_model_that_has_adapters_takes_no_others(trained_by_peft: tuple[Path, Path, Any]) -> None:
    base, adapter, _ = trained_by_peft
    model = load_hf(base, make_mesh("1x1"))
    load_peft(model, adapter)
    with pytest.raises(UserError, match="has adapters already"):
        load_peft(model, adapter)


def test_an_adapter_of_another_model_is_refused(
    trained_by_peft: tuple[Path, Path, Any], hf_model: HfModel
) -> None:
    model = load_hf(hf_model("tinyllama")[0], make_mesh("1x1"))
    with pytest.raises(UserError, match="does not fit the model"):
        load_peft(model, trained_by_peft[1])


def test_dropout_falls_on_the_inputs_of_adapters_alone(hf_model: HfModel) -> None:
    """As in peft: y = W x + scale B A dropout(x), each adapter with draws of its own."""
    directory, _ = hf_model("llama-2-7b")
    mesh = make_mesh("2x1")
    model = load_hf(directory, mesh, dtype=jnp.float32)
    add_lora(model, mesh, jax.random.key(0), rank=4, alpha=8)
    x = jax.device_put(
        np.random.default_rng(0).normal(size=(2, 512, 32)).astype(np.float32),
        jax.NamedSharding(mesh, jax.P(("replica", "data"), None, None)),
    )
    with jax.set_mesh(mesh):
        plain = model.layers[0].mlp.up_proj
        plain.lora_b.set_value(jnp.ones_like(plain.lora_b[...]))
        layer = with_dropout(model, 0.25, jax.random.key(1)).layers[0].mlp
        dropped = np.asarray(layer.up_proj(x)) - np.asarray(x) @ np.asarray(plain.weight[...]).T
        a, kept = np.asarray(plain.lora_a[...]), np.asarray(layer.up_proj.drop(x))
        np.testing.assert_array_equal(plain.drop(x), x)  # the model itself drops nothing
        other = np.asarray(layer.gate_proj.drop(x))
    expected = np.broadcast_to((kept @ a.T).sum(-1, keepdims=True) * 2, dropped.shape)  # B is all ones
    np.testing.assert_allclose(dropped, expected, atol=1e-4)
    share = (kept != 0).mean()
    assert share == pytest.approx(0.75, abs=0.02)
    np.testing.assert_allclose(kept[kept != 0], np.asarray(x)[kept != 0] / 0.75, rtol=1e-6)
    assert ((kept != 0) != (other != 0)).any()
