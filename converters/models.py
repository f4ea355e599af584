"""Models from any source: Hugging Face directories and ids, runs, checkpoints, and adapters for them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from jax.sharding import Mesh, NamedSharding
from jax.typing import DTypeLike

from xltjax.common.errors import UserError
from xltjax.common.files import read_json_object
from xltjax.common.fingerprint import fingerprint
from xltjax.common.model_parts import part_of
from xltjax.converters.hf_config import read_architecture, read_hf_config
from xltjax.converters.load import Dtypes, NotFiniteError, abstract_llama, load_hf
from xltjax.converters.names import hf_name
from xltjax.converters.peft import load_peft
from xltjax.converters.safetensors_files import SAFETENSORS_DTYPES
from xltjax.converters.vocabulary import resize_vocabulary
from xltjax.data.chat_jinja import exported_template
from xltjax.data.model_files import model_directory
from xltjax.llama import Llama, LlamaConfig, parameters
from xltjax.lora import add_lora, merge, remove_lora
from xltjax.mesh import stored_spec
from xltjax.training.config import TrainConfig
from xltjax.training.run import Run
from xltjax.training.trained import trained_parts

log = logging.getLogger("xltjax")

EXPORTED = {dtype.name: dtype for dtype in SAFETENSORS_DTYPES.values()}
_LLAMA_2_7B = LlamaConfig(
    vocab_size=32000, hidden_size=4096, intermediate_size=11008, num_layers=32, num_heads=32, num_kv_heads=32,
    head_dim=128, max_positions=4096,
)  # fmt: skip
_LLAMA_2_13B = replace(
    _LLAMA_2_7B, hidden_size=5120, intermediate_size=13824, num_layers=40, num_heads=40, num_kv_heads=40
)
_LLAMA_2_70B = replace(
    _LLAMA_2_7B, hidden_size=8192, intermediate_size=28672, num_layers=80, num_heads=64, num_kv_heads=8
)
# Architectures of the paper's models, so that a plan needs no download.
KNOWN = {
    "meta-llama/Llama-2-7b-hf": _LLAMA_2_7B,
    "meta-llama/Llama-2-13b-hf": _LLAMA_2_13B,
    "meta-llama/Llama-2-70b-hf": _LLAMA_2_70B,
    "Unbabel/TowerBase-7B-v0.1": _LLAMA_2_7B,
}


def find_model(name: str) -> Path:
    """The directory of a model, given by its path or by a Hugging Face id, which is downloaded into the hub's cache.

    Raises:
        UserError: when there is no such directory and the hub does not have the model or does not answer.
    """
    return model_directory(name, ("*.safetensors", "*.json", "*.model", "*.jinja"))


def weights_directory(path: Path) -> Path:
    """The directory that holds a model's weights: a checkpoint for a run, ``path`` itself for any other model."""
    run = Run.find(path)
    return run.checkpoint if run else path


def config_directory(path: Path) -> Path:
    """The directory that holds a model's config and tokenizer: a folder of a run, or else ``path`` itself."""
    run = Run.find(path)
    return run.model_files if run else path


def template_of(path: Path) -> str | None:
    """The chat template with which a model or adapter was trained: that of a run, or of a directory that we exported.

    None when it is not known.
    """
    run = Run.find(path)
    if run is None:
        return exported_template(path)
    # What ``to-flax`` makes of a model that is not a run has no template of its own.
    plain_copy = run.step == 0 and not run.config.data and run.template == TrainConfig.template
    return None if plain_copy else run.template


def export_dtype(path: Path) -> np.dtype | None:
    """The dtype in which a run is exported, which the config of its base names; None for any other model.

    A model that is not a run keeps the dtype of each tensor.

    Raises:
        UserError: when the config cannot be read.
    """
    if Run.find(path) is None:
        return None
    directory = config_directory(path)
    values = read_hf_config(directory)
    named = str(values.get("dtype") or values.get("torch_dtype") or "float32").removeprefix("torch.")
    if named not in EXPORTED:
        log.warning(
            "warning: %s: dtype %r is none of %s: float32 is written unless --dtype names another",
            directory / "config.json", named, ", ".join(EXPORTED),
        )  # fmt: skip
    return EXPORTED.get(named, np.dtype(np.float32))


def known_architecture(model: str) -> LlamaConfig:
    """The architecture of a model in a directory or of an id in ``KNOWN``, without a download.

    Raises:
        UserError: when ``model`` is neither.
    """
    if Path(model).is_dir():
        return read_architecture(config_directory(Path(model)))
    if model in KNOWN:
        return KNOWN[model]
    raise UserError(
        f"no architecture is known for {model!r}; give a local directory or one of {', '.join(KNOWN)}"
    )


