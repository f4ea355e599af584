"""A run directory, and the only code that knows its files.

``config.yaml`` (the resolved settings), ``provenance.json`` (versions, devices, command, hashes of the data, the base
model), ``base/`` (config and tokenizer of the base model, which travel with every export), ``checkpoints/<step>/``,
``metrics.jsonl``, ``samples.jsonl``, ``skipped.jsonl``, ``not-finite.json``, ``tensorboard/``.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from jax import Array
from jax.typing import DTypeLike

from xltjax.checkpoint import Checkpoints, numbered
from xltjax.common.errors import UserError
from xltjax.common.files import (
    atomic_write,
    check_output_directory,
    make_output_directory,
    read_json_object,
    read_jsonl,
    read_text,
)
from xltjax.common.provenance import provenance, sha256
from xltjax.common.settings import build, result_settings, to_yaml
from xltjax.data.model_files import copy_model_files, tokenizer_hashes
from xltjax.data.reading.files import find_files
from xltjax.training.config import TrainConfig

log = logging.getLogger("xltjax")

CONFIG, PROVENANCE, CHECKPOINTS = "config.yaml", "provenance.json", "checkpoints"


@dataclass(frozen=True)
class Base:
    """The model that a run began with.

    Attributes:
        location: its directory as an absolute path, or its id on the Hugging Face hub.
        fingerprint: see ``common.fingerprint``; empty when it is not known.
    """

    location: str
    fingerprint: str = ""


class Run:
    """A run directory, opened at its newest checkpoint or at the requested one."""

    def __init__(self, path: str | Path, step: int | None = None):
        """``path`` need not exist yet; ``step`` chooses a checkpoint."""
        self.path = Path(path)
        self._step = step

    @classmethod
    def find(cls, path: str | Path) -> Run | None:
        """The run that lies in ``path``, or of which ``path`` is a checkpoint; None for any other path."""
        path = Path(path)
        if (path / CONFIG).is_file() and (path / CHECKPOINTS).is_dir():
            return cls(path)
        if path.parent.name == CHECKPOINTS and path.name.isdigit():
            return cls(path.parent.parent, int(path.name))
        return None

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """``find``, for a path that must be a run.

        Raises:
            UserError: when it is not one.
        """
        run = cls.find(path)
        if run is None:
            raise UserError(f"{path} is not a run or a checkpoint of xltjax")
        return run

    def __fspath__(self) -> str:
        """The path of the run, or of the checkpoint that was asked for: what a model is loaded from."""
        return str(self.path if self._step is None else self.path / CHECKPOINTS / str(self._step))

    @property
    def name(self) -> str:
        """The directory's name, followed by the step where a checkpoint was requested."""
        name = self.path.resolve().name
        return name if self._step is None else f"{name}-{self._step}"

    @cached_property
    def config(self) -> TrainConfig:
        """The settings with which the run was trained.

        Raises:
            UserError: when they cannot be read.
        """
        file = self.path / CONFIG
        try:
            values = yaml.safe_load(read_text(file))
        except yaml.YAMLError as problem:
            raise UserError(f"{file} is not valid YAML: {problem}") from None
        if not isinstance(values, dict):
            raise UserError(f"{file} does not hold the settings of a run")
        return build(TrainConfig, values, notify=False)

    @property
    def template(self) -> str:
        """The chat template of the conversations that the run learned from."""
        return self.config.template

    @property
    def lora(self) -> bool:
        """Whether the checkpoints hold the adapters alone, which belong on ``base``."""
        return self.config.lora_rank > 0

    @property
    def partial(self) -> bool:
        """Whether the checkpoints hold only adapters or some of the layers, and ``base`` holds the rest."""
        return self.lora or bool(self.config.train_layers)

    @property
    def base(self) -> Base:
        """Where the base model is, and its fingerprint."""
        known = self._provenance().get("base")
        if known:
            return Base(known["location"], known["fingerprint"])
        # Version 0.1 kept the fingerprint in the checkpoints, and the location as it was typed.
        return Base(self.config.model, self._checkpoints_base())

    @property
    def model_files(self) -> Path:
        """The directory of the base model's config and tokenizer."""
        return self.path / "base"

    @property
    def metrics_file(self) -> Path:
        """One line of JSON per logged update."""
        return self.path / "metrics.jsonl"

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """What was measured at each logged update, as ``metrics_file`` holds it."""
        return list(read_jsonl(self.metrics_file)) if self.metrics_file.is_file() else []

    @property
    def samples_file(self) -> Path:
        """One line of JSON per sample answer."""
        return self.path / "samples.jsonl"

    @property
    def not_finite_file(self) -> Path:
        """The update whose loss or gradient was not finite, and its rows."""
        return self.path / "not-finite.json"

    @property
    def skipped_file(self) -> Path:
        """One line of JSON per row of the data that was not learned."""
        return self.path / "skipped.jsonl"

    @property
    def steps(self) -> list[int]:
        """The updates after which there are complete checkpoints, in rising order."""
        return numbered(self.path / CHECKPOINTS)

    @property
    def step(self) -> int:
        """The requested checkpoint, or the newest one.

        Raises:
            UserError: when there is no such checkpoint.
        """
        steps = self.steps
        if not steps or (self._step is not None and self._step not in steps):
            wanted = "" if self._step is None else f" {self._step}"
            raise UserError(f"{self.path} has no complete checkpoint{wanted}")
        return steps[-1] if self._step is None else self._step

    @property
    def checkpoint(self) -> Path:
        """The directory of the checkpoint ``step``."""
        return self.path / CHECKPOINTS / str(self.step)

    def notice_unfinished(self) -> None:
        """Log one line when the newest checkpoint is meant and training has not come to its end."""
        if self._step is None and self.metrics_file.is_file() and self.step < self.config.steps:
            log.warning(
                "notice: the training in %s has not ended: %d of %d updates are done",
                self.path, self.step, self.config.steps,
            )  # fmt: skip

    def checkpoints(self, keep: int | None = None) -> Checkpoints:
        """The checkpoints, to read from; with ``keep`` also to write to, keeping so many of the newest."""
        return Checkpoints(self.path / CHECKPOINTS, keep)

    def weights(
        self, like: Mapping[str, Any], dtype: DTypeLike | Mapping[str, DTypeLike] | None = None
    ) -> dict[str, Array]:
        """The weights at ``step`` by dotted path, laid out as ``like``.

        Args:
            like: the shape and sharding of each weight that is wanted.
            dtype: of the arrays; None keeps the one in which each is stored, and a mapping gives that of each.

        Raises:
            UserError: when there is no such checkpoint.
        """
        step = self.step
        with contextlib.closing(self.checkpoints()) as checkpoints:
            stored = checkpoints.dtypes(step)
            kinds = dtype if isinstance(dtype, Mapping) else dict.fromkeys(like, dtype)
            wanted = {name: each.update(dtype=kinds[name] or stored[name]) for name, each in like.items()}
            return checkpoints.read(step, "weights", wanted)

    def weights_digest(self) -> str:
        """A hash of the weights at ``step``, which are the same after the same training; empty when it is not known.

        The fingerprint of a checkpoint's files is another each time that they are written.

        Raises:
            UserError: when there is no such checkpoint.
        """
        with contextlib.closing(self.checkpoints()) as checkpoints:
            sums = checkpoints.weight_sums(self.step)
        return hashlib.sha256(json.dumps(sorted(sums.items())).encode()).hexdigest() if sums else ""

    def check_resumable(
        self, config: TrainConfig, sources: Sequence[str], fingerprint: str, model_files: Path | None = None
    ) -> None:
        """Refuse to continue this run with another model, other data or other settings of the training.

        Args:
            config: the settings of the run that is to continue.
            sources: the training data, each as ``find_files`` takes it.
            fingerprint: that of the model's weights now.
            model_files: the directory of the model's tokenizer now; not compared when not given.

        Raises:
            UserError: naming everything that differs, or when ``path`` cannot be a directory.
        """
        check_output_directory(self.path)
        self._check_ours()
        if not (self.path / CONFIG).is_file() or config.force:
            return
        changed = self._changed_settings(config)
        known = self.base.fingerprint
        if known and known != fingerprint:
            changed.append(f"the weights in {config.model}")
        elif not known and self.config.model != config.model:
            changed.append(f"model (was {self.config.model!r}, now {config.model!r})")
        changed += self._changed_data(config, sources)
        before = self._provenance().get("tokenizer")  # which earlier versions did not record
        if model_files is not None and before is not None:
            now = tokenizer_hashes(model_files)
            names = sorted(name for name in {**before, **now} if before.get(name) != now.get(name))
            changed += [f"{name} of the tokenizer" for name in names]
        if changed:
            raise UserError(
                f"{self.path} holds a run with other settings: {', '.join(changed)}; choose another --out, or "
                "continue it nevertheless with --force"
            )

    def _check_ours(self) -> None:
        """Refuse a directory that holds files of a run's names without the record that we write first.

        Raises:
            UserError: naming one of these files.
        """
        if "versions" in self._provenance():
            return
        files = [self.path / CONFIG, self.path / PROVENANCE, self.model_files]
        files += [self.metrics_file, self.samples_file, self.not_finite_file]
        taken = [file.name for file in files if file.exists()]
        taken += [CHECKPOINTS] if self.steps else []
        if taken:
            raise UserError(
                f"{self.path} holds {taken[0]} and is no run of xltjax; choose another --out, so that nothing "
                "of it is overwritten"
            )

    def _changed_settings(self, config: TrainConfig) -> list[str]:
        compared = result_settings(TrainConfig) - {"model", "data"}
        ends = config.schedule in ("linear", "cosine")  # which depend on when they end
        if config.epochs or not ends:  # from epochs the updates follow, once the data are read
            compared -= {"steps"}
        if bool(config.epochs) == bool(self.config.epochs) and not ends:  # they pack examples otherwise
            compared -= {"epochs"}
        pairs = {key: (getattr(self.config, key), getattr(config, key)) for key in compared}
        return [
            f"{key} (was {was!r}, now {now!r})" for key, (was, now) in sorted(pairs.items()) if was != now
        ]

    def _changed_data(self, config: TrainConfig, sources: Sequence[str]) -> list[str]:
        """What differs in the data files from those that the run began with."""
        before: dict[str, str] = self._provenance().get("data", {})
        now = (
            {str(path): sha256(path) for source in sources for path in find_files(source, config.split)}
            if before
            else {}
        )
        if self.config.data != config.data:
            # A single source, or one file for each.
            counts = {len(config.data), len(self.config.data), *([len(now)] if len(config.data) > 1 else [])}
            moved = len(counts) == 1 and [*before.values()] == [*now.values()]
            return [] if moved and now else [f"data (was {self.config.data!r}, now {config.data!r})"]
        changed = [f"the rows of {path}" for path in now if path in before and now[path] != before[path]]
        changed += [f"{path} is new" for path in now if path not in before]
        return changed + [f"{path} is gone" for path in before if path not in now]

    def write_settings(
        self,
        config: TrainConfig,
        base: Base,
        model_files: Path,
        sources: Sequence[str] = (),
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        """Write the settings, the provenance, and what an export needs of the base model.

        Args:
            config: the resolved settings.
            base: the model that the run begins with.
            model_files: the directory of its config and tokenizer.
            sources: the training data, each as ``find_files`` takes it.
            facts: what else belongs into the provenance, by name.
        """
        make_output_directory(self.path)
        record = provenance([path for source in sources for path in find_files(source, config.split)])
        record["base"] = {"location": base.location, "fingerprint": base.fingerprint}
        record["tokenizer"] = tokenizer_hashes(model_files)
        record.update(facts or {})
        with atomic_write(self.path / PROVENANCE) as file:
            json.dump(record, file, indent=2)
            file.write("\n")
        copy_model_files(model_files, self.model_files)
        with atomic_write(self.path / CONFIG) as file:
            file.write(to_yaml(config, saved_only=True))

    def _provenance(self) -> dict[str, Any]:
        file = self.path / PROVENANCE
        return read_json_object(file) if file.is_file() else {}

    def _checkpoints_base(self) -> str:
        with contextlib.closing(self.checkpoints()) as checkpoints:
            for step in reversed(self.steps):
                with contextlib.suppress(UserError):  # a damaged one, which is reported when it is restored
                    return checkpoints.base(step)
        return ""
