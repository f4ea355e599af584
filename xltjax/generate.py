"""Answers to a set of prompts, written as they end and resumable. ``python -m xltjax.generate``."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal

import jax.numpy as jnp

from xltjax.common import cli
from xltjax.common.errors import UserError, did_you_mean
from xltjax.common.files import atomic_write, json_line, read_text
from xltjax.common.progress import progress
from xltjax.common.provenance import provenance
from xltjax.common.settings import setting
from xltjax.converters.hf_config import llama_config, read_hf_config
from xltjax.converters.models import config_directory, find_model, load_adapter, load_model
from xltjax.data.conversations import Message
from xltjax.data.prompt_sets import Instruction, load_set
from xltjax.data.responses import Response
from xltjax.data.templates import TEMPLATES, parse_date
from xltjax.data.tokenizer import ChatTokenizer
from xltjax.inference.engine import Answer, Engine
from xltjax.inference.responses_file import recorded_settings, resume, write_settings
from xltjax.inference.sampling import SamplingParams
from xltjax.lora import has_lora, remove_lora
from xltjax.mesh import cache_compilations, make_mesh
from xltjax.miniature import NAME, model_path, prompts_path
from xltjax.training.run import Run

log = logging.getLogger("xltjax")


@dataclass(frozen=True)
class GenerateConfig:
    """Greedy generation (paper, Appendix B: repetition penalty 1.1)."""

    model: str = setting("", "Hugging Face directory or id, a run of xltjax or one of its checkpoints.")
    adapter: tuple[str, ...] = setting(
        (), "LoRA adapter of the model (PEFT or a run); repeatable, each answers all prompts.", paths=True
    )
    prompts: str = setting(
        "xlt113", "A shipped set, miniature, a file, or a folder with a file per language."
    )
    languages: tuple[str, ...] = setting((), "Languages of the set to answer; all when not given.")
    modifiers: bool = setting(False, "Also answer the set's instructions with task modifiers.")
    out: str = setting("", "JSON Lines file of responses; an unfinished one is resumed.")
    name: str = setting("", "Name of the model in the responses; that of its directory when not given.")
    max_new_tokens: int = setting(512, "Most tokens of an answer.")
    repetition_penalty: float = setting(
        1.1, "Hugging Face's repetition penalty over prompt and answer; 1 is none."
    )
    temperature: float = setting(0.0, "Sampling temperature; 0 is greedy.")
    top_k: int = setting(0, "Sample among the k most likely tokens; 0 is all.")
    top_p: float = setting(1.0, "Sample among the most likely tokens that hold this probability; 1 is all.")
    seed: int = setting(0, "Seed of the sampling; with it, the samples of a prompt follow from its id alone.")
    batch_size: int = setting(32, "Answers generated at once, over the whole mesh.")
    mesh: str = setting("1x1", "Devices as DxT: answers over D, matrices over T.")
    dtype: Literal["bfloat16", "float32"] = setting("bfloat16", "Of weights, KV cache and arithmetic.")
    template: str = setting("", "Chat template: that of the run, or llama-2, when not given.")
    template_date: str = setting(
        "",
        "ISO date for a template that writes the date: that of the run or the file, or today, when not given.",
    )

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
        parse_date(self.template_date)

    def sampling(self) -> SamplingParams:
        """How tokens are chosen.

        Raises:
            UserError: for a value that cannot work.
        """
        return SamplingParams(self.repetition_penalty, self.temperature, self.top_k, self.top_p)


@dataclass(frozen=True)
class Request:
    """One answer to be generated: by which model, with which adapter, to which instruction."""

    id: str
    model: str
    adapter: Path | None
    instruction: Instruction

    def response(self, text: str, finish_reason: str, prompt_tokens: int, response_tokens: int) -> Response:
        """The response to this request."""
        asked = self.instruction
        return Response(
            self.id,
            self.model,
            asked.language,
            asked.task,
            asked.instruction,
            text,
            finish_reason,
            asked.modifier,
            asked.instruction_id,
            prompt_tokens,
            response_tokens,
            {"human": True} if asked.human else {},
        )


@dataclass(frozen=True)
class Prompt:
    """A request and its token ids."""

    request: Request
    ids: list[int]


def generate(config: GenerateConfig) -> Path:
    """Answer every prompt of ``config`` that ``config.out`` does not hold yet.

    Answers are appended as they end. When all are there, the file is put into the order of the prompts, so that
    a run that was killed and resumed leaves the same file as one that was not.

    Raises:
        UserError: for any mistake that the user can correct.
    """
    if not config.model or not config.out:
        raise UserError(f"--{'out' if config.model else 'model'} is missing")
    requests = _requests(config)
    out, source = Path(config.out), find_model(model_path(config.model))
    settings = _settings(config, source)
    done = resume(out, settings, {request.id for request in requests})
    missing = [request for request in requests if request.id not in done]
    for response in _answer(config, source, missing, settings, len(done)) if missing else ():
        if not done:
            write_settings(out, settings, {})
        with out.open("a", encoding="utf-8") as file:
            file.write(json_line(response.row()))
        done[response.id] = response.row()
    with atomic_write(out) as file:
        file.writelines(json_line(done[request.id]) for request in requests)
    write_settings(out, settings, provenance())
    return out


def _requests(config: GenerateConfig) -> list[Request]:
    """Every answer to be generated; with several adapters the ids begin with the adapter's name."""
    instructions = load_set(prompts_path(config.prompts), config.languages or None, config.modifiers)
    adapters: list[Path | None] = [*map(Path, config.adapter)] or [None]
    requests = []
    for adapter in adapters:
        name = config.name or (_name(adapter) if adapter else _model_name(config.model))
        prefix = f"{name}/" if len(adapters) > 1 else ""
        requests += [Request(f"{prefix}{each.id}", name, adapter, each) for each in instructions]
    return requests


