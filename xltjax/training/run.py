"""What a run directory holds besides checkpoints: settings, provenance, the base's tokenizer; and resuming."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from xltjax.common.errors import UserError
from xltjax.common.files import atomic_write, read_text
from xltjax.common.provenance import sha256, write_provenance
from xltjax.common.settings import to_yaml
from xltjax.converters.models import BASE, companions
from xltjax.data.formats import find_files
from xltjax.data.model_files import copy_companions
from xltjax.training.config import TrainConfig

# Settings that may differ when a run is resumed: they do not change what is learned.
FREE = {
    "mesh", "out", "save_every", "keep", "log_every", "force", "plan", "steps", "remat", "rows_per_device",
    "offload", "validation_data", "validation_every", "sample_every", "sample_prompts", "tensorboard", "wandb",
    "coordinator", "process_id", "processes",
}  # fmt: skip


def check_resumable(config: TrainConfig, sources: list[str], base: str, known_base: str) -> None:
    """Refuse to go on with a run whose model, data or optimisation was another.

    Args:
        config: of the run that is to go on in ``config.out``.
        sources: the data, as ``rows.find_files`` takes it.
        base: fingerprint of the model's weights now.
        known_base: fingerprint of those the run began with; empty for a new run.

    Raises:
        UserError: naming everything that differs, or when a file stands in the way.
    """
    out = Path(config.out)
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} cannot be created: {out} is a file, not a directory; choose another path")
    if not (out / "config.yaml").is_file() or config.force:
        return
    changed = _changed_settings(config, out)
    if known_base and base != known_base:
        changed.append(f"the weights in {config.model}")
    changed += _changed_files(out, sources)
    if changed:
        raise UserError(
            f"{out} holds a run that began otherwise: {', '.join(changed)}; choose another --out, or --force"
        )


def _changed_settings(config: TrainConfig, out: Path) -> list[str]:
    defaults = yaml.safe_load(to_yaml(TrainConfig()))
    before = {**defaults, **yaml.safe_load(read_text(out / "config.yaml"))}
    now = yaml.safe_load(to_yaml(config))
    # Schedules that end depend on when they do.
    free = FREE - {"steps"} if config.schedule in ("linear", "cosine") else FREE
    return [
        f"{key} (was {before[key]!r}, now {value!r})"
        for key, value in now.items()
        if key not in free and before[key] != value
    ]


def _changed_files(out: Path, sources: list[str]) -> list[str]:
    """Data files that have other contents than when the run began."""
    if not (out / "provenance.json").is_file():
        return []
    hashes = json.loads(read_text(out / "provenance.json"))["data"]
    files = [path for source in sources for path in find_files(source)]
    return [f"the rows of {path}" for path in files if hashes.get(str(path), "") not in ("", sha256(path))]


def write_run_files(config: TrainConfig, source: Path, sources: list[str]) -> None:
    """Settings, provenance, and what an export needs of the base model in ``source``."""
    out = Path(config.out)
    copy_companions(companions(source), out / BASE)
    with atomic_write(out / "config.yaml") as file:
        file.write(to_yaml(config))
    write_provenance(out / "provenance.json", [path for name in sources for path in find_files(name)])
