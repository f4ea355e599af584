"""The work of ``python -m xltjax.generate``: answers to a set of prompts, written as they end and resumable."""

from __future__ import annotations

import dataclasses
import logging
import sys
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import jax.numpy as jnp
from jax.sharding import Mesh

from xltjax.attention.choice import check_kernel, record
from xltjax.common.errors import UserError
from xltjax.common.files import append, atomic_write, json_line, read_jsonl
from xltjax.common.fingerprint import fingerprint
from xltjax.common.locks import lock_file
from xltjax.common.progress import progress
from xltjax.common.provenance import provenance, sha256
from xltjax.converters.hf_config import read_architecture
from xltjax.converters.models import (
    base_restorer,
    check_adapter,
    config_directory,
    find_model,
    load_adapter,
    load_model,
    template_of,
    weights_directory,
)
from xltjax.data.conversations import Message, half_surrogate
from xltjax.data.model_files import end_ids, tokenizer_hashes
from xltjax.data.prompt_sets import Instruction, load_set
from xltjax.data.responses import Response
from xltjax.data.tokenizer import ChatTokenizer
from xltjax.generate.requests import Answerer, Prompt, Request
from xltjax.generate.responses_file import check_ours, resume, write_settings
from xltjax.generate.settings import GenerateConfig, directory_name
from xltjax.inference.engine import Answer, Engine, check_slots
from xltjax.llama import use_attention
from xltjax.mesh import cache_compilations, make_mesh
from xltjax.miniature import NAME, model_path, prompts_path
from xltjax.training.run import Run

log = logging.getLogger("xltjax")


def generate(config: GenerateConfig) -> Path:
    """Answer every prompt of ``config`` that ``config.out`` does not hold yet.

    Answers are appended as they end. When all are there, the file is put into the order of the prompts, so that
    a run that was killed and resumed leaves the same file as one that was not.

    Raises:
        UserError: for any mistake that the user can correct.
    """
    if not config.model or not config.out:
        raise UserError(f"--{'out' if config.model else 'model'} is missing")
    out = Path(config.out)
    before = check_ours(out)
    # What costs nothing comes before what has to be fetched, built or read.
    instructions = _instructions(config) if config.prompts != NAME else []
    for adapter in config.adapter:
        if not Path(adapter).is_dir():
            raise UserError(f"adapter directory {adapter} does not exist")
    mesh = make_mesh(config.mesh)
    check_slots(config.batch_size, mesh)
    source = find_model(model_path(config.model))
    answerers = _answerers(config, source, before.get("template_date", ""))
    instructions = instructions or _instructions(config)
    requests = _requests(answerers, instructions)
    settings = _settings(config, source, answerers)
    architecture = read_architecture(config_directory(source))
    # Prompts of other lengths take the same kernel: all are padded to a power of two times 32.
    problems = architecture.attention_problems(config.dtype, 1024, segments=1)
    check_kernel(problems, config.attention)
    with lock_file(out):
        done = resume(out, settings, {each.id: each.response("", "", 0, 0).row() for each in requests})
        missing = [request for request in requests if request.id not in done]
        begun = False
        for response in _answer(config, source, mesh, missing, len(done)) if missing else ():
            if not begun:
                write_settings(out, settings, {})
                begun = True
            append(out, json_line(response.row()))
            done[response.id] = response.row()
        with atomic_write(out) as file:
            file.writelines(json_line(done[request.id]) for request in requests)
        write_settings(out, settings, {**provenance(), "attention": record(problems, config.attention)})
    return out


def _instructions(config: GenerateConfig) -> list[Instruction]:
    return load_set(prompts_path(config.prompts), config.languages or None, config.modifiers, config.columns)


def _answerers(config: GenerateConfig, source: Path, began: str | list[str] = "") -> list[Answerer]:
    """The adapters, or the model alone.

    Args:
        config: the settings.
        source: the directory of the model.
        began: the date of prompts in the file that is resumed: one for all, or one for each adapter.

    Raises:
        UserError: for an adapter that does not belong on the model in ``source``.
    """
    run = Run.find(source)
    if run:
        run.notice_unfinished()
    if not config.adapter:
        name = config.name or _model_name(config.model)
        return [_answerer(config, name, None, [source], began if isinstance(began, str) else "")]
    if run and run.lora:
        raise UserError(f"{config.model} is a LoRA run itself; give its base as --model")
    answerers = []
    for index, adapter in enumerate(map(Path, config.adapter)):
        check_adapter(adapter, source)
        day = began if isinstance(began, str) else "".join(began[index : index + 1])
        answerers.append(
            _answerer(config, config.name or directory_name(adapter), adapter, [adapter, source], day)
        )
    return answerers


