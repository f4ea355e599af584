"""The work of the conversion commands, a function for each."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from xltjax.common.directories import new_directory, refuse_existing
from xltjax.common.errors import UserError
from xltjax.common.fingerprint import fingerprint
from xltjax.converters.check import compare_models
from xltjax.converters.combine import Recipe
from xltjax.converters.combine import combine as combine_models
from xltjax.converters.conversions.settings import (
    CheckConfig,
    CombineConfig,
    ToFlaxConfig,
    ToHfConfig,
    ToPeftConfig,
)
from xltjax.converters.export_hf import save_hf
from xltjax.converters.hf_config import read_hf_config
from xltjax.converters.models import (
    config_directory,
    export_dtype,
    find_base,
    find_model,
    load_model,
    template_of,
    weights_directory,
)
from xltjax.converters.peft import load_peft, save_peft
from xltjax.data.tokenizer import ChatTokenizer
from xltjax.llama import parameters
from xltjax.lora import has_lora, merge
from xltjax.mesh import make_mesh
from xltjax.miniature import model_path
from xltjax.training.config import TrainConfig
from xltjax.training.run import Base, Run


def to_hf(config: ToHfConfig) -> None:
    """Write a model as a Hugging Face directory."""
    _check_target(config, config.base, config.adapter)
    most = _shard_bytes(config.max_shard_gib)
    mesh = make_mesh(config.mesh)  # a mistake in it is found before a model is fetched
    source = find_model(model_path(config.src))
    if run := Run.find(source):
        run.notice_unfinished()
    model = load_model(source, mesh, dtype=None, base=model_path(config.base))
    if config.adapter:
        load_peft(model, config.adapter)
    if has_lora(model):
        if not (config.merge_lora or config.adapter):
            raise UserError(
                f"{config.src} is a LoRA run: give --merge-lora, or write its adapters with to-peft"
            )
        merge(model)
    dtype = export_dtype(source) if config.dtype == "own" else np.dtype(config.dtype)
    save_hf(
        model,
        config.dst,
        base=config_directory(source),
        max_shard_bytes=most,
        dtype=dtype,
        template=template_of(source) or (template_of(Path(config.adapter)) if config.adapter else None),
        template_date=run.config.template_date if run else "",
        overwrite=config.overwrite,
    )
    print(f"Hugging Face directory: {config.dst}")


def to_peft(config: ToPeftConfig) -> None:
    """Write the adapters of a LoRA run as a PEFT directory."""
    _check_target(config, config.base)
    mesh = make_mesh(config.mesh)
    source = find_model(config.src)
    run = Run.open(source)
    run.notice_unfinished()
    base_name = _base_name(run, config) if run.lora else ""
    model = load_model(source, mesh, dtype=None, base=model_path(config.base))
    save_peft(
        model,
        config.dst,
        base_name=base_name,
        tokenizer=ChatTokenizer(run.model_files, run.template, date=run.config.template_date),
        overwrite=config.overwrite,
    )
    print(f"PEFT directory: {config.dst}")


def _base_name(run: Run, config: ToPeftConfig) -> str:
    """The path or id under which PEFT finds the base of ``run``.

    Raises:
        UserError: for a base that PEFT cannot load: another run, or one that lacks tokens of the run.
    """
    base = find_base(run, model_path(config.base))
    tokens = [read_hf_config(config_directory(each)).get("vocab_size") for each in (base, run.path)]
    if tokens[0] != tokens[1]:
        raise UserError(
            f"{run.path} has {tokens[1]} tokens and its base {tokens[0]}, so an adapter alone would not fit; write "
            "the whole model with to-hf --merge-lora"
        )
    name = config.base_name or (str(base.resolve()) if config.base else run.base.location)
    other = Run.find(name)
    if other is not None:
        merge_lora = " --merge-lora" if other.lora else ""
        raise UserError(
            f"the base of {run.path} is a run itself, which PEFT cannot load; write it with: python -m "
            f"xltjax.converters to-hf {name} DIR{merge_lora}, and then this adapter with --base-name DIR"
        )
    return name


def to_flax(config: ToFlaxConfig) -> None:
    """Write a model as an Orbax checkpoint, in a directory that is laid out like a run that has not trained."""
    _check_target(config)
    target = Path(config.dst)
    mesh = make_mesh(config.mesh)
    source = find_model(model_path(config.src))
    dtype = None if config.dtype == "own" else jnp.dtype(config.dtype)
    model = load_model(source, mesh, dtype=dtype)
    if has_lora(model):
        raise UserError(
            f"{config.src} is a LoRA run: merge it into a Hugging Face directory with to-hf --merge-lora"
        )
    run = Run.find(source)
    settings = TrainConfig(
        model=config.src,
        data=run.config.data if run else (),
        template=template_of(source) or TrainConfig.template,
        template_date=run.config.template_date if run else "",
    )
    base = Base(str(source.resolve()), fingerprint(weights_directory(source)))
    with new_directory(target, config.overwrite) as staging:
        copy = Run(staging)
        copy.write_settings(settings, base, config_directory(source))
        with contextlib.closing(copy.checkpoints()) as checkpoints:
            checkpoints.save_weights(0, {name: v[...] for name, v in parameters(model).items()})
    print(f"Orbax copy: {target}")


def combine(config: CombineConfig) -> None:
    """Write a model that is combined from the layers of others as a Hugging Face directory."""
    _check_target(config, config.base, config.expert, config.expert_base)
    recipe = Recipe(
        model=model_path(config.src),
        base=model_path(config.base),
        expert=model_path(config.expert),
        expert_base=model_path(config.expert_base),
        reset_layers=config.reset_layers,
        swap_layers=config.swap_layers,
        average_layers=config.average_layers,
    )
    lines = combine_models(
        recipe,
        Path(config.dst),
        make_mesh("1x1"),
        dtype=None if config.dtype == "own" else np.dtype(config.dtype),
        max_shard_bytes=_shard_bytes(config.max_shard_gib),
        overwrite=config.overwrite,
    )
    for line in lines:
        print(line)
    print(f"Hugging Face directory: {config.dst}")


def check(config: CheckConfig) -> None:
    """Print the differences between two models; the exit code is 1 when one of them exceeds the tolerance, else 0."""
    _check_paths(config.a, config.b)
    if not config.tolerance >= 0:
        raise UserError(f"tolerance must be 0 or more, not {config.tolerance:g}")
    adapters = (config.adapter_a, config.adapter_b)
    mesh = make_mesh(config.mesh)
    bases = (config.base_a, config.base_b)
    models = model_path(config.a), model_path(config.b)
    differences = list(compare_models(*models, mesh, adapters=adapters, bases=bases))
    beyond = [d for d in differences if not d.largest <= config.tolerance]
    rows = [("tensor", "dtype or reason", "difference", "within")] if differences else []
    rows += [(d.name, d.what, f"{d.largest:.3g}", "no" if d in beyond else "yes") for d in differences]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    verdict = "equal, bit for bit" if not differences else f"equal within {config.tolerance:g}"
    print(f"{len(beyond)} differences beyond {config.tolerance:g}" if beyond else verdict)
    if beyond:
        sys.exit(1)


def _shard_bytes(gib: float) -> int:
    if not gib > 0:
        raise UserError(f"max_shard_gib must be more than 0, not {gib:g}")
    return int(gib * (1 << 30))


def _check_target(config: ToHfConfig | ToPeftConfig | ToFlaxConfig | CombineConfig, *others: str) -> None:
    """Refuse a place that is taken, or whose replacement would remove what is read, or the base that a run needs.

    Raises:
        UserError: saying what to do.
    """
    _check_paths(config.src, config.dst)
    target = Path(config.dst)
    refuse_existing(target, config.overwrite)
    read = [Path(name) for name in (config.src, *others) if name and Path(name).exists()]
    bases = [Path(run.base.location) for place in read if (run := Run.find(place)) and run.partial]
    for place in (*read, *bases, Path.cwd()):
        if place.resolve().is_relative_to(target.resolve()):
            raise UserError(f"replacing {target} would remove {place}; choose another directory")


def _check_paths(source: str, target: str) -> None:
    if not source or not target:
        raise UserError("two paths are needed; see --help")
