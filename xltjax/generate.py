"""Answers to a set of prompts, written as they end and resumable. ``python -m xltjax.generate``."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax.numpy as jnp
import yaml

from xltjax import cli
from xltjax.chat import TEMPLATES, ChatTokenizer, Message
from xltjax.checkpoint import companions, find_model, load_model, run_of
from xltjax.choose import Choice
from xltjax.config import setting
from xltjax.converters.hf_config import llama_config, read_hf_config
from xltjax.decoder import Answer, Decoder
from xltjax.errors import UserError, did_you_mean
from xltjax.eval.instruction_sets import Instruction, load_set
from xltjax.files import atomic_write, json_line, read_jsonl, read_text
from xltjax.mesh import make_mesh
from xltjax.progress import progress
from xltjax.provenance import provenance

log = logging.getLogger("xltjax")

DTYPES = {"bfloat16": jnp.bfloat16, "float32": jnp.float32}


@dataclass(frozen=True)
class GenerateConfig:
    """Greedy generation (paper, Appendix B: repetition penalty 1.1)."""

    model: str = setting("", "Hugging Face directory or id, a run of ours or one of its checkpoints.")
    prompts: str = setting("xlt113", "A shipped set, a file, or a folder with one file per language.")
    languages: tuple[str, ...] = setting((), "Languages of the set to answer; all when not given.")
    modifiers: bool = setting(False, "Also answer the set's instructions with task modifiers.")
    out: str = setting("", "JSON Lines file of responses; an unfinished one is resumed.")
    name: str = setting("", "Name of the model in the responses; that of its directory when not given.")
    max_new_tokens: int = setting(512, "Most tokens of an answer.")
    repetition_penalty: float = setting(1.1, "Hugging Face's penalty over prompt and answer; 1 is none.")
    batch_size: int = setting(32, "Answers written at once, over the whole mesh.")
    mesh: str = setting("1x1", "Devices as DxT: answers over D, matrices over T.")
    dtype: Literal["bfloat16", "float32"] = setting("bfloat16", "Of weights, cache and arithmetic.")
    template: str = setting("", "Chat template: that of the run, or llama-2, when not given.")

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            UserError: naming the setting and what it accepts.
        """
        for key in ("max_new_tokens", "batch_size"):
            if getattr(self, key) < 1:
                raise UserError(f"{key} must be at least 1, not {getattr(self, key)}")
        if self.repetition_penalty <= 0:
            raise UserError(f"repetition_penalty must be positive, not {self.repetition_penalty}")
        if self.template and self.template not in TEMPLATES:
            raise UserError(
                f"template {self.template!r} is unknown; {did_you_mean(self.template, TEMPLATES)}"
            )


def generate(config: GenerateConfig) -> Path:
    """Answer every prompt of ``config`` that ``config.out`` does not hold yet.

    Answers are appended as they end; when all are there the file is put into the order of the prompts, so
    that a run that was killed and resumed leaves the same file as one that was not.

    Raises:
        UserError: for anything the user can mend.
    """
    if not config.model or not config.out:
        raise UserError(f"--{'out' if config.model else 'model'} is missing")
    instructions = load_set(config.prompts, config.languages or None, config.modifiers)
    out = Path(config.out)
    if out.is_dir():
        raise UserError(f"{out} is a directory; --out names a file")
    source = find_model(config.model)
    name = config.name or source.resolve().name
    settings = _settings(config, source)
    done = _resume(out, settings, {instruction.id for instruction in instructions})
    waiting = [instruction for instruction in instructions if instruction.id not in done]
    if waiting:
        out.parent.mkdir(parents=True, exist_ok=True)
        with out.open("a", encoding="utf-8") as file:
            for row in _answer(config, source, name, waiting, settings["template"], len(done)):
                file.write(json_line(row))
                file.flush()
                done[row["id"]] = row
    ordered = [done[instruction.id] for instruction in instructions]
    with atomic_write(out) as file:
        file.writelines(map(json_line, ordered))
    _write_provenance(out, settings)
    return out


def _answer(
    config: GenerateConfig, source: Path, name: str, waiting: Sequence[Instruction], template: str, done: int
) -> Iterator[dict[str, Any]]:
    """The response rows of ``waiting``, in the order in which the answers end."""
    tokenizer = ChatTokenizer(companions(source), template)
    architecture = llama_config(read_hf_config(companions(source)))
    prompts = tokenizer.prompts([(Message("user", i.instruction),) for i in waiting])
    room = architecture.max_positions - config.max_new_tokens
    fitting = []
    with progress("generating", done + len(waiting), done) as advance:
        for instruction, ids in zip(waiting, prompts, strict=True):
            if instruction.instruction.strip() and len(ids) <= room:
                fitting.append(((instruction, len(ids)), ids))
                continue
            why = (
                "empty instruction" if len(ids) <= room else f"too long ({len(ids)} tokens, room for {room})"
            )
            log.warning("warning: %s: %s", instruction.id, why)
            yield _row(instruction, name, len(ids), None, f"failed: {why}", "")
            advance(1)
        if not fitting:
            return
        mesh = make_mesh(config.mesh)
        dtype = DTYPES[config.dtype]
        decoder = Decoder(
            load_model(source, mesh, dtype=dtype),
            mesh,
            slots=config.batch_size,
            max_new_tokens=config.max_new_tokens,
            choice=Choice(config.repetition_penalty),
            eos=_eos(companions(source), tokenizer.eos),
        )
        for (instruction, length), answer in decoder.answer_all(fitting):
            meter = decoder.meter
            advance(1, f"{meter.new_tokens / max(meter.decode_seconds, 1e-9):,.0f} tokens/s")
            text = tokenizer.decode(answer.ids)
            yield _row(instruction, name, length, answer, answer.finish_reason, text)
    _report(decoder)