def _answerer(
    config: GenerateConfig, name: str, adapter: Path | None, places: Sequence[Path], began: str
) -> Answerer:
    """With the requested template and date, or else those with which the first of ``places`` was trained."""
    template = config.template or next(filter(None, map(template_of, places)), "llama-2")
    if template != "tokenizer":  # the only one that may write a date
        return Answerer(name, adapter, template, "")
    run = Run.find(places[0])
    trained = run.config.template_date if run else ""
    return Answerer(
        name, adapter, template, config.template_date or trained or began or date.today().isoformat()
    )


def _requests(answerers: Sequence[Answerer], instructions: Sequence[Instruction]) -> list[Request]:
    """Every answer to be generated; with several adapters the ids begin with the adapter's name."""
    several = len(answerers) > 1
    return [
        Request(f"{answerer.name}/{each.id}" if several else each.id, answerer, each)
        for answerer in answerers
        for each in instructions
    ]


def _model_name(model: str) -> str:
    return NAME if model == NAME else directory_name(find_model(model))


def _answer(
    config: GenerateConfig, source: Path, mesh: Mesh, requests: Sequence[Request], done: int
) -> Iterator[Response]:
    """The responses to ``requests``, in the order in which the answers end."""
    prompts, unanswered = _tokenize(config, source, requests, alone=not done)
    with progress("generating", done + len(requests), done) as advance:
        for response in unanswered:
            log.warning("warning: %s: %s", response.id, response.finish_reason.removeprefix("failed: "))
            yield response
            advance(1)
        if prompts:
            for response, note in _generate(config, source, mesh, prompts):
                advance(1, note)
                yield response


def _tokenize(
    config: GenerateConfig, source: Path, requests: Sequence[Request], *, alone: bool
) -> tuple[list[Prompt], list[Response]]:
    """The prompts of ``requests``; in place of one that cannot be asked, the response that says why.

    Args:
        config: the settings.
        source: the directory of the model.
        requests: the answers to be generated.
        alone: whether there are no answers to other prompts.

    Raises:
        UserError: when ``max_new_tokens`` leaves no room for any prompt.
    """
    directory = config_directory(source)
    architecture = read_architecture(directory)
    positions = architecture.max_positions
    room = positions - config.max_new_tokens
    prompts, unanswered, shortest = [], [], positions
    for answerer in dict.fromkeys(request.answerer for request in requests):
        vocabulary = _vocab_size(source, answerer)
        tokenizer = ChatTokenizer(directory, answerer.template, vocab_size=vocabulary, date=answerer.date)
        asked = [request for request in requests if request.answerer == answerer]
        failed = {request.id: _why_not(request.instruction, tokenizer) for request in asked}
        nothing = (Message("user", ""),)
        encoded = tokenizer.prompts(
            [nothing if failed[each.id] else each.instruction.conversation for each in asked]
        )
        for request, ids in zip(asked, encoded, strict=True):
            if why := failed[request.id]:
                unanswered.append(request.response("", f"failed: {why}", 0, 0))
            elif not request.instruction.instruction.strip():
                unanswered.append(request.response("", "failed: empty instruction", len(ids), 0))
            elif len(ids) > room:
                shortest = min(shortest, len(ids))
                why = f"failed: too long ({len(ids)} tokens, room for {room})"
                unanswered.append(request.response("", why, len(ids), 0))
            else:
                prompts.append(Prompt(request, ids, tokenizer))
    if alone and not prompts and shortest < positions:
        raise UserError(
            f"max_new_tokens {config.max_new_tokens} leaves no room for any prompt: the model has {positions} "
            f"positions and the shortest prompt {shortest} tokens; give at most {positions - shortest}"
        )
    return prompts, unanswered