def _model_name(model: str) -> str:
    return NAME if model == NAME else _name(find_model(model))


def _name(path: Path) -> str:
    """The name of a model in the responses: that of its directory or run, with the step for a checkpoint."""
    run = Run.find(path.resolve())
    return run.name if run else path.resolve().name


def _answer(
    config: GenerateConfig, source: Path, requests: Sequence[Request], settings: Mapping[str, Any], done: int
) -> Iterator[Response]:
    """The responses to ``requests``, in the order in which the answers end."""
    directory = config_directory(source)
    tokenizer = ChatTokenizer(
        directory,
        settings["template"],
        vocab_size=llama_config(read_hf_config(directory)).vocab_size,
        date=settings.get("template_date", ""),
    )
    with progress("generating", done + len(requests), done) as advance:
        prompts: list[Prompt] = []
        for each in _tokenize(config, source, requests, tokenizer):
            if isinstance(each, Prompt):
                prompts.append(each)
            else:
                yield each
                advance(1)
        if prompts:
            for response, note in _generate(config, source, prompts, tokenizer):
                advance(1, note)
                yield response


def _tokenize(
    config: GenerateConfig, source: Path, requests: Sequence[Request], tokenizer: ChatTokenizer
) -> Iterator[Prompt | Response]:
    """The prompts of ``requests``; in place of an empty or a too long one, the response that says so."""
    architecture = llama_config(read_hf_config(config_directory(source)))
    room = architecture.max_positions - config.max_new_tokens
    encoded = tokenizer.prompts([(Message("user", each.instruction.instruction),) for each in requests])
    for request, ids in zip(requests, encoded, strict=True):
        empty = not request.instruction.instruction.strip()
        if not empty and len(ids) <= room:
            yield Prompt(request, ids)
            continue
        why = "empty instruction" if empty else f"too long ({len(ids)} tokens, room for {room})"
        log.warning("warning: %s: %s", request.id, why)
        yield request.response("", f"failed: {why}", len(ids), 0)


def _generate(
    config: GenerateConfig, source: Path, prompts: Sequence[Prompt], tokenizer: ChatTokenizer
) -> Iterator[tuple[Response, str]]:
    """The responses of the model, and of each adapter in turn, with a note on the throughput so far."""
    mesh, dtype = make_mesh(config.mesh), jnp.dtype(config.dtype)
    model = load_model(source, mesh, dtype=dtype)
    if config.adapter and has_lora(model):
        raise UserError(f"{config.model} is a LoRA run itself; give its base as --model")
    eos = _eos(config_directory(source), tokenizer.eos)
    for adapter in dict.fromkeys(prompt.request.adapter for prompt in prompts):
        if adapter is not None:
            remove_lora(model)
            load_adapter(model, adapter, mesh, dtype=dtype)
        engine = Engine(
            model, mesh, slots=config.batch_size, max_new_tokens=config.max_new_tokens,
            sampling=config.sampling(), eos=eos, seed=config.seed,
        )  # fmt: skip
        asked = {p.request.instruction.id: p for p in prompts if p.request.adapter == adapter}
        answers: Iterator[tuple[str, Answer]] = engine.generate((key, p.ids) for key, p in asked.items())
        for key, answer in answers:
            prompt, text = asked[key], tokenizer.decode(answer.ids)
            counts = len(prompt.ids), len(answer.ids)
            yield (
                prompt.request.response(text, answer.finish_reason, *counts),
                f"{engine.throughput.rate():,.0f} tokens/s",
            )
        log.info("%s: %s", prompt.request.model, engine.throughput.report())


def _eos(directory: Path, tokenizer_eos: int) -> tuple[int, ...]:
    """The ids that end an answer: the tokenizer's, and those of ``generation_config.json``."""
    ids = {tokenizer_eos}
    path = directory / "generation_config.json"
    if path.is_file():
        named = json.loads(read_text(path)).get("eos_token_id")
        ids |= set(named if isinstance(named, list) else [] if named is None else [named])
    return tuple(sorted(ids))


def _settings(config: GenerateConfig, source: Path) -> dict[str, Any]:
    """What decides the answers, to be compared when a file is resumed."""
    run = Run.find(config.adapter[0]) if config.adapter else Run.find(source)
    template = config.template or (run.template if run else "llama-2")
    before = recorded_settings(Path(config.out))
    dated: dict[str, Any] = {}
    # The only template that may write a date; the files of version 0.1 do not say which one.
    if template == "tokenizer" and (config.template_date or not before or "template_date" in before):
        known = run.config.template_date if run else ""
        today = date.today().isoformat()
        dated["template_date"] = config.template_date or known or before.get("template_date") or today
    return {
        "model": str(source.resolve()),
        "adapter": [str(Path(adapter).resolve()) for adapter in config.adapter],
        "prompts": config.prompts,
        "template": template,
        **dated,
        "max_new_tokens": config.max_new_tokens,
        **dataclasses.asdict(config.sampling()),
        "seed": config.seed,
        "dtype": config.dtype,
    }


def _command(config: GenerateConfig) -> None:
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