def _row(
    instruction: Instruction, name: str, prompt_tokens: int, answer: Answer | None, reason: str, text: str
) -> dict[str, Any]:
    """One line of ``responses.jsonl`` (DESIGN, section 3)."""
    asked = dataclasses.asdict(instruction)
    return {
        "id": asked.pop("id"),
        "model": name,
        "language": asked.pop("language"),
        "task": asked.pop("task"),
        "instruction": asked.pop("instruction"),
        "response": text,
        "finish_reason": reason,
        "prompt_tokens": prompt_tokens,
        "response_tokens": len(answer.ids) if answer else 0,
        **{key: value for key, value in asked.items() if value not in (None, False)},
    }


def _eos(directory: Path, tokenizer_eos: int) -> tuple[int, ...]:
    """The ids that end an answer: the tokenizer's, and those of ``generation_config.json``."""
    ids = {tokenizer_eos}
    path = directory / "generation_config.json"
    if path.is_file():
        named = json.loads(read_text(path)).get("eos_token_id")
        ids |= set(named if isinstance(named, list) else [] if named is None else [named])
    return tuple(sorted(ids))


def _report(decoder: Decoder) -> None:
    meter = decoder.meter
    log.info(
        "%d answers, %d tokens; prefill %d tokens in %.1f s, decoding %.0f tokens/s over %.1f s, "
        "slots busy %.0f %% of the steps",
        meter.prompts, meter.new_tokens, meter.prompt_tokens, meter.prefill_seconds,
        meter.new_tokens / max(meter.decode_seconds, 1e-9), meter.decode_seconds, 100 * meter.occupancy(),
    )  # fmt: skip


# Resuming


def _settings(config: GenerateConfig, source: Path) -> dict[str, Any]:
    """What decides the answers, to be equal when a file is resumed."""
    run = run_of(source)
    trained_with = ""
    if run:
        trained_with = yaml.safe_load(read_text(run[0] / "config.yaml"))["template"]
    return {
        "model": str(source.resolve()),
        "prompts": config.prompts,
        "template": config.template or trained_with or "llama-2",
        "max_new_tokens": config.max_new_tokens,
        "repetition_penalty": config.repetition_penalty,
        "dtype": config.dtype,
    }


def _beside(out: Path) -> Path:
    return out.with_suffix(".provenance.json")


def _write_provenance(out: Path, settings: Mapping[str, Any]) -> None:
    with atomic_write(_beside(out)) as file:
        json.dump({"settings": settings, **provenance()}, file, indent=2)
        file.write("\n")


def _resume(out: Path, settings: Mapping[str, Any], asked: set[str]) -> dict[str, dict[str, Any]]:
    """Rows already in ``out``, after cutting off a last line that a crash left incomplete.

    Raises:
        UserError: when the file was made with other settings or answers something that is not asked.
    """
    if not out.exists():
        out.parent.mkdir(parents=True, exist_ok=True)
        _write_provenance(out, settings)
        return {}
    if _beside(out).is_file():
        before = json.loads(read_text(_beside(out))).get("settings", {})
        changed = [
            f"{k} (was {before.get(k)!r}, now {v!r})" for k, v in settings.items() if before.get(k) != v
        ]
        if changed:
            raise UserError(f"{out} was made with other settings: {', '.join(changed)}; choose another --out")
    _cut_partial_line(out)
    rows = {row["id"]: row for row in read_jsonl(out)}
    foreign = rows.keys() - asked
    if foreign:
        raise UserError(
            f"{out} answers {min(foreign)!r}, which is not among the prompts; choose another --out"
        )
    if rows:
        log.info("resuming %s: %d answers are there", out, len(rows))
    return rows


def _cut_partial_line(path: Path) -> None:
    """Drop what follows the last line break: a line that was being written."""
    with path.open("rb+") as file:
        data = file.read()
        end = data.rfind(b"\n") + 1
        if end < len(data):
            file.truncate(end)
            os.fsync(file.fileno())


def _command(config: GenerateConfig) -> None:
    cli.log_to_stderr()
    out = generate(config)
    print(f"responses: {out}")
    print(f"next:      python -m xltjax.eval surface {out} --out {out.parent}/scores")


COMMAND = cli.command(
    GenerateConfig,
    _command,
    name="generate",
    help="Answer prompts greedily with a repetition penalty; a killed run resumes where it stopped.",
)


def main() -> None:
    """Entry point of ``python -m xltjax.generate``."""
    cli.execute(COMMAND, program="python -m xltjax.generate")


if __name__ == "__main__":
    main()