def load_model(
    path: Path,
    mesh: Mesh,
    *,
    dtype: Dtypes,
    compute_dtype: DTypeLike | None = None,
    base: str = "",
    require_finite: bool = False,
) -> Llama:
    """A model from a Hugging Face directory, a run, or one of a run's checkpoints.

    The adapters of a LoRA run are not merged: the model is its base with the adapters beside the weights. A run that
    trained some of the layers is its base with these layers.

    Args:
        path: the directory, from ``find_model``.
        mesh: the devices.
        dtype: the dtype of the parameters; None keeps the dtype that each has on disk, and a mapping gives that of
            each parameter by its path.
        compute_dtype: the dtype of activations; ``dtype`` when not given.
        base: where the base of a LoRA run, or of one that trained some layers, lies now; empty for where it was when
            the run began.
        require_finite: whether NaN and infinite values are an error.

    Raises:
        UserError: when the model cannot be read.
    """
    run = Run.find(path)
    if base and not (run and run.partial):
        raise UserError(f"{path} is a whole model, which needs no base; leave out --base")
    if run is None:
        return load_hf(path, mesh, dtype=dtype, compute_dtype=compute_dtype, require_finite=require_finite)
    if not run.partial:
        config = read_architecture(run.model_files)
        one = None if isinstance(dtype, Mapping) else dtype
        model = abstract_llama(config, mesh, compute_dtype or one or jnp.float32)
        _fill(parameters(model), mesh, run, dtype, require_finite)
        return model
    base_directory = find_base(run, base)
    model = load_model(
        base_directory, mesh, dtype=dtype, compute_dtype=compute_dtype, require_finite=require_finite
    )
    merge(model)  # the base may be a LoRA run itself
    if run.lora:
        own = None if isinstance(dtype, Mapping) else dtype
        load_adapter(model, path, mesh, base=base_directory, dtype=own, require_finite=require_finite)
        return model
    resize_vocabulary(model, mesh, read_architecture(run.model_files).vocab_size)
    parts = trained_parts(run.config, model.config)
    trained = {name: v for name, v in parameters(model).items() if part_of(name) in parts}
    _fill(trained, mesh, run, dtype, require_finite)
    return model


def find_base(run: Run, moved: str = "") -> Path:
    """The directory of the base of a run that holds only a part of its model.

    Args:
        run: the run.
        moved: where the base lies now; empty for where it was when the run began.

    Raises:
        UserError: when it is not there, or holds other weights.
    """
    try:
        base = find_model(moved or run.base.location)
    except UserError as problem:
        if moved:
            raise
        raise UserError(f"{problem}; it is the base of {run.path}: give --base DIR if it was moved") from None
    _check_base(run, base)
    return base


def check_adapter(path: Path, base: Path) -> None:
    """Refuse an adapter that does not belong on a base, before anything is loaded.

    Args:
        path: the directory of the adapter, as ``load_adapter`` takes it.
        base: the directory of the model.

    Raises:
        UserError: when ``path`` is no adapter, or a LoRA run that was trained on other weights than those in
            ``base``. The base that a PEFT directory names may be anywhere; if it is here and holds other weights,
            a warning says so.
    """
    run = Run.find(path)
    if run is None:
        if not (path / "adapter_config.json").is_file():
            raise UserError(f"adapter directory {path} does not exist or holds no adapter_config.json")
        named = Path(str(read_json_object(path / "adapter_config.json").get("base_model_name_or_path")))
        if named.is_dir() and fingerprint(named) != fingerprint(weights_directory(base)):
            log.warning(
                "warning: %s names %s as its base, whose weights are not those of %s", path, named, base
            )
        return
    if not run.lora:
        raise UserError(f"{run.path} is not a run of LoRA; give it as --model")
    _check_base(run, base)


def _check_base(run: Run, base: Path) -> None:
    """Refuse a base with other weights than those that ``run`` began with."""
    known = run.base.fingerprint
    if known and known != fingerprint(weights_directory(base)):
        what = "adapters" if run.lora else "layers"
        raise UserError(f"{base} does not hold the weights that the {what} of {run.path} were trained on")


def base_restorer(model: Llama) -> Callable[[], None]:
    """A function that makes ``model`` again what it is now: without adapters, and without what they have replaced."""
    config, head = model.config, model.head
    values = {name: variable[...] for name, variable in parameters(model).items()}

    def restore() -> None:
        remove_lora(model)
        model.config = config
        model.head = nnx.data(head)
        for name, variable in parameters(model).items():
            variable.set_value(values[name])

    return restore


def load_adapter(
    model: Llama,
    path: Path,
    mesh: Mesh,
    *,
    base: Path,
    dtype: DTypeLike | None = None,
    require_finite: bool = False,
) -> None:
    """Add an adapter to its base ``model``: a PEFT directory, a LoRA run, or one of a run's checkpoints.

    Args:
        model: the base, without adapters.
        path: the directory of the adapter.
        mesh: the devices that hold the model.
        base: the directory that the model was loaded from.
        dtype: the dtype of the adapter; None keeps the dtype on disk for a run and means float32 for PEFT.
        require_finite: whether NaN and infinite values are an error.

    Raises:
        UserError: when ``path`` is none of these, belongs on other weights, or does not fit the model.
    """
    check_adapter(path, base)
    run = Run.find(path)
    if run is None:
        load_peft(model, path, dtype=dtype or jnp.float32, require_finite=require_finite)
        return
    config = run.config
    resize_vocabulary(model, mesh, read_architecture(run.model_files).vocab_size)
    add_lora(
        model, mesh, None, rank=config.lora_rank, alpha=config.lora_alpha, targets=config.lora_targets,
        parts=trained_parts(config, model.config),
    )  # fmt: skip
    _fill(parameters(model, nnx.LoRAParam), mesh, run, dtype, require_finite)


def _fill(
    variables: Mapping[str, nnx.Variable], mesh: Mesh, run: Run, dtype: Dtypes, require_finite: bool
) -> None:
    """Give parameters their values at the run's step."""
    like = {
        name: jax.ShapeDtypeStruct(v.shape, v.dtype, sharding=NamedSharding(mesh, stored_spec(v.axes)))
        for name, v in variables.items()
    }
    for name, array in run.weights(like, dtype).items():
        if require_finite and not _finite(array):
            raise NotFiniteError(hf_name(name))
        variables[name].set_value(array)


@jax.jit
def _finite(array: Array) -> Array:
    return jnp.isfinite(array).all()
