"""``config.json`` of Hugging Face: each field is read as ``transformers`` means it, or refused by name."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import pytest
from conftest import FAMILY, TINY, HfModel

from xltjax.common.errors import UserError
from xltjax.converters.hf_config import hf_config, llama_config, read_architecture
from xltjax.converters.models import export_dtype

LONGROPE = {"rope_type": "longrope", "rope_theta": 1e4, "factor": 2.0}


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("hidden_act", "gelu", "hidden_act = 'gelu' is not supported; supported: 'silu'"),
        (
            "rope_parameters",
            LONGROPE,
            "rope_type 'longrope' is not supported; supported: default, linear, dynamic",
        ),
        (
            "rope_parameters",
            {"rope_type": "yarn", "factor": "big"},
            "factor = 'big' is not a positive number",
        ),
        ("rope_parameters", {"rope_type": "linear"}, "lacks 'factor'"),
        ("rope_parameters", {"rope_theta": 1e4, "partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        ("rope_parameters", {"full_attention": {"rope_theta": 1e6}}, "full_attention"),
        ("rope_parameters", {"rope_type": "llama3", "factor": 8.0}, "lacks 'low_freq_factor'"),
        ("rope_theta", "fast", "rope_theta"),
        ("quantization_config", {"bits": 4}, "quantization_config"),
        ("sliding_window", 16, "sliding_window with model_type 'llama'"),
        ("layer_types", ["full_attention", "sliding_attention"], "layer_types"),
        ("attention_dropout", 0.1, "attention_dropout"),
        ("auto_map", {"AutoModelForCausalLM": "modeling_x.X"}, "auto_map"),
        ("residual_multiplier", 0.2, "residual_multiplier"),
        ("num_local_experts", 8, "num_local_experts"),
        ("per_layer_config", {"0": {"num_key_value_heads": 1}}, "per_layer_config"),
        ("hidden_size", "wide", "hidden_size = 'wide' is not a positive whole number"),
        ("num_hidden_layers", None, "lacks 'num_hidden_layers'"),
        ("num_key_value_heads", 3, "do not fit together"),
        ("rms_norm_eps", -1, "rms_norm_eps"),
        ("attention_bias", "yes", "attention_bias = 'yes' is not true or false"),
    ],
)
def test_fields_that_would_change_the_numbers_are_refused_by_name(
    field: str, value: object, reason: str, hf_model: HfModel
) -> None:
    config = json.loads((hf_model("llama-2-7b")[0] / "config.json").read_text())
    assert llama_config(config).num_layers == 2
    if field == "rope_theta":
        del config["rope_parameters"]
    with pytest.raises(UserError, match=re.escape(reason)):
        llama_config({**config, field: value})


def test_a_field_that_means_nothing_to_the_family_is_warned_of_by_name(
    hf_model: HfModel, caplog: pytest.LogCaptureFixture
) -> None:
    config = json.loads((hf_model("mistral")[0] / "config.json").read_text())
    with caplog.at_level(logging.WARNING, "xltjax"):
        plain = llama_config({**config, "use_cache": True, "pretraining_tp": 2, "mlp_bias": False})
        assert not caplog.records
        assert llama_config({**config, "mlp_bias": True}) == plain
    assert "mlp_bias = True has no meaning for 'mistral'" in caplog.text


@pytest.mark.parametrize("prefix", ["Llama", "Mistral", "Qwen2"])
def test_every_field_of_the_family_in_transformers_is_read_refused_or_known_to_be_harmless(
    prefix: str,
) -> None:
    import transformers

    from xltjax.converters.hf_config import HARMLESS, INERT, READ, READ_BY_FAMILY

    config = getattr(transformers, f"{prefix}Config")(**TINY)
    fields = set(config.to_dict()) | set(vars(config)) - {"_commit_hash", "_output_attentions"}
    known = READ | READ_BY_FAMILY[config.model_type] | HARMLESS | INERT.keys()
    assert {name for name in fields if not name.startswith("_")} - known == set()


@pytest.mark.parametrize("prefix", ["Llama", "Mistral", "Qwen2"])
def test_a_field_that_is_missing_has_the_default_of_transformers(prefix: str) -> None:
    import transformers

    defaults = getattr(transformers, f"{prefix}Config")()
    required = {
        name: getattr(defaults, name)
        for name in ("model_type", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
                     "num_attention_heads")
    }  # fmt: skip
    assert llama_config(required) == llama_config(defaults.to_dict())


def test_sliding_windows_are_read_as_each_family_means_them(hf_model: HfModel) -> None:
    mistral = json.loads((hf_model("mistral")[0] / "config.json").read_text())
    assert llama_config(mistral).sliding_window == 7
    assert llama_config({**mistral, "sliding_window": None}).sliding_window is None
    qwen = json.loads((hf_model("qwen2-window")[0] / "config.json").read_text())
    assert [llama_config(qwen).window_of(layer) for layer in range(2)] == [None, 6]
    kinds = ["full_attention", "full_attention"]
    off = {**qwen, "use_sliding_window": False, "layer_types": kinds}
    assert [llama_config(off).window_of(layer) for layer in range(2)] == [None, None]
    with pytest.raises(UserError, match="layer_types"):
        llama_config({**qwen, "layer_types": kinds})


@pytest.mark.parametrize("name", FAMILY)
def test_an_architecture_is_written_as_a_config_that_transformers_reads_the_same(
    name: str, hf_model: HfModel, tmp_path: Path
) -> None:
    from transformers import AutoConfig

    config = llama_config(json.loads((hf_model(name)[0] / "config.json").read_text()))
    assert llama_config(hf_config(config)) == config
    (tmp_path / "config.json").write_text(json.dumps(hf_config(config)))
    assert llama_config(AutoConfig.from_pretrained(tmp_path).to_dict()) == config


def test_configs_of_transformers_4_read_the_same(hf_model: HfModel) -> None:
    config = json.loads((hf_model("llama-3.1")[0] / "config.json").read_text())
    new = llama_config(config)
    rope = config.pop("rope_parameters")
    old = {**config, "rope_theta": rope.pop("rope_theta"), "rope_scaling": rope}
    assert llama_config(old) == new


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rms_norm_eps": "1e-5"}, "config.json: rms_norm_eps = '1e-5' is not a positive number"),
        ({"vocab_size": None}, "config.json lacks 'vocab_size'"),
        ({"model_type": "gpt2"}, "config.json: model_type 'gpt2' is not supported"),
    ],
)
def test_what_is_refused_is_named_with_its_file(
    changes: dict[str, object], message: str, hf_model: HfModel, tmp_path: Path
) -> None:
    config = json.loads((hf_model("llama-2-7b")[0] / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **changes}))
    with pytest.raises(UserError, match=re.escape(f"{tmp_path}/{message}")):
        read_architecture(tmp_path)


@pytest.mark.parametrize(
    ("named", "expected", "warnings"),
    [
        ({"torch_dtype": "float16"}, "float16", 0),
        ({"dtype": "torch.bfloat16"}, "bfloat16", 0),
        ({}, "float32", 0),
        ({"dtype": "auto"}, "float32", 1),
        ({"dtype": "float8_e4m3fn"}, "float32", 1),
        ({"dtype": 7}, "float32", 1),
    ],
)
def test_a_run_is_exported_in_a_dtype_that_files_can_have(
    named: dict[str, object], expected: str, warnings: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("base", "checkpoints"):
        (tmp_path / name).mkdir()
    (tmp_path / "config.yaml").write_text("{}")
    (tmp_path / "base" / "config.json").write_text(json.dumps(named))
    found = export_dtype(tmp_path)
    assert found is not None
    assert found.name == expected
    assert len(caplog.messages) == warnings
