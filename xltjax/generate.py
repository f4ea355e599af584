"""Answers to a set of prompts, written as they end and resumable. ``python -m xltjax.generate``."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax.numpy as jnp
import yaml

from xltjax.common import cli
from xltjax.common.errors import UserError, did_you_mean
from xltjax.common.files import atomic_write, json_line, read_text
from xltjax.common.progress import progress
from xltjax.common.provenance import provenance
from xltjax.common.settings import setting
from xltjax.converters.hf_config import llama_config, read_hf_config
from xltjax.converters.models import companions, find_model, load_adapter, load_model, run_of
from xltjax.data.conversations import Message
from xltjax.data.prompt_sets import Instruction, load_set
from xltjax.data.templates import TEMPLATES
from xltjax.data.tokenizer import ChatTokenizer
from xltjax.inference.engine import Answer, Engine
from xltjax.inference.responses_file import resume, write_settings
from xltjax.inference.sampling import SamplingParams
from xltjax.lora import has_lora, remove_lora
from xltjax.mesh import cache_compilations, make_mesh
from xltjax.prompts import find_prompts

log = logging.getLogger("xltjax")

DTYPES = {"bfloat16": jnp.bfloat16, "float32": jnp.float32}


@dataclass(frozen=True)
class GenerateConfig:
    """Greedy generation (paper, Appendix B: repetition penalty 1.1)."""

    model: str = setting("", "Hugging Face directory or id, a run of ours or one of its checkpoints.")
    adapter: tuple[str, ...] = setting(
        (), "LoRA adapter of the model (PEFT or a run of ours); repeatable, each answers all.", paths=True
    )
    prompts: str = setting(
        "xlt113", "A shipped set, miniature, a file, or a folder with a file per language."
    )
    languages: tuple[str, ...] = setting((), "Languages of the set to answer; all when not given.")
    modifiers: bool = setting(False, "Also answer the set's instructions with task modifiers.")
    out: str = setting("", "JSON Lines file of responses; an unfinished one is resumed.")
    name: str = setting("", "Name of the model in the responses; that of its directory when not given.")
    max_new_tokens: int = setting(512, "Most tokens of an answer.")
    repetition_penalty: float = setting(1.1, "Hugging Face's penalty over prompt and answer; 1 is none.")
    temperature: float = setting(0.0, "Draw tokens at this temperature; 0 takes the likeliest.")
    top_k: int = setting(0, "Draw among the k likeliest tokens; 0 is all.")
    top_p: float = setting(1.0, "Draw among the likeliest tokens that hold this share; 1 is all.")
    seed: int = setting(0, "Of the draws; with it an item's draws follow from its id alone.")
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
        self.sampling()
        if self.name and len(self.adapter) > 1:
            raise UserError("--name cannot name several adapters; each goes by its directory's name")
        names = [_name(Path(adapter)) for adapter in self.adapter]
        if len(set(names)) < len(names):
            raise UserError(f"two adapters go by one name ({', '.join(names)}); rename a directory")
        if self.template and self.template not in TEMPLATES:
            raise UserError(
                f"template {self.template!r} is unknown; {did_you_mean(self.template, TEMPLATES)}"
            )

    def sampling(self) -> SamplingParams:
        """How tokens are chosen.

        Raises:
            UserError: for a value that cannot work.
        """
        return SamplingParams(self.repetition_penalty, self.temperature, self.top_k, self.top_p)


@dataclass(frozen=True)
class Task:
    """One answer to be given: by whom, to what, under which id."""

    id: str
    model: str
    adapter: Path | None
    instruction: Instruction


def generate(config: GenerateConfig) -> Path:
    """Answer every prompt of ``config`` that ``config.out`` does not hold yet.

    Answers are appended as they end; when all are there the file is put into the order of the prompts, so
    that a run that was killed and resumed leaves the same file as one that was not.

    Raises:
        UserError: for anything the user can mend.
    """
    if not config.model or not config.out:
        raise UserError(f"--{'out' if config.model else 'model'} is missing")
    tasks = _tasks(config)
    out = Path(config.out)
    source = find_model(config.model)
    settings = _settings(config, source)
    done = resume(out, settings, {task.id for task in tasks})
    waiting = [task for task in tasks if task.id not in done]
    for row in _answer(config, source, waiting, settings["template"], len(done)) if waiting else ():
        if not done:
            write_settings(out, settings, {})
        with out.open("a", encoding="utf-8") as file:
            file.write(json_line(row))
        done[row["id"]] = row
    with atomic_write(out) as file:
        file.writelines(json_line(done[task.id]) for task in tasks)
    write_settings(out, settings, provenance())
    return out


def _tasks(config: GenerateConfig) -> list[Task]:
    """Every answer to be given; with several adapters the ids begin with the adapter's name."""
    instructions = load_set(find_prompts(config.prompts), config.languages or None, config.modifiers)
    adapters: list[Path | None] = [*map(Path, config.adapter)] or [None]
    tasks = []
    for adapter in adapters:
        name = config.name or (_name(adapter) if adapter else _model_name(config.model))
        prefix = f"{name}/" if len(adapters) > 1 else ""
        tasks += [Task(f"{prefix}{each.id}", name, adapter, each) for each in instructions]
    return tasks


