"""The conversion commands: ``python -m xltjax.converters to-flax | to-hf | to-peft | combine | check``."""

from __future__ import annotations

import contextlib
import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn

import jax.numpy as jnp
import numpy as np

from xltjax.common import cli
from xltjax.common.directories import new_directory, refuse_existing
from xltjax.common.errors import UserError
from xltjax.common.fingerprint import fingerprint
from xltjax.common.settings import setting
from xltjax.converters.check import compare_models
from xltjax.converters.combine import Recipe
from xltjax.converters.combine import combine as combine_models
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

SOURCE = "A Hugging Face directory or id, or a run or checkpoint of xltjax."
BASE = "Where the base of a run of LoRA or of some layers lies now, if it was moved."
Dtype = Literal["own", "bfloat16", "float16", "float32"]


@dataclass(frozen=True)
class Conversion:
    """Settings of every conversion."""

    src: str = setting("", SOURCE, positional=True)
    dst: str = setting("", "The directory to create.", positional=True)
    mesh: str = setting("1x1", "Devices that hold the model meanwhile, as DxT.")
    overwrite: bool = setting(False, "Replace a directory that is not empty.")


@dataclass(frozen=True)
class ToFlax(Conversion):
    """Settings of ``to-flax``."""

    dtype: Dtype = setting("own", "Dtype of the parameters; own keeps the dtype of each tensor.")


@dataclass(frozen=True)
class ToPeft(Conversion):
    """Settings of ``to-peft``."""

    base: str = setting("", BASE)
    base_name: str = setting("", "Path or id of the base for PEFT; that of the run's base when not given.")


@dataclass(frozen=True)
class ToHf(Conversion):
    """Settings of ``to-hf``."""

    base: str = setting("", BASE)
    adapter: str = setting("", "PEFT adapter directory to merge in.")
    merge_lora: bool = setting(False, "Merge the adapters of a LoRA run into the weights.")
    dtype: Dtype = setting("own", "Dtype of the tensors; own is the dtype of the base model.")
    max_shard_gib: float = setting(5.0, "Largest size of one file, in GiB.")


@dataclass(frozen=True)
class Combine:
    """Settings of ``combine``."""

    src: str = setting("", "The tuned model: a Hugging Face directory or id, or a run.", positional=True)
    dst: str = setting("", "The directory to create.", positional=True)
    reset_layers: tuple[str, ...] = setting(
        (), "Layers to which the base's weights return, such as 0-3,28-31 or last-4; also embed, norm, head."
    )
    base: str = setting("", "The base model; the one that the run began with when not given.")
    swap_layers: tuple[str, ...] = setting((), "Layers that come from --expert.")
    average_layers: tuple[str, ...] = setting((), "Layers that become the mean of the two tuned models.")
    expert: str = setting("", "A second tuned model.")
    expert_base: str = setting("", "Where the base of --expert lies now, if it is needed and was moved.")
    dtype: Dtype = setting("own", "Dtype of the tensors; own is the one that each has in to-hf.")
    max_shard_gib: float = setting(5.0, "Largest size of one file, in GiB.")
    overwrite: bool = setting(False, "Replace a directory that is not empty.")


@dataclass(frozen=True)
class Check:
    """Settings of ``check``."""

    a: str = setting("", SOURCE, positional=True)
    b: str = setting("", "The second model, given in any of the same ways.", positional=True)
    adapter_a: str = setting("", "PEFT adapter directory to merge into the first.")
    adapter_b: str = setting("", "PEFT adapter directory to merge into the second.")
    base_a: str = setting("", "The same as --base of to-hf, for the first.")
    base_b: str = setting("", "The same as --base of to-hf, for the second.")
    tolerance: float = setting(0.0, "Largest absolute difference that counts as equal.")
    mesh: str = setting("1x1", "Devices that hold the models, as DxT.")


def to_hf(config: ToHf) -> None:
    """Write a model as a Hugging Face directory."""
    _check_paths(config.src, config.dst)
    refuse_existing(Path(config.dst), config.overwrite)
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


def to_peft(config: ToPeft) -> None:
    """Write the adapters of a LoRA run as a PEFT directory."""
    _check_paths(config.src, config.dst)
    refuse_existing(Path(config.dst), config.overwrite)
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


def _base_name(run: Run, config: ToPeft) -> str:
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


def to_flax(config: ToFlax) -> None:
    """Write a model as an Orbax checkpoint, in a directory that is laid out like a run that has not trained."""
    _check_paths(config.src, config.dst)
    target = Path(config.dst)
    refuse_existing(target, config.overwrite)
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


def combine(config: Combine) -> None:
    """Write a model that is put together from the layers of others as a Hugging Face directory."""
    _check_paths(config.src, config.dst)
    refuse_existing(Path(config.dst), config.overwrite)
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


def check(config: Check) -> None:
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


def _check_paths(source: str, target: str) -> None:
    if not source or not target:
        raise UserError("two paths are needed; --help says which")


COMMANDS = (
    cli.command(
        ToFlax, to_flax, name="to-flax", help="Copy a model into an Orbax checkpoint (never required)."
    ),
    cli.command(ToHf, to_hf, name="to-hf", help="Write a run as a Hugging Face directory."),
    cli.command(ToPeft, to_peft, name="to-peft", help="Write a LoRA run's adapters as a PEFT directory."),
    cli.command(
        Combine,
        combine,
        name="combine",
        help="Put layers of the base or of a second expert into a tuned model.",
    ),
    cli.command(Check, check, name="check", help="Compare two models bit for bit, and their logits."),
)

GROUP = cli.group(COMMANDS, name="converters", help="Between Hugging Face, PEFT and our checkpoints.")


def main() -> NoReturn:
    """Entry point of ``python -m xltjax.converters``."""
    logging.getLogger("absl").setLevel(logging.CRITICAL)  # Orbax logs tracebacks of what it raises anyway
    cli.execute(GROUP, program="python -m xltjax.converters")


if __name__ == "__main__":
    main()
