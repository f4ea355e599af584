"""Weights and settings that are not finite are refused where answers or updates would come of them."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from test_converters_command import make_run

from xltjax.checkpoint import Checkpoints
from xltjax.common.errors import UserError
from xltjax.converters.conversions.settings import ToHfConfig
from xltjax.converters.conversions.work import to_hf
from xltjax.converters.models import load_model
from xltjax.generate import GenerateConfig, generate
from xltjax.llama import parameters
from xltjax.mesh import make_mesh
from xltjax.train import fit
from xltjax.training.config import TrainConfig

NAME = "model.layers.1.mlp.up_proj.weight"


@pytest.fixture
def broken(chat_model: Path, tmp_path: Path) -> Path:
    """A model with one NaN."""
    directory = Path(shutil.copytree(chat_model, tmp_path / "broken"))
    tensors = load_file(directory / "model.safetensors")
    tensors[NAME][3, 4] = np.nan
    save_file(tensors, directory / "model.safetensors", {"format": "pt"})
    return directory


def test_generation_and_training_refuse_them_in_one_line_and_conversion_warns(
    broken: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "x.en.jsonl").write_text('{"id": "1", "instruction": "Why?"}\n')
    (tmp_path / "data.jsonl").write_text('{"instruction": "Why?", "response": "So."}\n')
    asked = GenerateConfig(
        model=str(broken),
        prompts=str(tmp_path / "x.en.jsonl"),
        out=str(tmp_path / "o.jsonl"),
        max_new_tokens=4,
    )
    trained = TrainConfig(
        model=str(broken), data=(str(tmp_path / "data.jsonl"),), out=str(tmp_path / "run"), steps=1,
        sequence_length=64, tokens_per_batch=64, accumulation=1,
    )  # fmt: skip
    caplog.set_level(logging.WARNING)
    for command in (lambda: generate(asked), lambda: fit(trained)):
        with pytest.raises(UserError, match=f"^the tensor {NAME} holds NaN or infinite values") as caught:
            command()
        assert "\n" not in str(caught.value)
    assert not [each for each in caplog.records if "infinite" in each.getMessage()]
    assert not (tmp_path / "o.jsonl").exists()
    assert not (tmp_path / "run").exists()
    to_hf(ToHfConfig(src=str(broken), dst=str(tmp_path / "hf")))
    assert f"warning: {NAME} holds NaN or infinite values" in [each.getMessage() for each in caplog.records]


@pytest.mark.parametrize("rank", [0, 2])
def test_checkpoints_of_runs_are_looked_at_too(rank: int, chat_model: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", chat_model, rank=rank)
    mesh = make_mesh("2x1")
    load_model(run, mesh, dtype=None, require_finite=True)
    checkpoints = Checkpoints(run / "checkpoints")
    metadata = checkpoints.dtypes(3)
    name = next(key for key in metadata if key.endswith("up_proj.lora_b" if rank else "up_proj.weight"))
    weights = {
        key: value[...]
        for key, value in parameters(load_model(run, mesh, dtype=None)).items()
        if key in metadata
    }
    values = np.array(weights[name])
    values[0, 0] = np.inf
    weights[name] = jax.device_put(values, weights[name].sharding)
    checkpoints.save_weights(4, weights)
    checkpoints.close()
    load_model(run, mesh, dtype=None)
    with pytest.raises(
        UserError, match=r"the tensor model.layers.0.mlp.up_proj.* holds NaN or infinite values"
    ):
        load_model(run, mesh, dtype=None, require_finite=True)


@pytest.mark.parametrize("key", ["repetition_penalty", "temperature", "top_p"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -1.0])
def test_settings_of_sampling_that_are_no_numbers_are_refused(key: str, value: float) -> None:
    with pytest.raises(UserError, match=f"{key} must be "):
        GenerateConfig(**{"temperature": 1.0, key: value})  # type: ignore[arg-type]