def _model_name(model: str) -> str:
    return model if model == "miniature" else _name(find_model(model))


def _name(path: Path) -> str:
    """What answers are signed with: the directory's name, for a checkpoint that of its run and the step."""
    run = run_of(path.resolve())
    return f"{run[0].name}-{run[1]}" if run and run[1] is not None else path.resolve().name


def _answer(
    config: GenerateConfig, source: Path, waiting: Sequence[Task], template: str, done: int
) -> Iterator[dict[str, Any]]:
    """The response rows of ``waiting``, in the order in which the answers end."""
    tokenizer = ChatTokenizer(companions(source), template)
    architecture = llama_config(read_hf_config(companions(source)))
    prompts = tokenizer.prompts([(Message("user", task.instruction.instruction),) for task in waiting])
    room = architecture.max_positions - config.max_new_tokens
    fitting: dict[Path | None, list[tuple[Task, list[int]]]] = {}
    with progress("generating", done + len(waiting), done) as advance:
        for task, ids in zip(waiting, prompts, strict=True):
            empty = not task.instruction.instruction.strip()
            if not empty and len(ids) <= room:
                fitting.setdefault(task.adapter, []).append((task, ids))
                continue
            why = "empty instruction" if empty else f"too long ({len(ids)} tokens, room for {room})"
            log.warning("warning: %s: %s", task.id, why)
            yield _row(task, len(ids), None, f"failed: {why}", "")
            advance(1)
        if not fitting:
            return
        mesh = make_mesh(config.mesh)
        dtype = DTYPES[config.dtype]
        model = load_model(source, mesh, dtype=dtype)
        if config.adapter and has_lora(model):
            raise UserError(f"{config.model} is a LoRA run itself; give its base as --model")
        eos = _eos(companions(source), tokenizer.eos)
        for adapter, asked in fitting.items():
            if adapter is not None:
                remove_lora(model)
                load_adapter(model, adapter, mesh, dtype=dtype)
            engine = Engine(
                model, mesh, slots=config.batch_size, max_new_tokens=config.max_new_tokens,
                sampling=config.sampling(), eos=eos, seed=config.seed,
            )  # fmt: skip
            tasks = {task.instruction.id: (task, len(ids)) for task, ids in asked}
            for key, answer in engine.generate((task.instruction.id, ids) for task, ids in asked):
                advance(1, f"{engine.throughput.rate():,.0f} tokens/s")
                task, length = tasks[key]
                text = tokenizer.decode(answer.ids)
                yield _row(task, length, answer, answer.finish_reason, text)
            log.info("%s: %s", tasks[key][0].model, engine.throughput.report())


def _row(task: Task, prompt_tokens: int, answer: Answer | None, reason: str, text: str) -> dict[str, Any]:
    """One line of ``responses.jsonl`` (DESIGN, section 3)."""
    asked = dataclasses.asdict(task.instruction)
    del asked["id"]
    return {
        "id": task.id,
        "model": task.model,
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


def _settings(config: GenerateConfig, source: Path) -> dict[str, Any]:
    """What decides the answers, to be equal when a file is resumed."""
    run = run_of(Path(config.adapter[0])) if config.adapter else run_of(source)
    trained_with = ""
    if run:
        trained_with = yaml.safe_load(read_text(run[0] / "config.yaml"))["template"]
    return {
        "model": str(source.resolve()),
        "adapter": [str(Path(adapter).resolve()) for adapter in config.adapter],
        "prompts": config.prompts,
        "template": config.template or trained_with or "llama-2",
        "max_new_tokens": config.max_new_tokens,
        **dataclasses.asdict(config.sampling()),
        "seed": config.seed,
        "dtype": config.dtype,
    }


def _command(config: GenerateConfig) -> None:
    cli.log_to_stderr()
    cache_compilations()
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
