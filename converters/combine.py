"""Models combined from the layers of others: layer reset, layer swapping, and averages of two experts.

The weights are copied bit for bit and one at a time; only averages are computed, in float32.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jax.sharding import Mesh
from jax.typing import DTypeLike

from xltjax.common.directories import new_directory
from xltjax.common.errors import UserError
from xltjax.common.fingerprint import fingerprint
from xltjax.common.model_parts import find_parts, part_of, refuse_overlap, short
from xltjax.common.provenance import provenance
from xltjax.converters.export_hf import write_hf
from xltjax.converters.load import all_finite, true_shape
from xltjax.converters.models import (
    config_directory,
    find_base,
    find_model,
    template_of,
    weights_directory,
)
from xltjax.converters.names import hf_name
from xltjax.converters.safetensors_files import Header
from xltjax.converters.stored import StoredModel, open_stored, read_resized
from xltjax.llama import Llama, LlamaConfig, parameters
from xltjax.training.run import Run

log = logging.getLogger("xltjax")

RECORD = "combined.json"
# Fields of the architecture that may differ: they change nothing in a layer.
FREE = ("vocab_size", "tied_embeddings", "max_positions", "initializer_range")


@dataclass(frozen=True)
class Recipe:
    """What is combined. Parts are given as ``find_parts`` takes them.

    Attributes:
        model: the tuned model, from which everything comes that is not named here.
        base: the model that gives the parts ``reset_layers``; empty for the one that the run ``model`` began with.
            It is also where the base of a run that holds only a part of its model lies now.
        expert: a second tuned model.
        expert_base: where the base of the run ``expert`` lies now, if it was moved.
        reset_layers: the parts that the base gives.
        swap_layers: the parts that the expert gives.
        average_layers: the parts that are the mean of model and expert.
    """

    model: str
    base: str = ""
    expert: str = ""
    expert_base: str = ""
    reset_layers: Sequence[str] = ()
    swap_layers: Sequence[str] = ()
    average_layers: Sequence[str] = ()

    def check(self) -> None:
        """Refuse what does not go together.

        Raises:
            UserError: naming the setting that is missing or has no effect.
        """
        wanted = [name for name in ("swap_layers", "average_layers") if getattr(self, name)]
        if wanted and not self.expert:
            raise UserError(f"{wanted[0]} needs a second tuned model: give --expert DIR")
        if self.expert and not wanted:
            raise UserError(
                "nothing is taken from --expert: give --swap-layers or --average-layers, or leave it out"
            )
        if self.expert_base and not self.expert:
            raise UserError("--expert-base says where the base of --expert lies, which is not given")


@dataclass(frozen=True)
class Share:
    """The parts that another model gives.

    Attributes:
        setting: the field of ``Recipe`` that names them.
        parts: the parts.
        model: the model.
    """

    setting: str
    parts: frozenset[str]
    model: StoredModel

    @property
    def averaged(self) -> bool:
        """Whether the parts are the mean of this model and the tuned one."""
        return self.setting == "average_layers"


def combine(
    recipe: Recipe,
    target: Path,
    mesh: Mesh,
    *,
    dtype: DTypeLike | None = None,
    max_shard_bytes: int = 5 << 30,
    overwrite: bool = False,
) -> list[str]:
    """Write a combined model as a Hugging Face directory, with the tokenizer and template of ``recipe.model``.

    Args:
        recipe: the models, and which parts come from which.
        target: the directory to create.
        mesh: of a single device, on which adapters are merged.
        dtype: of the tensors; None keeps that of each, which for a run is the one that its base's config names.
        max_shard_bytes: the largest size of one file.
        overwrite: whether to replace a directory that is not empty.

    Returns:
        A line for each model that gives something.

    Raises:
        UserError: for models that do not fit together, a layer that they do not have, or a place that is taken.
    """
    recipe.check()
    source = find_model(recipe.model)
    run = Run.find(source)
    if run:
        run.notice_unfinished()
    with contextlib.ExitStack() as stack:
        tuned = open_stored(source, mesh, stack, recipe.base if run and run.partial else "")
        shares = _shares(recipe, tuned, run, mesh, stack)
        used = [tuned, *(share.model for share in shares)]
        if target.resolve() in {model.path.resolve() for model in used}:
            raise UserError(f"{target} is one of the models to combine; choose another directory")
        with new_directory(target, overwrite) as staging:
            header, tensor = _tensors(tuned, shares, mesh, dtype)
            write_hf(
                staging, tuned.config, header, tensor, base=config_directory(source),
                max_shard_bytes=max_shard_bytes, template=template_of(source),
                template_date=run.config.template_date if run else "",
            )  # fmt: skip
            _write_record(staging / RECORD, tuned, shares)
    lines = [f"{share.setting} {','.join(short(share.parts))}: {share.model.path}" for share in shares]
    return [*lines, f"everything{' else' if lines else ''}: {source}"]


def _shares(
    recipe: Recipe, tuned: StoredModel, run: Run | None, mesh: Mesh, stack: contextlib.ExitStack
) -> list[Share]:
    """What the other models give, after everything about them that can be wrong was checked."""
    config = tuned.config
    named = {
        name: find_parts(getattr(recipe, name), name, layers=config.num_layers, tied=config.tied_embeddings)
        for name in ("reset_layers", "swap_layers", "average_layers")
    }
    refuse_overlap(named)
    reset, swap, average = named.values()
    shares = []
    if reset:
        base = open_stored(_base(recipe, run), mesh, stack)
        shares.append(Share("reset_layers", reset, base))
    elif recipe.base and not (run and run.partial):
        raise UserError("nothing is taken from --base: give --reset-layers, or leave it out")
    if recipe.expert:
        path = find_model(recipe.expert)
        expert = open_stored(path, mesh, stack, recipe.expert_base)
        _compare_training(tuned.path, path)
        shares += [Share("swap_layers", swap, expert), Share("average_layers", average, expert)]
    for share in shares:
        _check_fit(tuned, share, resized=share.setting == "reset_layers" and _resized(run))
    return [share for share in shares if share.parts]


def _base(recipe: Recipe, run: Run | None) -> Path:
    """The directory of the model to which layers are reset.

    Raises:
        UserError: when it is not known or not there, or does not hold the weights that the run began with.
    """
    if run is None:
        if not recipe.base:
            raise UserError(f"the base of {recipe.model} is not known: say with --base DIR what to reset to")
        return find_model(recipe.base)
    if run.partial:
        return find_base(run, recipe.base)
    try:
        base = find_model(recipe.base or run.base.location)
    except UserError as problem:
        if recipe.base:
            raise
        raise UserError(f"{problem}; it is the base of {run.path}: give --base DIR if it was moved") from None
    known = run.base.fingerprint
    if known and known != fingerprint(weights_directory(base)):
        if not recipe.base:
            raise UserError(
                f"{base} no longer holds the weights that {run.path} began with; give --base DIR to reset to others"
            )
        log.warning("warning: %s does not hold the weights that %s began with", base, run.path)
    return base


def _resized(run: Run | None) -> bool:
    return run is not None and run.config.resize_vocabulary


def _compare_training(tuned: Path, expert: Path) -> None:
    """Say so when two models were not tuned from one base or with one chat template, where both are known."""
    runs = Run.find(tuned), Run.find(expert)
    bases = {run.base.fingerprint for run in runs if run and run.base.fingerprint}
    if len(bases) == 2:
        log.warning("warning: %s and %s were not tuned from the same base", tuned, expert)
    templates = [each for each in (template_of(tuned), template_of(expert)) if each]
    if len(set(templates)) == 2:
        log.warning(
            "warning: %s was tuned with the chat template %r and %s with %r; the first is kept",
            tuned, templates[0], expert, templates[1],
        )  # fmt: skip


def _check_fit(tuned: StoredModel, share: Share, *, resized: bool) -> None:
    """Refuse parts that do not fit into the tuned model.

    Args:
        tuned: the model that gets them.
        share: what another model gives.
        resized: whether the other model lacks the rows that the tuned one got when its training began.

    Raises:
        UserError: naming the first field of the architecture that differs.
    """
    ours, theirs = tuned.config, share.model.config
    names = [field.name for field in dataclasses.fields(LlamaConfig) if field.name not in FREE]
    if tables := sorted(share.parts & {"embed", "head"}):
        if not resized or theirs.vocab_size > ours.vocab_size:
            names.append("vocab_size")
        if ours.tied_embeddings and not theirs.tied_embeddings:
            names.append("tied_embeddings")
    for name in names:
        pair = getattr(ours, name), getattr(theirs, name)
        if pair[0] != pair[1]:
            hint = f"; leave out {' and '.join(tables)}" if name in FREE else ""
            raise UserError(
                f"{tuned.path} and {share.model.path} do not fit together: {name} is {pair[0]} and {pair[1]}{hint}"
            )


def _tensors(
    tuned: StoredModel, shares: Sequence[Share], mesh: Mesh, dtype: DTypeLike | None
) -> tuple[Header, Callable[[str], np.ndarray]]:
    """The dtype and shape of every parameter of the combination by its path, and a function that reads it."""
    givers = {part: share for share in shares for part in share.parts}
    kind = None if dtype is None else np.dtype(dtype)
    shapes = {n: true_shape(v, tuned.config) for n, v in parameters(Llama(tuned.config)).items()}

    def own(name: str) -> np.dtype:
        share = givers.get(part_of(name))
        return (
            tuned.dtypes[name] if share is None or share.averaged else share.model.dtypes[_there(share, name)]
        )

    header = {name: (kind or own(name), shape) for name, shape in shapes.items()}
    kinds = sorted({each.name for each, _ in header.values()})
    if len(kinds) > 1:
        log.warning("notice: each tensor keeps its dtype, %s; --dtype writes all in one", " or ".join(kinds))

    def tensor(name: str) -> np.ndarray:
        share = givers.get(part_of(name))
        if share is None:
            found = tuned.read(name)
        else:
            found = read_resized(share.model, _there(share, name), tuned.config.vocab_size, mesh)
            if share.averaged:
                mean = tuned.read(name).astype(np.float32)
                np.add(mean, found, out=mean, dtype=np.float32)
                mean /= 2
                found = mean
        if not all_finite(found):
            log.warning("warning: %s holds NaN or infinite values", hf_name(name))
        return found.astype(header[name][0], copy=False)

    return header, tensor


def _there(share: Share, name: str) -> str:
    """The path in the other model of what is called ``name`` here: a tied head is the embedding."""
    return name if name in share.model.dtypes else "embed.weight"


def _write_record(file: Path, tuned: StoredModel, shares: Sequence[Share]) -> None:
    """Write down what came from where."""

    def known(model: StoredModel) -> dict[str, str]:
        return {
            "location": str(model.path.resolve()),
            "fingerprint": fingerprint(weights_directory(model.path)),
        }

    record = {
        "tuned": known(tuned),
        **{share.setting: {"parts": short(share.parts), **known(share.model)} for share in shares},
        **provenance(),
    }
    file.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