def _why_not(instruction: Instruction, tokenizer: ChatTokenizer) -> str:
    """Why a prompt has no tokens; empty when it has some."""
    *before, last = instruction.conversation
    for turn in (last, *before):
        if near := half_surrogate(turn.content):
            part = "the instruction" if turn is last else f"a turn of the {turn.role}"
            return f"half of a surrogate pair in {part}, at {near!r}"
    try:
        tokenizer.check([*before, last])
    except UserError as problem:
        return str(problem)
    return ""


def _vocab_size(source: Path, answerer: Answerer) -> int:
    """The size of the vocabulary that an answerer knows: that of its run, which may have grown it, or the model's."""
    run = Run.find(answerer.adapter) if answerer.adapter else None
    return read_architecture(run.model_files if run else config_directory(source)).vocab_size


def _generate(
    config: GenerateConfig, source: Path, mesh: Mesh, prompts: Sequence[Prompt]
) -> Iterator[tuple[Response, str]]:
    """The responses of the model, or of each adapter in turn, with a note on the throughput so far."""
    dtype = jnp.dtype(config.dtype)
    model = load_model(source, mesh, dtype=dtype, base=model_path(config.base), require_finite=True)
    use_attention(model, config.attention)
    restore = base_restorer(model)
    for answerer in dict.fromkeys(prompt.request.answerer for prompt in prompts):
        if answerer.adapter is not None:
            restore()
            load_adapter(model, answerer.adapter, mesh, base=source, dtype=dtype, require_finite=True)
        asked = {p.request.instruction.id: p for p in prompts if p.request.answerer == answerer}
        tokenizer = next(iter(asked.values())).tokenizer
        engine = Engine(
            model, mesh, slots=config.batch_size, max_new_tokens=config.max_new_tokens,
            sampling=config.sampling(), eos=end_ids(tokenizer), seed=config.seed,
        )  # fmt: skip
        answers: Iterator[tuple[str, Answer]] = engine.generate((key, p.ids) for key, p in asked.items())
        for key, answer in answers:
            prompt, text = asked[key], tokenizer.decode(answer.ids)
            counts = len(prompt.ids), len(answer.ids)
            yield (
                prompt.request.response(text, answer.finish_reason, *counts),
                f"{engine.throughput.rate():,.0f} tokens/s",
            )
        log.info("%s: %s", answerer.name, engine.throughput.report())


def _settings(config: GenerateConfig, source: Path, answerers: Sequence[Answerer]) -> dict[str, Any]:
    """What decides the answers, to be compared when a file is resumed."""
    run, adapters = Run.find(source), [each.adapter for each in answerers if each.adapter]
    templates, dates = [each.template for each in answerers], [each.date for each in answerers]
    files = config_directory(source)
    generation = files / "generation_config.json"
    return {
        "model": str(source.resolve()),
        "step": run.step if run else None,
        "weights": fingerprint(weights_directory(source)),
        "weights_digest": run.weights_digest() if run else "",
        "adapter": [str(adapter.resolve()) for adapter in adapters],
        "adapter_step": [found.step if (found := Run.find(adapter)) else None for adapter in adapters],
        "adapter_weights": [fingerprint(weights_directory(adapter)) for adapter in adapters],
        "tokenizer": tokenizer_hashes(files),
        "generation_config": sha256(generation) if generation.is_file() else "",
        "prompts": config.prompts,
        "template": templates[0] if len(set(templates)) == 1 else templates,
        "template_date": dates[0] if len(set(dates)) == 1 else dates,
        "max_new_tokens": config.max_new_tokens,
        **dataclasses.asdict(config.sampling()),
        "seed": config.seed,
        "dtype": config.dtype,
    }


def run(config: GenerateConfig) -> None:
    """Answer, count what could not be answered, and say what comes next."""
    cache_compilations()
    out = generate(config)
    rows = read_jsonl(out)
    failed = sum(str(row["finish_reason"]).startswith("failed") for row in rows)
    print(f"responses: {out}")
    if failed:
        log.warning("warning: %d of %d prompts could not be answered; see finish_reason", failed, len(rows))
    if failed == len(rows):
        sys.exit(1)
    unknown = "" if all(row["language"] for row in rows) else " --language LANGUAGE"
    print(f"next:      python -m xltjax.eval surface {out} --out {out.parent}/scores{unknown}")
