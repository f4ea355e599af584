"""One way to find and load a model wherever it comes from: Hugging Face, a run of ours, an adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import yaml
from jax.sharding import Mesh, NamedSharding

from xltjax.checkpoint import CHECKPOINTS, Checkpoints
from xltjax.common.errors import UserError, first_line
from xltjax.common.files import read_text
from xltjax.common.fingerprint import fingerprint
from xltjax.converters import load_hf, load_peft
from xltjax.converters.hf_config import llama_config, read_hf_config
from xltjax.converters.load import abstract_llama
from xltjax.llama import Llama, parameters
from xltjax.lora import add_lora, merge
from xltjax.mesh import stored_spec

BASE = "base"  # inside a run: the base model's config and tokenizer, which travel with every export


def find_model(name: str) -> Path:
    """The directory of a model: a path, the miniature, or a Hugging Face id (fetched into the hub's cache).

    Raises:
        UserError: when there is no such directory and the hub does not answer.
    """
    if name == "miniature":
        from xltjax.miniature.build import ensure

        return ensure() / "model"
    path = Path(name)
    if path.is_dir():
        return path
    if path.exists():
        raise UserError(f"{name} is a file; a model is a directory")
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise UserError(f"model directory {name} does not exist")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=["*.safetensors", "*.json", "*.model", "*.jinja"]))
    except Exception as problem:
        raise UserError(
            f"{name} is neither a directory nor a model within reach: {first_line(problem)}"
        ) from None


def weights_directory(path: Path) -> Path:
    """Where the weights of a model lie: its directory, or the newest checkpoint of a run of ours."""
    run = run_of(path)
    if run is None:
        return path
    directory, step = run
    steps = [int(each.name) for each in (directory / CHECKPOINTS).iterdir() if each.name.isdigit()]
    if not steps:
        raise UserError(f"{directory} has no complete checkpoint")
    return directory / CHECKPOINTS / str(max(steps) if step is None else step)


def run_of(path: Path) -> tuple[Path, int | None] | None:
    """The run directory that ``path`` is, or is a checkpoint of (with its step); None for anything else."""
    if (path / "config.yaml").is_file() and (path / CHECKPOINTS).is_dir():
        return path, None
    if path.parent.name == CHECKPOINTS and path.name.isdigit():
        return path.parent.parent, int(path.name)
    return None


def companions(path: Path) -> Path:
    """Where the tokenizer and config of a model directory or run lie."""
    run = run_of(path)
    return run[0] / BASE if run else path


def load_model(path: Path, mesh: Mesh, *, dtype: Any, compute_dtype: Any = None) -> Llama:
    """A model from a Hugging Face directory, a run of ours, or one of its checkpoints.

    The adapters of a LoRA run come unmerged, upon their base.

    Args:
        path: from ``find_model``.
        mesh: on which the parameters are laid.
        dtype: of the parameters; None keeps what is stored.
        compute_dtype: of activations; ``dtype`` when not given.

    Raises:
        UserError: when the model cannot be read.
    """
    run = run_of(path)
    if run is None:
        return load_hf(path, mesh, dtype=dtype, compute_dtype=compute_dtype)
    directory, step = run
    settings = yaml.safe_load(read_text(directory / "config.yaml"))
    if settings.get("lora_rank", 0):
        base = find_model(settings["model"])
        _check_base(directory, step, base)
        model = load_model(base, mesh, dtype=dtype, compute_dtype=compute_dtype)
        merge(model)  # the base may be a LoRA run itself
        load_adapter(model, path, mesh, dtype=dtype)
    else:
        model = abstract_llama(llama_config(read_hf_config(directory / BASE)), mesh, compute_dtype or dtype)
        _fill(model, mesh, directory, step, dtype)
    return model


def _check_base(directory: Path, step: int | None, base: Path) -> None:
    """Refuse to put the adapters of a run upon weights that they were not trained on."""
    checkpoints = Checkpoints(directory / CHECKPOINTS)
    known = checkpoints.base(step or checkpoints.steps()[-1])
    checkpoints.close()
    if known and known != fingerprint(weights_directory(base)):
        raise UserError(f"{base} does not hold the weights that the adapters of {directory} were trained on")


def load_adapter(model: Llama, path: Path, mesh: Mesh, *, dtype: Any = None) -> None:
    """Add an adapter to its base ``model``: a PEFT directory, a LoRA run of ours, or one of its checkpoints.

    Args:
        model: the base, without adapters.
        path: of the adapter.
        mesh: on which the model lies.
        dtype: of the adapter; None keeps what is stored in a run, and is float32 for PEFT.

    Raises:
        UserError: when ``path`` is none of these, or does not fit the model.
    """
    run = run_of(path)
    if run is None:
        load_peft(model, path, dtype=dtype or jnp.float32)
        return
    directory, step = run
    settings = yaml.safe_load(read_text(directory / "config.yaml"))
    rank = settings.get("lora_rank", 0)
    if not rank:
        raise UserError(f"{directory} is a run of full training, not of LoRA; give it as --model")
    add_lora(model, mesh, None, rank=rank, alpha=settings["lora_alpha"], targets=settings["lora_targets"])
    _fill(model, mesh, directory, step, dtype)


def _fill(model: Llama, mesh: Mesh, directory: Path, step: int | None, dtype: Any) -> None:
    """Give the abstract parameters of ``model`` their values in a checkpoint, the newest when not named."""
    checkpoints = Checkpoints(directory / CHECKPOINTS)
    steps = checkpoints.steps()
    if not steps or (step is not None and step not in steps):
        raise UserError(f"{directory} has no complete checkpoint{'' if step is None else f' {step}'}")
    wanted = {
        name: variable
        for name, variable in parameters(model).items()
        if isinstance(variable.get_value(), jax.ShapeDtypeStruct)
    }
    stored = checkpoints.dtypes(step or steps[-1])
    like = {
        name: jax.ShapeDtypeStruct(
            v.shape, dtype or stored[name], sharding=NamedSharding(mesh, stored_spec(v.axes))
        )
        for name, v in wanted.items()
    }
    for name, array in checkpoints.read(step or steps[-1], "weights", like).items():
        wanted[name].set_value(array)
    checkpoints.close()
